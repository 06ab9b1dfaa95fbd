//! What all services share.

use std::sync::Arc;

use bytes::Bytes;
use component_base::{SharedEntropy, Tasks};
use storage::{KeyRange, Keyspace, SharedStore, StoreError};
use tonic::Status;

use crate::{Members, fail, pb::ResponseHeader};

/// A store and what is needed to show it as etcd.
#[derive(Clone)]
pub struct Door {
    pub(crate) store: SharedStore,
    /// The same store's keyspace on this server: for what etcd too answers of one member alone.
    pub(crate) keyspace: Keyspace,
    pub(crate) members: Arc<dyn Members>,
    pub(crate) entropy: SharedEntropy,
    /// What the read-only keys begin with, if there are any.
    reserved: Option<Bytes>,
    pub(crate) tasks: Tasks,
}

impl Door {
    /// A door to `store`, whose keyspace on this server is `keyspace`. Keys that begin with `reserved` are read-only; `None`
    /// is for a store without an API server.
    /// Watches end when `tasks` are told to.
    pub fn new(
        store: SharedStore,
        keyspace: Keyspace,
        members: Arc<dyn Members>,
        entropy: SharedEntropy,
        reserved: Option<&str>,
        tasks: Tasks,
    ) -> Self {
        Self {
            store,
            keyspace,
            members,
            entropy,
            reserved: reserved.map(|prefix| Bytes::copy_from_slice(prefix.as_bytes())),
            tasks,
        }
    }

    /// The head of an answer.
    pub(crate) fn header(&self, revision: u64) -> Option<ResponseHeader> {
        let standing = self.members.standing();
        Some(ResponseHeader {
            cluster_id: standing.cluster,
            member_id: standing.id,
            revision: signed(revision),
            raft_term: standing.term,
        })
    }

    /// The head of an answer that shows no revision in particular.
    pub(crate) fn header_now(&self) -> Option<ResponseHeader> {
        self.header(self.store.revision())
    }

    /// Refuses to change a range that holds keys of the API server, or could.
    pub(crate) fn refuse_reserved(&self, range: &KeyRange) -> Result<(), Status> {
        let Some(prefix) = &self.reserved else { return Ok(()) };
        let reserved = KeyRange::prefix(prefix.clone());
        let touched = match &range.end {
            None => reserved.contains(&range.start),
            Some(end) => {
                let ends_before = end[..] != *KeyRange::UNBOUNDED && *end <= reserved.start;
                let begins_after =
                    reserved.end.as_ref().is_some_and(|end| end[..] != *KeyRange::UNBOUNDED && range.start >= *end);
                !ends_before && !begins_after
            }
        };
        if touched { Err(fail::read_only(prefix)) } else { Ok(()) }
    }

    /// Refuses to touch a lease that keys of the API server live by.
    pub(crate) async fn refuse_reserved_lease(&self, id: i64) -> Result<(), Status> {
        if self.reserved.is_none() {
            return Ok(());
        }
        let keys = self.reading(move |keyspace| keyspace.lease_keys(id)).await?;
        keys.into_iter().try_for_each(|key| self.refuse_reserved(&KeyRange::key(key)))
    }

    /// Reads this server's keyspace where it may wait for the disk.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Keyspace) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let keyspace = self.keyspace.clone();
        match tokio::task::spawn_blocking(move || read(&keyspace)).await {
            Ok(result) => result.map_err(fail::store),
            Err(error) => Err(Status::internal(format!("etcdserver: a read was broken off: {error}"))),
        }
    }
}

/// A revision or count as the protocol has it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
