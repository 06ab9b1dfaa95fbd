//! The one trait that the layers above know the store by.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::Stream;

use crate::{KeyRange, Lease, RangeRequest, RangeResponse, StoreError, Txn, TxnResponse, WatchBatch, WatchRequest};

/// The batches of a watch, in the order of revisions, without gaps. It ends with an error when the watch fell behind
/// compaction, and without one when the store closes.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchBatch, StoreError>> + Send>>;

/// A store that many components share.
pub type SharedStore = Arc<dyn Store>;

/// A multi-version key-value store.
///
/// An acknowledged write is durable. A read that begins after a write was acknowledged sees it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Runs a transaction.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError>;

    /// Reads a range.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError>;

    /// Watches a range. History is replayed from the database, then live events follow; a first progress notice says
    /// when the watch has caught up.
    fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError>;

    /// Forgets all versions that are not visible at `revision` or later.
    async fn compact(&self, revision: u64) -> Result<(), StoreError>;

    /// The revision of the last change that this server has; 1 of an empty store. Where other servers serve as well, see
    /// [`Store::current_revision`].
    fn revision(&self) -> u64;

    /// The revision of the last change that was acknowledged anywhere before the call, or a later one; this server has
    /// it when the call returns.
    async fn current_revision(&self) -> Result<u64, StoreError> {
        let nothing = RangeRequest { count_only: true, ..RangeRequest::new(KeyRange::key("")) };
        Ok(self.range(nothing).await?.revision)
    }

    /// The revision up to which history is forgotten: reads before it fail, and watches cannot start before it.
    fn compacted_revision(&self) -> u64;

    /// Grants a lease: keys written under its number are deleted when `ttl` is over, in one revision.
    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError>;

    /// Grants a lease under a number that the caller chose. Fails when there is such a lease.
    async fn lease_grant_as(&self, id: i64, ttl: Duration) -> Result<Lease, StoreError>;

    /// Begins the time of a lease anew; how long it lives from the call on.
    async fn lease_keep_alive(&self, id: i64) -> Result<Duration, StoreError>;

    /// How long a lease lives yet.
    async fn lease_remaining(&self, id: i64) -> Result<Duration, StoreError>;

    /// Ends a lease now, and deletes its keys.
    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError>;
}
