//! A store of one process, without consensus: for tests and tools.

use std::{path::Path, time::Duration};

use async_trait::async_trait;

use crate::{
    Command, Keyspace, Outcome, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse, WatchRequest,
    WatchStream, open_database,
};

/// How many forgotten versions are deleted in one go.
const RECLAIM_AT_ONCE: usize = 4096;

/// A [`Keyspace`] behind [`Store`]. Writes go to the disk at once; its leases end only when they are revoked.
#[derive(Debug, Clone)]
pub struct LocalStore {
    keyspace: Keyspace,
}

impl LocalStore {
    /// Opens the database at `path`, and makes it when it is not there.
    ///
    /// # Errors
    /// When the disk refuses, or what is there is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { keyspace: Keyspace::open(open_database(path, &[])?)? })
    }

    /// The keyspace itself.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    fn apply(&self, command: &Command) -> Result<Outcome, StoreError> {
        let mut session = self.keyspace.session();
        let outcome = session.apply(command)?;
        session.commit_synced()?;
        match outcome {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        match self.apply(&Command::Txn(txn))? {
            Outcome::Txn(response) => Ok(response),
            other => Err(StoreError::Unavailable(format!("a transaction came to {other}"))),
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.keyspace.range(&request)
    }

    fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.keyspace.watch(request)
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.apply(&Command::Compact { revision })?;
        while self.keyspace.reclaim(RECLAIM_AT_ONCE)? {}
        Ok(())
    }

    fn revision(&self) -> u64 {
        self.keyspace.revision()
    }

    fn compacted_revision(&self) -> u64 {
        self.keyspace.compacted_revision()
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        match self.apply(&Command::LeaseGrant { ttl_seconds: ttl.as_secs() })? {
            Outcome::Granted(lease) => Ok(lease.id),
            other => Err(StoreError::Unavailable(format!("a grant came to {other}"))),
        }
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError> {
        self.apply(&Command::LeaseRevoke { id }).map(|_| ())
    }
}
