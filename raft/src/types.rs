//! What Raft is made of here.

use openraft::{
    metrics::{RaftDataMetrics, RaftServerMetrics},
    raft::{AppendEntriesRequest, StreamAppendResult},
    type_config::alias,
    vote::leader_id_adv,
};
use storage::{Command, Outcome};

use crate::Server;

openraft::declare_raft_types!(
    /// Commands to the keyspace go in, what they came to comes out.
    pub TypeConfig:
        D = Command,
        R = Outcome,
        Node = Server,
);

pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
/// A term and the server that led in it: terms alone are not unique, two servers may lead in one, the later with the
/// greater number.
pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, u64>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = alias::SnapshotOf<TypeConfig, crate::Image>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::StateMachine>;
pub(crate) type Append = AppendEntriesRequest<TypeConfig>;
pub(crate) type Appended = StreamAppendResult<TypeConfig>;
pub(crate) type ServerMetrics = alias::WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>;
pub(crate) type DataMetrics = alias::WatchReceiverOf<TypeConfig, RaftDataMetrics<TypeConfig>>;
