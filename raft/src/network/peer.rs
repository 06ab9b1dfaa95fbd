//! The connections that this server keeps to another.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use super::{PeerError, Refusal, hello::Local, link::Link};
use crate::Server;

/// Which of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// For what is small and must not wait: votes, heartbeats, reads.
    Quick,
    /// For what may be large: entries and proposals.
    Wide,
}

/// All other servers that this one ever spoke to.
pub(crate) struct Peers {
    local: Arc<Local>,
    all: Mutex<HashMap<u64, Arc<Peer>>>,
}

impl Peers {
    pub(crate) fn new(local: Arc<Local>) -> Self {
        Self { local, all: Mutex::default() }
    }

    /// Server `id`, reached as `server` says.
    pub(crate) fn get(&self, id: u64, server: &Server) -> Arc<Peer> {
        let mut all = self.all.lock();
        match all.get(&id) {
            Some(peer) if peer.server == *server => peer.clone(),
            _ => {
                let peer = Arc::new_cyclic(|this| Peer {
                    this: this.clone(),
                    id,
                    server: server.clone(),
                    local: self.local.clone(),
                    quick: Mutex::new(State::Down),
                    wide: Mutex::new(State::Down),
                    complaint: Mutex::new(None),
                });
                all.insert(id, peer.clone());
                peer
            }
        }
    }
}

/// How long to let a server be that could not be reached.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// How long to let a server be that does not want to be spoken to: that takes a person to mend.
const AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// Another server.
pub(crate) struct Peer {
    this: Weak<Self>,
    pub(crate) id: u64,
    pub(super) server: Server,
    pub(super) local: Arc<Local>,
    quick: Mutex<State>,
    wide: Mutex<State>,
    /// The refusal that was told in the log last.
    complaint: Mutex<Option<Refusal>>,
}

type Dialled = Shared<BoxFuture<'static, Result<Link, Arc<PeerError>>>>;

enum State {
    Down,
    Dialling(Dialled),
    Up(Link),
}

impl Peer {
    /// A connection that works, as far as is known. Whoever asks while one is being dialled gets that.
    pub(crate) async fn link(&self, lane: Lane) -> Result<Link, Arc<PeerError>> {
        let dialled = {
            let mut state = self.state(lane).lock();
            match &*state {
                State::Up(link) if link.is_whole() => return Ok(link.clone()),
                State::Dialling(dialled) => dialled.clone(),
                State::Up(_) | State::Down => {
                    let this = self.this.upgrade().expect("it is only ever made within an `Arc`");
                    // A task of its own: whoever waits may lose patience, the next still finds it on its way.
                    let dialling = tokio::spawn(async move { this.dial(lane).await });
                    let dialled = dialling
                        .map(|done| done.unwrap_or_else(|_| Err(Arc::new(PeerError::Closing))))
                        .boxed()
                        .shared();
                    *state = State::Dialling(dialled.clone());
                    dialled
                }
            }
        };
        dialled.await
    }

    fn state(&self, lane: Lane) -> &Mutex<State> {
        match lane {
            Lane::Quick => &self.quick,
            Lane::Wide => &self.wide,
        }
    }

    async fn dial(self: Arc<Self>, lane: Lane) -> Result<Link, Arc<PeerError>> {
        let dialled = self.dial_alone().await.map_err(Arc::new);
        // Whoever asks keeps asking: an answer that comes at once would be asked for without a pause.
        match dialled.as_ref().err().map(|error| &**error) {
            None | Some(PeerError::Closing) => {}
            Some(PeerError::Refused { .. }) => self.pause(AFTER_REFUSAL).await,
            Some(_) => self.pause(AFTER_FAILURE).await,
        }
        *self.state(lane).lock() = match &dialled {
            Ok(link) => State::Up(link.clone()),
            Err(_) => State::Down,
        };
        dialled
    }

    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            () = self.local.closing.cancelled() => {}
        }
    }

    /// A connection of one's own.
    pub(super) async fn dial_alone(&self) -> Result<Link, PeerError> {
        let dialled = tokio::select! {
            dialled = Link::dial(&self.local, self.id, &self.server) => dialled,
            () = self.local.closing.cancelled() => Err(PeerError::Closing),
        };
        match &dialled {
            Ok(_) => *self.complaint.lock() = None,
            Err(PeerError::Refused { refusal, message }) => {
                // Said once, and not at every heartbeat.
                if self.complaint.lock().replace(*refusal) != Some(*refusal) {
                    tracing::error!(server = self.id, "cannot speak with another server: {message}");
                }
            }
            Err(error) => tracing::debug!(server = self.id, %error, "another server cannot be reached"),
        }
        dialled
    }
}
