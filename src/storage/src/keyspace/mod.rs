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
mod dump;
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

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::{
    dump::{Dump, Recorded, Size},
    image::{ImageError, PinnedImage, verify_image},
    session::Session,
};
use self::{
    layout::state,
    session::{Branches, Walk},
    view::View,
};
use crate::{
    Database, Lease, Op, OpResponse, RangeRequest, RangeResponse, StoreError, Txn, TxnResponse, WatchRequest,
    WatchStream, watch::Hub,
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

    /// The revision up to which watches were told everything. One that was read to the end has seen all up to it.
    pub fn told(&self) -> u64 {
        self.inner.hub.told()
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
            let reader = Reader { view, revision, compacted: self.compacted_revision() };
            let mut branches = Branches::default();
            reader.judge(txn, &mut branches)?;
            return reader.run(txn, &mut branches.walk());
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

    /// A lease, if there is such a one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn lease(&self, id: i64) -> Result<Option<Lease>, StoreError> {
        leases::get(&self.inner.database, id)
    }

    /// The keys that live by a lease, in order.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn lease_keys(&self, id: i64) -> Result<Vec<Bytes>, StoreError> {
        Ok(leases::keys(&self.inner.database, id)?.into_iter().collect())
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

/// A transaction that only reads, on its way.
struct Reader<'a> {
    view: View<'a>,
    revision: u64,
    compacted: u64,
}

impl Reader<'_> {
    fn judge(&self, txn: &Txn, branches: &mut Branches) -> Result<(), StoreError> {
        let mut succeeded = true;
        for compare in &txn.compare {
            succeeded &= match compare.range() {
                None => compare.holds(self.view.get(compare.key(), self.revision)?.as_ref()),
                Some(range) => compare.holds_of_all(&self.view.range(&RangeRequest::new(range), self.revision)?.kvs),
            };
        }
        branches.0.push(succeeded);
        for op in txn.branch(succeeded) {
            if let Op::Txn(inner) = op {
                self.judge(inner, branches)?;
            }
        }
        Ok(())
    }

    fn run(&self, txn: &Txn, branches: &mut Walk<'_>) -> Result<TxnResponse, StoreError> {
        let succeeded = branches.next();
        let mut responses = Vec::new();
        for op in txn.branch(succeeded) {
            responses.push(match op {
                Op::Range(request) => OpResponse::Range(self.range(request)?),
                Op::Txn(inner) => OpResponse::Txn(self.run(inner, branches)?),
                Op::Put { .. } | Op::Update { .. } | Op::DeleteRange { .. } => {
                    return Err(StoreError::Invalid("a transaction without a session may only read".to_owned()));
                }
            });
        }
        Ok(TxnResponse { succeeded, revision: self.revision, responses })
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        let (current, compacted) = (self.revision, self.compacted);
        match request.revision {
            Some(requested) if requested > current => Err(StoreError::FutureRevision { requested, current }),
            Some(requested) if requested < compacted => Err(StoreError::Compacted { requested, compacted }),
            wanted => self.view.range(request, wanted.unwrap_or(current)),
        }
    }
}
