//! Consensus and the replicated store: openraft over RocksDB.
//!
//! Also a cluster of one server writes through Raft, so that growing to three is joining, not migrating.
//!
//! ```text
//!  RaftStore            implements storage::Store: transactions are proposed, reads and watches go to the keyspace
//!     ├─ forward        a write goes to the server that leads; a read asks it up to where to apply the log first
//!     ├─ membership     who belongs to the cluster; refuses what would lose the quorum
//!     ├─ leader         tells who leads, and whether this server may act as the leader; `fence` holds whoever does to it
//!     │
//!  openraft             decides the order of commands
//!     ├─ LogStore       the log and the vote; a thread of its own writes, and syncs once for all that waited
//!     ├─ StateMachine   applies commands to storage::Keyspace, with the index they came from in the same batch
//!     ├─ Image          the keyspace pinned as it is: a snapshot costs nothing until a peer reads it
//!     └─ network        two kept connections to every other server, over whatever streams it is given
//!  duties               what the leader does besides: ends leases whose time is over, forgets old history, lets learners vote
//! ```
//!
//! Log and keyspace are column families of one RocksDB database. Its one write-ahead log orders everything: what
//! survives a crash is a prefix of what was written, so the keyspace never runs ahead of the log, and an entry is purged
//! only together with the state that made it superfluous. A command is acknowledged when its log entry is synced by a
//! quorum and it is applied where it was proposed; the applied state itself is not synced, it follows from the log.
//!
//! Every server serves everything: it watches its own keyspace, reads it after it has caught up with what a quorum knows
//! (never by a lease), and hands writes to the leader. A write whose answer is lost is reported as such, never repeated. A
//! lost leader is replaced within a second; one that was cut off or stood still acknowledges nothing and answers no read.
//!
//! One server alone has no timers: it leads at once, sends no heartbeats, and an idle store writes nothing.

mod duties;
mod entry;
mod error;
mod fence;
mod forward;
mod image;
mod leader;
mod lease;
mod log;
mod machine;
mod member;
mod membership;
mod network;
mod progress;
mod records;
mod store;
mod types;

#[cfg(test)]
mod tests;

pub use self::{
    image::Image,
    member::{Member, Server},
    network::{Connect, NoPeers, PeerError, PeerStream, Refusal},
    progress::Progress,
    store::{Options, RaftStore},
    types::TypeConfig,
};
