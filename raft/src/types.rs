//! What Raft is made of here.

use openraft::{BasicNode, type_config::alias};
use storage::{Command, Outcome};

openraft::declare_raft_types!(
    /// Commands to the keyspace go in, what they came to comes out.
    pub TypeConfig:
        D = Command,
        R = Outcome,
        Node = BasicNode,
);

pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = alias::SnapshotOf<TypeConfig, crate::Image>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::StateMachine>;
