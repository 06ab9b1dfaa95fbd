//! Consensus and the replicated store: openraft over RocksDB.
//!
//! Also a cluster of one server writes through Raft, so that growing to three is joining, not migrating.
//!
//! ```text
//!  RaftStore            implements storage::Store: transactions are proposed, reads and watches go to the keyspace
//!     │
//!  openraft             decides the order of commands
//!     ├─ LogStore       the log and the vote; a thread of its own writes, and syncs once for all that waited
//!     ├─ StateMachine   applies commands to storage::Keyspace, with the index they came from in the same batch
//!     ├─ Image          the keyspace pinned as it is: a snapshot costs nothing until a peer reads it
//!     └─ network        how other servers are reached; there are none yet
//!  duties               what the leader does besides: ends leases whose time is over
//! ```
//!
//! Log and keyspace are column families of one RocksDB database. Its one write-ahead log orders everything: what
//! survives a crash is a prefix of what was written, so the keyspace never runs ahead of the log, and an entry is purged
//! only together with the state that made it superfluous. A command is acknowledged when its log entry is synced and it
//! is applied; the applied state itself is not synced, it follows from the log.
//!
//! One server alone has no timers: it leads at once, sends no heartbeats, and an idle store writes nothing.

mod duties;
mod entry;
mod error;
mod image;
mod log;
mod machine;
mod network;
mod records;
mod store;
mod types;

#[cfg(test)]
mod tests;

pub use self::{image::Image, store::RaftStore, types::TypeConfig};
