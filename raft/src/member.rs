//! Who belongs to the cluster.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::types::StoredMembership;

/// One server as membership knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Its name, for people.
    pub name: String,
    /// Where other servers reach it: `host:port`.
    pub peer_address: String,
    /// Where clients reach its API: `host:port`.
    pub api_address: String,
}

/// A server, and what it is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number: never given twice, not even after it was removed.
    pub id: u64,
    /// How it is reached.
    pub server: Server,
    /// Whether its copy counts for a quorum; who does not vote only learns.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
}

/// All members of `membership`, by number.
pub(crate) fn members(membership: &StoredMembership, leader: Option<u64>) -> Vec<Member> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes
        .map(|(id, server)| Member {
            id: *id,
            server: server.clone(),
            voter: voters.contains(id),
            leader: leader == Some(*id),
        })
        .collect()
}

/// The member with number `id`.
pub(crate) fn member(membership: &StoredMembership, id: u64, leader: Option<u64>) -> Option<Member> {
    let server = membership.get_node(&id)?.clone();
    Some(Member { id, server, voter: membership.voter_ids().any(|voter| voter == id), leader: leader == Some(id) })
}

/// The numbers of all servers that were ever removed: none of them comes back. Part of the replicated state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removed(Arc<Mutex<BTreeSet<u64>>>);

impl Removed {
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.0.lock().contains(&id)
    }

    pub(crate) fn all(&self) -> BTreeSet<u64> {
        self.0.lock().clone()
    }

    pub(crate) fn set(&self, all: BTreeSet<u64>) {
        *self.0.lock() = all;
    }
}

/// Who is in `before` but not in `after`.
pub(crate) fn gone(before: &StoredMembership, after: &StoredMembership) -> BTreeSet<u64> {
    before.nodes().map(|(id, _)| *id).filter(|id| after.get_node(id).is_none()).collect()
}
