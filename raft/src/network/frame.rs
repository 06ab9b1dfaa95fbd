//! Frames: the pieces that a connection carries.
//!
//! ```text
//! length of what follows, u32 │ kind u8 │ number u64 │ body
//! ```

use std::io;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame that is taken. Batches of entries and pieces of snapshots are far shorter; the answer to a transaction
/// that reads much may be long.
pub(super) const LONGEST: usize = 64 << 20;
/// The longest frame before both sides know each other.
pub(super) const LONGEST_HELLO: usize = 16 << 10;

const HEAD: usize = 9;
/// How much memory is taken before bytes have come.
const STEP: usize = 64 << 10;

/// One piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    /// Which request it belongs to.
    pub(super) number: u64,
    pub(super) body: Bytes,
}

impl Frame {
    pub(super) fn new(kind: u8, number: u64, body: impl Into<Bytes>) -> Self {
        Self { kind, number, body: body.into() }
    }
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {length} bytes was announced, from {HEAD} to {limit} are taken")]
    Length { length: usize, limit: usize },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the next frame; `None` when the other side ended between two frames. Memory grows with what arrives, not with
/// what is announced.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Option<Frame>, FrameError> {
    let mut head = [0; 4];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let length = u32::from_be_bytes(head) as usize;
    if length < HEAD || length > limit {
        return Err(FrameError::Length { length, limit });
    }
    let kind = from.read_u8().await?;
    let number = from.read_u64().await?;
    let length = length - HEAD;
    let mut body = Vec::with_capacity(length.min(STEP));
    from.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(Frame { kind, number, body: body.into() }))
}

/// Writes a frame; whoever writes through a buffer flushes it.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let length = u32::try_from(HEAD + frame.body.len()).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(4 + HEAD);
    head.put_u32(length);
    head.put_u8(frame.kind);
    head.put_u64(frame.number);
    to.write_all(&head).await?;
    to.write_all(&frame.body).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were_and_cut_ones_are_errors(
            frames in proptest::collection::vec((any::<u8>(), any::<u64>(), any::<Vec<u8>>()), 1..4), cut: prop::sample::Index,
        ) {
            let frames: Vec<_> = frames.into_iter().map(|(kind, number, body)| Frame::new(kind, number, body)).collect();
            let mut bytes = Vec::new();
            run(async { for frame in &frames { write(&mut bytes, frame).await.unwrap() } });
            let mut whole = &bytes[..];
            for frame in &frames {
                prop_assert_eq!(&run(read(&mut whole, LONGEST)).unwrap().unwrap(), frame);
            }
            prop_assert!(run(read(&mut whole, LONGEST)).unwrap().is_none());
            let mut short = &bytes[..cut.index(bytes.len())];
            let mut taken = 0;
            while let Ok(Some(_)) = run(read(&mut short, LONGEST)) {
                taken += 1;
            }
            prop_assert!(taken < frames.len());
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_take_much_memory(bytes: Vec<u8>) {
            let mut from = &bytes[..];
            while let Ok(Some(frame)) = run(read(&mut from, LONGEST)) {
                prop_assert!(frame.body.len() <= bytes.len());
            }
        }
    }
}
