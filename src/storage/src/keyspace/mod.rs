//! The keyspace: versions of keys by revision.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `revisions` | revision, number within it | what changed: the key with all its fields (values are stored once, here) |
//! | `index` | key, revision (newest first) | where the version is, and its fields without the value |
//! | `leases` | lease; lease and key | the lease; nothing |
//! | `state` | a name | revision, compacted and reclaimed revision, number of the last lease |
//!
//! A read finds the version of each key in `index` and fetches values from `revisions`; a watch that starts in the past
//! scans `revisions`. Both are bounded by a revision, so that concurrent writes do not disturb them. There is one writer
//! at a time: the [`Session`].

mod compaction;
mod history;
mod image;
mod layout;
mod leases;
mod session;
mod view;

#[cfg(test)]
mod model_test;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::{
    image::{ImageError, PinnedImage},
    session::Session,
};
use self::{layout::state, view::View};
use crate::{
    Database, Lease, OpResponse, RangeRequest, RangeResponse, StoreError, Txn, TxnResponse, WatchRequest, WatchStream,
    watch::Hub,
};

/// The column families of the keyspace.
pub(crate) const COLUMN_FAMILIES: &[&str] = &[layout::REVISIONS, layout::INDEX, layout::LEASES, layout::STATE];

/// The revision of a keyspace that was never written, as in etcd.
const FIRST_REVISION: u64 = 1;

/// The keyspace; clones share it.
#[derive(Debug, Clone)]
pub struct Keyspace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    /// What readers may see: set after the write that made it.
    revision: AtomicU64,
    /// Set before anything it allows is deleted.
    compacted: watch::Sender<u64>,
    /// There is one session at a time.
    writing: Mutex<()>,
    /// There is one reclaimer at a time.
    reclaiming: Mutex<()>,
    hub: Arc<Hub>,
}

impl Keyspace {
    /// Opens the keyspace in `database`.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn open(database: Database) -> Result<Self, StoreError> {
        let revision = state::read(&database, state::REVISION)?.unwrap_or(FIRST_REVISION);
        let compacted = state::read(&database, state::COMPACTED)?.unwrap_or(0);
        let inner = Inner {
            database,
            revision: AtomicU64::new(revision),
            compacted: watch::Sender::new(compacted),
            writing: Mutex::new(()),
            reclaiming: Mutex::new(()),
            hub: Arc::new(Hub::new(revision)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The database underneath.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.inner.revision.load(Ordering::Acquire)
    }

    /// Up to where history is forgotten.
    pub fn compacted_revision(&self) -> u64 {
        *self.inner.compacted.borrow()
    }

    /// Tells whenever more history is forgotten: then there is something to [`reclaim`](Keyspace::reclaim).
    pub fn compactions(&self) -> watch::Receiver<u64> {
        self.inner.compacted.subscribe()
    }

    /// Reads a range.
    ///
    /// # Errors
    /// When the revision is forgotten or has not happened, or the disk fails.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        loop {
            let revision = self.revision();
            let wanted = request.revision.unwrap_or(revision);
            if wanted > revision {
                return Err(StoreError::FutureRevision { requested: wanted, current: revision });
            }
            // Forgotten versions go only after `compacted` says so: if it does not by now, the view still has them all.
            let view = View::new(&self.inner.database);
            let compacted = self.compacted_revision();
            if wanted >= compacted {
                return view.range(request, wanted);
            }
            if request.revision.is_some() {
                return Err(StoreError::Compacted { requested: wanted, compacted });
            }
        }
    }

    /// Runs a transaction that only reads, without a session.
    ///
    /// # Errors
    /// When it would write, or the disk fails.
    pub fn read_txn(&self, txn: &Txn) -> Result<TxnResponse, StoreError> {
        loop {
            let revision = self.revision();
            let view = View::new(&self.inner.database);
            if revision < self.compacted_revision() {
                continue;
            }
            let mut succeeded = true;
            for compare in &txn.compare {
                succeeded &= compare.holds(view.get(compare.key(), revision)?.as_ref());
            }
            let mut responses = Vec::new();
            for op in if succeeded { &txn.success } else { &txn.failure } {
                let crate::Op::Range(request) = op else {
                    return Err(StoreError::Invalid("a transaction without a session may only read".to_owned()));
                };
                responses.push(OpResponse::Range(view.range(request, revision)?));
            }
            return Ok(TxnResponse { succeeded, revision, responses });
        }
    }

    /// Watches a range; see [`Store::watch`](crate::Store::watch).
    ///
    /// # Errors
    /// When the start is forgotten.
    pub fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        crate::watch::stream(self.clone(), request)
    }

    /// Begins to change it. Waits for the session before.
    pub fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    /// All leases.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        leases::all(&self.inner.database)
    }

    /// Ends all watches: nothing more will be written.
    pub fn close(&self) {
        self.inner.hub.close();
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.inner.hub
    }
}
