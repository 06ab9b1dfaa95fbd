//! The messages of a hand-over, and how one with a descriptor is sent and received.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use tokio::io::unix::AsyncFd;

/// An id, and an address or a reason. A longer reason is cut.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024;
const ID_BYTES: usize = 8;

/// `[id, pod ip:port]`
pub(super) fn encode_offer(id: u64, address: SocketAddr) -> Vec<u8> {
    let mut message = id.to_le_bytes().to_vec();
    message.extend_from_slice(address.to_string().as_bytes());
    message
}

pub(super) fn decode_offer(message: &[u8]) -> Option<(u64, SocketAddr)> {
    let (id, address) = message.split_first_chunk::<ID_BYTES>()?;
    Some((u64::from_le_bytes(*id), std::str::from_utf8(address).ok()?.parse().ok()?))
}

/// `[id]` accepts, `[id, reason]` refuses.
pub(super) fn encode_answer(id: u64, answer: &Result<(), String>) -> Vec<u8> {
    let mut message = id.to_le_bytes().to_vec();
    if let Err(reason) = answer {
        let reason = if reason.is_empty() { "refused" } else { reason };
        message.extend(reason.bytes().take(MESSAGE_BYTES_MAX - ID_BYTES));
    }
    message
}

pub(super) fn decode_answer(message: &[u8]) -> Option<(u64, Result<(), String>)> {
    let (id, reason) = message.split_first_chunk::<ID_BYTES>()?;
    let answer = if reason.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(reason).into_owned()) };
    Some((u64::from_le_bytes(*id), answer))
}

/// The event loop's handle of a non-blocking socket.
pub(super) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps the descriptor it names open until it is dropped, and nobody can replace it in here.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Sends one message, with `descriptor` beside it.
pub(super) async fn send(
    socket: &AsyncFd<OwnedFd>,
    message: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    loop {
        let mut ready = socket.writable().await?;
        let sent = ready.try_io(|socket| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            let descriptors = descriptor.map(|descriptor| [descriptor]);
            if let Some(descriptors) = &descriptors {
                beside.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            // Without NOSIGNAL a peer that is gone would end this process.
            retry(|| sendmsg(socket.as_fd(), &[IoSlice::new(message)], &mut beside, SendFlags::NOSIGNAL))
        });
        match sent {
            Ok(sent) => return sent.map(|_| ()),
            Err(_would_block) => {}
        }
    }
}

/// The next message in `buffer` and what came beside it; a length of 0 is the end of the connection.
pub(super) async fn receive(
    socket: &AsyncFd<OwnedFd>,
    buffer: &mut [u8; MESSAGE_BYTES_MAX],
) -> io::Result<(usize, Option<OwnedFd>)> {
    loop {
        let mut ready = socket.readable().await?;
        let received = ready.try_io(|socket| {
            // Room for more than one, so that a peer that sends two cannot make us leak: all are taken, all but the
            // first are closed.
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let length = retry(|| {
                recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut buffer[..])], &mut beside, RecvFlags::CMSG_CLOEXEC)
            })?
            .bytes;
            let mut first = None;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    for descriptor in descriptors {
                        first.get_or_insert(descriptor);
                    }
                }
            }
            Ok((length, first))
        });
        match received {
            Ok(received) => return received,
            Err(_would_block) => {}
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_and_answers_survive_the_wire() {
        let address = SocketAddr::from(([127, 64, 0, 9], 8080));
        assert_eq!(decode_offer(&encode_offer(7, address)), Some((7, address)));
        assert_eq!(decode_answer(&encode_answer(7, &Ok(()))), Some((7, Ok(()))));
        let refused = Err("no such pod".to_owned());
        assert_eq!(decode_answer(&encode_answer(8, &refused)), Some((8, refused)));
        assert_eq!(decode_answer(&encode_answer(9, &Err(String::new()))), Some((9, Err("refused".to_owned()))));
        assert_eq!(encode_answer(9, &Err("x".repeat(5000))).len(), MESSAGE_BYTES_MAX);
    }

    #[test]
    fn nonsense_is_not_a_message() {
        assert_eq!(decode_offer(b"short"), None);
        assert_eq!(decode_offer(b"12345678not an address"), None);
        assert_eq!(decode_answer(b""), None);
    }
}
