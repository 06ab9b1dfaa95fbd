//! Applying the log to the keyspace.
//!
//! Every batch holds the changes of some entries and the index of the last one, so that no entry is applied twice. The
//! batch is not synced: after a power cut the keyspace is where it was a little earlier, and the log brings it forward.

use std::{collections::BTreeSet, io, sync::Arc};

use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use serde::{Deserialize, Serialize};
use storage::{Command, Keyspace, Lease, Outcome, StoreError, keyspace::ImageError};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    Image, TypeConfig,
    error::Failure,
    member::{self, Removed},
    network::Reach,
    records::{self, APPLIED, INSTALLED, MEMBERSHIP, REMOVED},
    types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership},
};

/// How many entries go into one batch at most.
const ENTRIES_AT_ONCE: usize = 256;

/// What was applied to leases, for whoever measures their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    Granted(Lease),
    Ended(i64),
}

/// The state machine of this server; openraft owns it.
pub(crate) struct StateMachine {
    keyspace: Keyspace,
    applied: Applied,
    leases: mpsc::UnboundedSender<LeaseChange>,
    failure: Failure,
    /// What others may know of what is applied.
    published: Published,
    // Dropped last: then this does not hold the database open any more.
    _open: TaskTrackerToken,
}

/// Up to where the log is applied.
#[derive(Debug, Clone, Default)]
struct Applied {
    last: Option<LogId>,
    membership: StoredMembership,
    /// Who was ever removed.
    removed: BTreeSet<u64>,
}

/// What an image says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageMeta {
    pub(crate) raft: SnapshotMeta,
    pub(crate) removed: BTreeSet<u64>,
}

/// What the rest of the store sees of the state machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) removed: Removed,
    pub(crate) reach: Reach,
}

impl Published {
    fn tell(&self, applied: &Applied) {
        self.reach.raise(applied.last.map(|last| last.index));
        self.removed.set(applied.removed.clone());
    }
}

impl StateMachine {
    /// Opens the state machine over the keyspace.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub(crate) fn open(
        keyspace: Keyspace,
        leases: mpsc::UnboundedSender<LeaseChange>,
        failure: Failure,
        published: Published,
        open: TaskTrackerToken,
    ) -> Result<Self, StoreError> {
        let applied = Applied::read(&keyspace)?;
        published.tell(&applied);
        Ok(Self { keyspace, applied, leases, failure, published, _open: open })
    }

    /// The last entry that was applied.
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied.last
    }

    /// Runs `work` where it may wait for the disk; what fails in it is noted there.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Failure) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let failure = self.failure.clone();
        spawn_blocking(move || work(&failure)).await.unwrap_or_else(|error| {
            Err(self.failure.note(StoreError::Unavailable(format!("applying the log was broken off: {error}"))))
        })
    }

    /// The keyspace as it is now. Nothing is being applied: openraft asks for one thing at a time.
    fn snapshot(&self) -> Snapshot {
        let Applied { last, membership, removed } = self.applied.clone();
        let meta = ImageMeta { raft: SnapshotMeta { last_log_id: last, last_membership: membership }, removed };
        let bytes = serde_json::to_vec(&meta).expect("numbers and names have a JSON form");
        Snapshot { meta: meta.raft, snapshot: Image::Pinned(Arc::new(self.keyspace.pin(bytes))) }
    }
}

impl Applied {
    fn read(keyspace: &Keyspace) -> Result<Self, StoreError> {
        let database = keyspace.database();
        let membership = records::read(database, MEMBERSHIP)?.unwrap_or_default();
        let removed = records::read(database, REMOVED)?.unwrap_or_default();
        Ok(Self { last: records::read(database, APPLIED)?, membership, removed })
    }

    /// Applies entries in one batch, lets readers see it, and answers those who wait.
    fn apply(
        mut self,
        keyspace: &Keyspace,
        leases: &mpsc::UnboundedSender<LeaseChange>,
        published: &Published,
        failure: &Failure,
        entries: Vec<EntryResponder<TypeConfig>>,
    ) -> io::Result<Self> {
        let (entries, responders): (Vec<Entry>, Vec<_>) = entries.into_iter().unzip();
        // Noted before those who wait are let go of: they then ask why.
        let decided = self.decide(keyspace, entries).map_err(|error| failure.note(error))?;
        // Before whoever removed a server is told that it is removed.
        if decided.membership_changed {
            published.tell(&self);
        }
        for (responder, outcome) in responders.into_iter().zip(decided.outcomes) {
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        for change in decided.changes {
            // Nobody listens while the store closes.
            let _ = leases.send(change);
        }
        Ok(self)
    }

    /// What entries come to, in one batch that is written.
    fn decide(&mut self, keyspace: &Keyspace, entries: Vec<Entry>) -> Result<Decided, StoreError> {
        let database = keyspace.database();
        let mut session = keyspace.session();
        let mut decided = Decided::default();
        for entry in entries {
            let outcome = match entry.payload {
                EntryPayload::Blank => Outcome::Done { revision: session.revision() },
                EntryPayload::Normal(command) => {
                    let outcome = session.apply(&command)?;
                    decided.changes.extend(lease_change(&command, &outcome));
                    outcome
                }
                EntryPayload::Membership(membership) => {
                    let membership = StoredMembership::new(Some(entry.log_id), membership);
                    self.removed.extend(member::gone(&self.membership, &membership));
                    self.membership = membership;
                    decided.membership_changed = true;
                    records::put(database, session.batch(), MEMBERSHIP, &self.membership);
                    records::put(database, session.batch(), REMOVED, &self.removed);
                    Outcome::Done { revision: session.revision() }
                }
            };
            self.last = Some(entry.log_id);
            decided.outcomes.push(outcome);
        }
        records::put(database, session.batch(), APPLIED, &self.last);
        session.commit()?;
        Ok(decided)
    }
}

/// What a batch of entries came to.
#[derive(Default)]
struct Decided {
    /// One for each entry.
    outcomes: Vec<Outcome>,
    changes: Vec<LeaseChange>,
    membership_changed: bool,
}

fn lease_change(command: &Command, outcome: &Outcome) -> Option<LeaseChange> {
    match (command, outcome) {
        (_, Outcome::Granted(lease)) => Some(LeaseChange::Granted(*lease)),
        (Command::LeaseRevoke { id }, Outcome::Done { .. }) => Some(LeaseChange::Ended(*id)),
        _ => None,
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Image;
    type SnapshotBuilder = Built;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied.last, self.applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        loop {
            let mut batch = Vec::new();
            while batch.len() < ENTRIES_AT_ONCE
                && let Some(entry) = entries.try_next().await?
            {
                batch.push(entry);
            }
            if batch.is_empty() {
                return Ok(());
            }
            let (keyspace, leases, applied) = (self.keyspace.clone(), self.leases.clone(), self.applied.clone());
            let published = self.published.clone();
            self.applied =
                self.blocking(move |failure| applied.apply(&keyspace, &leases, &published, failure, batch)).await?;
        }
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Built> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Built {
        Built(Some(self.snapshot()))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Image) -> io::Result<()> {
        let (keyspace, meta) = (self.keyspace.clone(), meta.clone());
        self.applied =
            self.blocking(move |failure| install(&keyspace, &meta, image).map_err(|error| failure.note(error))).await?;
        self.published.tell(&self.applied);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.applied.last.is_some().then(|| self.snapshot()))
    }
}

/// Replaces the keyspace by an image, and says in the same batch up to where the log is applied now.
fn install(keyspace: &Keyspace, meta: &SnapshotMeta, image: Image) -> Result<Applied, StoreError> {
    let database = keyspace.database();
    let mut removed = BTreeSet::new();
    let reader = image.into_reader().map_err(|error| StoreError::Io(error.to_string()))?;
    let restored = keyspace.restore(reader, |of_image, batch| {
        let of_image: ImageMeta = serde_json::from_slice(of_image).map_err(|error| damaged(&error))?;
        if &of_image.raft != meta {
            return Err(damaged(&format!("it was taken at {}, not at {meta}", of_image.raft)));
        }
        removed = of_image.removed;
        records::put(database, batch, APPLIED, &meta.last_log_id);
        records::put(database, batch, INSTALLED, &meta.last_log_id);
        records::put(database, batch, MEMBERSHIP, &meta.last_membership);
        records::put(database, batch, REMOVED, &removed);
        Ok(())
    });
    match restored {
        Ok(()) => Ok(Applied { last: meta.last_log_id, membership: meta.last_membership.clone(), removed }),
        Err(ImageError::Store(error)) => Err(error),
        Err(error @ ImageError::Transfer(_)) => Err(StoreError::Io(error.to_string())),
        Err(ImageError::Damaged(why)) => Err(damaged(&why)),
    }
}

fn damaged(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { file: "the snapshot that the leader sent".to_owned(), message: why.to_string() }
}

/// A snapshot that is built already: it was pinned when openraft asked for its builder.
pub(crate) struct Built(Option<Snapshot>);

impl RaftSnapshotBuilder<TypeConfig> for Built {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.0.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))
    }
}
