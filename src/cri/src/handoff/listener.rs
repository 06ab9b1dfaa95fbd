//! The runtime's side of a hand-over.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, SocketType, accept_with},
};
use tokio::io::unix::AsyncFd;

use super::message;
use crate::{SocketError, socket};

/// Receives connections from the service proxy.
#[derive(Debug)]
pub struct HandoffListener {
    socket: AsyncFd<OwnedFd>,
}

impl HandoffListener {
    /// Opens the socket at `path`, for its owner only.
    ///
    /// # Errors
    /// When another process answers there, or the operating system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let socket = socket::listen(path, SocketType::SEQPACKET)?;
        let register = |source| SocketError::Io { action: "register", path: path.to_owned(), source };
        Ok(Self { socket: message::watch(socket).map_err(register)? })
    }

    /// Calls `handler` with every connection and the pod address it is for, until this future is dropped.
    ///
    /// The handler's answer goes to the proxy: `Ok` once the connection is sure to be served, `Err` with a reason when
    /// no pod of this runtime has the address (the descriptor is then dropped, and the proxy still has its own). It
    /// answers soon, and serves the connection in a task of its own.
    ///
    /// # Errors
    /// When the listening socket fails.
    pub async fn serve<H, F>(self, handler: H) -> io::Result<()>
    where
        H: Fn(SocketAddr, OwnedFd) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        // Dropping the set with this future ends its lines too.
        let mut lines = tokio::task::JoinSet::new();
        loop {
            let line = tokio::select! {
                line = self.accept() => line?,
                Some(_) = lines.join_next(), if !lines.is_empty() => continue,
            };
            lines.spawn(serve_line(Arc::new(line), handler.clone()));
        }
    }

    async fn accept(&self) -> io::Result<AsyncFd<OwnedFd>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let accepted =
                ready.try_io(|socket| Ok(accept_with(socket.as_fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?));
            match accepted {
                Ok(Ok(line)) => return message::watch(line),
                // The peer was gone before it was accepted, or a signal came: neither concerns the next one.
                Ok(Err(error)) if is_passing(&error) => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    [Errno::INTR, Errno::CONNABORTED].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

async fn serve_line<H, F>(line: Arc<AsyncFd<OwnedFd>>, handler: Arc<H>)
where
    H: Fn(SocketAddr, OwnedFd) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let mut buffer = [0; message::MESSAGE_BYTES_MAX];
    // Dropping the set with this future ends what is not answered yet, and so closes the line.
    let mut answers = tokio::task::JoinSet::new();
    loop {
        let received = tokio::select! {
            received = message::receive(&line, &mut buffer) => received,
            Some(_) = answers.join_next(), if !answers.is_empty() => continue,
        };
        let (length, descriptor) = match received {
            Ok((length, descriptor)) if length > 0 => (length, descriptor),
            Ok(_ended) => return,
            Err(error) => return tracing::debug!(%error, "a hand-over line broke"),
        };
        let Some((id, pod)) = message::decode_offer(&buffer[..length]) else {
            return tracing::warn!("a hand-over line sent something else than an offer");
        };
        let line = line.clone();
        let answer = descriptor.map(|descriptor| handler(pod, descriptor));
        answers.spawn(async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Err("no descriptor came with the offer".to_owned()),
            };
            if let Err(error) = message::send(&line, &message::encode_answer(id, &answer), None).await {
                tracing::debug!(%error, "a hand-over was not answered");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;
    use crate::handoff::{HandoffClient, HandoffError};

    fn pod(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 64, 0, last], 8080))
    }

    /// Answers with the pod's address on every connection, but refuses pod 9.
    async fn greet(address: SocketAddr, connection: OwnedFd) -> Result<(), String> {
        if address == pod(9) {
            return Err("no such pod".to_owned());
        }
        UnixStream::from(connection).write_all(address.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_connection_is_served_by_the_receiver_and_answers_do_not_mix() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("handoff.sock");
        let listener = HandoffListener::bind(&path).expect("a listener");
        let serving = tokio::spawn(listener.serve(greet));
        let client = HandoffClient::new(&path);
        let mut calls = tokio::task::JoinSet::new();
        for last in 1..=200u8 {
            let client = client.clone();
            calls.spawn(async move {
                let (mut ours, theirs) = UnixStream::pair().expect("a pair");
                let outcome = client.hand_over(pod(last), theirs.as_fd()).await;
                if last == 9 {
                    assert!(matches!(outcome, Err(HandoffError::Refused(reason)) if reason == "no such pod"));
                    return;
                }
                outcome.expect("the runtime accepts");
                drop(theirs);
                let mut greeting = String::new();
                ours.read_to_string(&mut greeting).expect("a greeting");
                assert_eq!(greeting, pod(last).to_string());
            });
        }
        while let Some(call) = calls.join_next().await {
            call.expect("no call panics");
        }
        serving.abort();
    }

    #[tokio::test]
    async fn a_restarted_runtime_is_found_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("handoff.sock");
        let client = HandoffClient::new(&path);
        let (_ours, theirs) = UnixStream::pair().expect("a pair");
        assert!(matches!(client.hand_over(pod(1), theirs.as_fd()).await, Err(HandoffError::Connect { .. })));

        let never = |_, descriptor| async move {
            let _held = descriptor;
            std::future::pending().await
        };
        let serving = tokio::spawn(HandoffListener::bind(&path).expect("a listener").serve(never));
        let call = {
            let (client, theirs) = (client.clone(), theirs.try_clone().expect("a second descriptor"));
            tokio::spawn(async move { client.hand_over(pod(1), theirs.as_fd()).await })
        };
        tokio::task::yield_now().await;
        serving.abort();
        assert!(serving.await.is_err(), "the first runtime was killed");
        assert!(call.await.expect("no panic").is_err(), "its answer never comes");

        let serving = tokio::spawn(HandoffListener::bind(&path).expect("a second listener").serve(greet));
        client.hand_over(pod(1), theirs.as_fd()).await.expect("the second runtime accepts");
        serving.abort();
    }
}
