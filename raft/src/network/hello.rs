//! The first words on a connection: each side says which server of which cluster it is and where its log ends, and refuses
//! whom it must not speak with.
//!
//! A server whose disk was wiped has forgotten what it acknowledged and whom it voted for: under its old number it would
//! let a quorum forget as well. It gives itself away by a log that ends before what it is known to have had, and since
//! nobody speaks with it, it stays recognizable. It joins again as a new server, under a new number.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Connect,
    frame::{self, Frame, FrameError, LONGEST_HELLO},
};
use crate::{
    member::Removed,
    types::{DataMetrics, ServerMetrics},
};

/// The version of the protocol that this server speaks.
const VERSION: u64 = 1;
/// How long the first words may take.
const PATIENCE: Duration = Duration::from_secs(5);

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;

/// Which server of which cluster a store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) id: u64,
}

/// Why a server does not speak with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// They speak different versions of the protocol.
    Version,
    /// They belong to different clusters.
    Cluster,
    /// It is not the server that was looked for, or not the one it says it is.
    Identity,
    /// The one that asked was removed from the cluster.
    Removed,
    /// One of them has lost what it had.
    Wiped,
}

/// Why a connection between servers did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// What arrived is not what servers say to one another.
    #[error("the other side does not speak as a server does: {0}")]
    Garbage(String),
    /// One side refuses the other.
    #[error("refused: {message}")]
    Refused {
        /// The reason, for programs.
        refusal: Refusal,
        /// The reason, for people.
        message: String,
    },
    /// The other side took too long.
    #[error("the other side said nothing for {0:?}")]
    Silent(Duration),
    /// This store closes.
    #[error("this store closes")]
    Closing,
}

impl From<FrameError> for PeerError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            FrameError::Length { .. } => Self::Garbage(error.to_string()),
        }
    }
}

/// What a side says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    cluster: String,
    from: u64,
    to: u64,
    /// The index of its last log entry.
    last: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    refusal: Refusal,
    message: String,
}

impl From<Refused> for PeerError {
    fn from(Refused { refusal, message }: Refused) -> Self {
        Self::Refused { refusal, message }
    }
}

/// Up to where this server has something: one more than the index of the last log entry or of the snapshot that stands for
/// it, 0 when it has nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach(Arc<AtomicU64>);

impl Reach {
    /// The log ends with `last` now.
    pub(crate) fn set(&self, last: Option<u64>) {
        self.0.store(last.map_or(0, |last| last + 1), Ordering::Release);
    }

    /// Something stands for everything up to `last`.
    pub(crate) fn raise(&self, last: Option<u64>) {
        self.0.fetch_max(last.map_or(0, |last| last + 1), Ordering::AcqRel);
    }

    fn last(&self) -> Option<u64> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }
}

/// What the network knows of the server that it belongs to. It does not keep Raft running.
pub(crate) struct Local {
    pub(crate) identity: Identity,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) removed: Removed,
    pub(crate) reach: Reach,
    pub(crate) closing: CancellationToken,
    /// Whoever reads the database holds a token of it.
    pub(crate) open: TaskTracker,
    /// Whoever works on a request of another server holds a token of it.
    pub(crate) answering: TaskTracker,
    /// Whoever serves another server holds a token of it.
    pub(crate) serving: TaskTracker,
    /// The folder for snapshots that arrive.
    pub(crate) incoming: PathBuf,
    /// The snapshot that arrives now; cancelled when a newer one does.
    pub(crate) receiving: Mutex<CancellationToken>,
    /// Raft's view, once it runs.
    pub(crate) metrics: watch::Sender<Option<(ServerMetrics, DataMetrics)>>,
}

impl Local {
    /// Waits until Raft runs.
    async fn metrics(&self) -> Result<(ServerMetrics, DataMetrics), PeerError> {
        let mut metrics = self.metrics.subscribe();
        let running = metrics.wait_for(Option::is_some).await.map_err(|_| PeerError::Closing)?;
        running.clone().ok_or(PeerError::Closing)
    }

    fn hello(&self, to: u64) -> Hello {
        let Identity { cluster, id } = self.identity.clone();
        Hello { cluster, from: id, to, last: self.reach.last() }
    }

    /// Speaks first to server `id`.
    pub(super) async fn greet(
        &self,
        id: u64,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), PeerError> {
        let (_, data) = self.metrics().await?;
        // Taken before the other side says where its log ends: what it had acknowledged by now must be there.
        let acknowledged = {
            let data = data.borrow_watched();
            data.replication.as_ref().and_then(|progress| progress.get(&id).copied().flatten()).map(|log| log.index)
        };
        say(stream, HELLO, VERSION, &self.hello(id)).await?;
        let answer = heard(stream).await?;
        match answer.kind {
            WELCOME if answer.number == VERSION => {
                self.check(&parse(&answer)?, id, acknowledged).await.map_err(Into::into)
            }
            WELCOME => Err(PeerError::Garbage(format!("it answers in version {} of the protocol", answer.number))),
            REFUSED => Err(parse::<Refused>(&answer)?.into()),
            kind => Err(PeerError::Garbage(format!("it answers the first words with kind {kind}"))),
        }
    }

    /// Answers the first words of server `from`.
    pub(super) async fn welcome(
        &self,
        from: u64,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), PeerError> {
        let first = heard(stream).await?;
        if first.kind != HELLO {
            return Err(PeerError::Garbage(format!("its first words are of kind {}", first.kind)));
        }
        let checked = if first.number < VERSION {
            let message =
                format!("server {} does not speak version {} of the protocol any more", self.identity.id, first.number);
            Err(Refused { refusal: Refusal::Version, message })
        } else {
            self.check(&parse(&first)?, from, None).await
        };
        match checked {
            Ok(()) => say(stream, WELCOME, VERSION, &self.hello(from)).await,
            Err(refused) => {
                say(stream, REFUSED, VERSION, &refused).await?;
                Err(refused.into())
            }
        }
    }

    /// Refuses a server that was removed.
    pub(super) fn refuse_removed(&self, id: u64) -> Result<(), Refused> {
        if !self.removed.contains(id) {
            return Ok(());
        }
        let message = format!(
            "server {id} was removed from the cluster: to come back it joins anew, with an empty store and under a new number"
        );
        Err(Refused { refusal: Refusal::Removed, message })
    }

    /// Whether to speak with who said `hello` and is known to be server `id`.
    async fn check(&self, hello: &Hello, id: u64, acknowledged: Option<u64>) -> Result<(), Refused> {
        let refuse = |refusal, message| Err(Refused { refusal, message });
        let Identity { cluster, id: own } = &self.identity;
        if hello.cluster != *cluster {
            return refuse(
                Refusal::Cluster,
                format!("server {own} belongs to cluster {cluster:?}, not to {:?}", hello.cluster),
            );
        }
        if hello.to != *own {
            return refuse(Refusal::Identity, format!("this is server {own}, not server {}", hello.to));
        }
        if hello.from != id {
            return refuse(Refusal::Identity, format!("server {id} calls itself server {}", hello.from));
        }
        self.refuse_removed(id)?;
        let voter = match self.metrics().await {
            Ok((server, _)) => server.borrow_watched().membership_config.voter_ids().any(|voter| voter == id),
            Err(_) => false,
        };
        if hello.last < acknowledged || (voter && hello.last.is_none()) {
            let end = |last: Option<u64>| last.map_or("nothing".to_owned(), |last| format!("entries up to {last}"));
            return refuse(
                Refusal::Wiped,
                format!(
                    "server {id} has {} in its log but is known to have had more: it lost its disk or was set back. Remove it from \
                     the cluster; it joins anew, with an empty store and under a new number",
                    end(hello.last),
                ),
            );
        }
        Ok(())
    }
}

async fn say(
    to: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    version: u64,
    words: &impl Serialize,
) -> Result<(), PeerError> {
    let body = serde_json::to_vec(words).expect("numbers and names have a JSON form");
    frame::write(to, &Frame::new(kind, version, body)).await?;
    Ok(to.flush().await?)
}

async fn heard(from: &mut (impl AsyncRead + Unpin)) -> Result<Frame, PeerError> {
    let frame = timeout(PATIENCE, frame::read(from, LONGEST_HELLO)).await.map_err(|_| PeerError::Silent(PATIENCE))?;
    frame?.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
}

fn parse<T: DeserializeOwned>(frame: &Frame) -> Result<T, PeerError> {
    serde_json::from_slice(&frame.body).map_err(|error| PeerError::Garbage(format!("its first words: {error}")))
}
