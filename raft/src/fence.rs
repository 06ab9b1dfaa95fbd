//! A store for whoever acts because this server leads.

use std::time::Duration;

use async_trait::async_trait;
use storage::{
    Command, Lease, Outcome, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse, WatchRequest,
    WatchStream,
};

use crate::{
    RaftStore,
    forward::NotDone,
    store::{unexpected, whole_seconds},
    types::LeaderId,
};

/// The store of [`RaftStore::fenced`].
pub(crate) struct Fenced {
    pub(crate) store: RaftStore,
    pub(crate) term: u64,
}

impl Fenced {
    async fn propose(&self, command: Command) -> Result<Outcome, StoreError> {
        command.check()?;
        let leader = LeaderId { term: self.term, node_id: self.store.id() };
        match self.store.propose_here(command, Some(leader)).await {
            Ok(Outcome::Refused(refusal)) => Err(refusal.into()),
            Ok(outcome) => Ok(outcome),
            Err(NotDone::Failed(error)) => Err(error),
            Err(NotDone::Elsewhere(_)) => {
                Err(StoreError::Unavailable(format!("this server does not lead in term {} any more", self.term)))
            }
        }
    }
}

#[async_trait]
impl Store for Fenced {
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        if txn.is_read_only() {
            return self.store.txn(txn).await;
        }
        match self.propose(Command::Txn(txn)).await? {
            Outcome::Txn(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.store.range(request).await
    }

    fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.store.watch(request)
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.propose(Command::Compact { revision }).await.map(drop)
    }

    fn revision(&self) -> u64 {
        self.store.revision()
    }

    async fn current_revision(&self) -> Result<u64, StoreError> {
        self.store.current_revision().await
    }

    fn compacted_revision(&self) -> u64 {
        self.store.compacted_revision()
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        self.lease_grant_as(0, ttl).await.map(|lease| lease.id)
    }

    async fn lease_grant_as(&self, id: i64, ttl: Duration) -> Result<Lease, StoreError> {
        match self.propose(Command::LeaseGrant { id, ttl_seconds: whole_seconds(ttl) }).await? {
            Outcome::Granted(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_keep_alive(&self, id: i64) -> Result<Duration, StoreError> {
        self.store.lease_keep_alive(id).await
    }

    async fn lease_remaining(&self, id: i64) -> Result<Duration, StoreError> {
        self.store.lease_remaining(id).await
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError> {
        self.propose(Command::LeaseRevoke { id }).await.map(drop)
    }
}
