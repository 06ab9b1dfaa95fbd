//! Sending a snapshot to a server that is too far behind for the log.
//!
//! On a connection of its own, in pieces that say where they belong, with the length and the checksum of the whole at the
//! end; not faster than a disk and a network can bear beside everything else. The other side takes it only when all of it is
//! there and right.

use std::{
    io::{self, Write},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Answer, Peer, PeerError,
    link::CallError,
    message::{self, kind},
};
use crate::{
    Image,
    types::{Snapshot, SnapshotMeta, Vote},
};

/// The size of a piece.
const PIECE: usize = 256 << 10;
/// How many bytes are sent in a second at most.
const PER_SECOND: u64 = 64 << 20;

/// The first frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
}

/// The last frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) length: u64,
    pub(super) sum: [u8; 32],
}

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Dial(#[from] PeerError),
    #[error("the connection broke: {0}")]
    Call(#[from] CallError),
    #[error("it was not taken: {0}")]
    Refused(String),
    #[error("it cannot be read here: {0}")]
    Read(String),
}

/// Sends a snapshot, and returns the vote of the server that took it.
pub(super) async fn send(peer: &Peer, vote: Vote, snapshot: Snapshot) -> Result<Vote, SendError> {
    let link = peer.dial_alone().await?;
    let (conversation, mut answer) = link.conversation()?;
    let sending = async {
        conversation.say(kind::SNAPSHOT, message::json(&Begin { vote, meta: snapshot.meta })).await?;
        let mut pieces = read(peer, snapshot.snapshot);
        let (mut sum, mut length, begin) = (Sha256::new(), 0_u64, Instant::now());
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(SendError::Read)?;
            sum.update(&piece);
            let mut body = BytesMut::with_capacity(8 + piece.len());
            body.put_u64(length);
            body.extend_from_slice(&piece);
            length += piece.len() as u64;
            conversation.say(kind::SNAPSHOT_PART, body).await?;
            sleep_until(begin + Duration::from_micros(length.saturating_mul(1_000_000) / PER_SECOND)).await;
        }
        conversation.say(kind::SNAPSHOT_END, message::json(&End { length, sum: sum.finalize().into() })).await?;
        Ok::<_, SendError>(())
    };
    // It may be refused before all of it is there.
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        sent = sending => {
            sent?;
            answer.await
        }
    };
    let frame = answer.map_err(|_| CallError::Broken(conversation.why()))?;
    match Answer::decode(frame.body).map_err(PeerError::from)? {
        Answer::Done(vote) => message::from_json(&vote).map_err(|error| PeerError::from(error).into()),
        Answer::Unavailable(why) | Answer::Unknown(why) | Answer::Invalid(why) => Err(SendError::Refused(why)),
        Answer::Elsewhere(_) => Err(SendError::Refused("it asks for a leader".to_owned())),
    }
}

/// Reads the image where it may wait for the disk. Whoever drops the pieces ends that.
fn read(peer: &Peer, image: Image) -> mpsc::Receiver<Result<Bytes, String>> {
    let (to, pieces) = mpsc::channel(2);
    // The store does not close before the image is let go.
    peer.local.open.spawn_blocking(move || {
        let mut out = Pieces { to: to.clone(), piece: Vec::with_capacity(PIECE) };
        let written = image.write_to(&mut out).and_then(|()| out.pass_on());
        if let Err(error) = written {
            // When it is the receiver who has gone this fails as well.
            let _ = to.blocking_send(Err(error.to_string()));
        }
    });
    pieces
}

/// Cuts what is written into pieces.
struct Pieces {
    to: mpsc::Sender<Result<Bytes, String>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn pass_on(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
