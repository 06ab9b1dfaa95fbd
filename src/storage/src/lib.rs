//! The multi-version keyspace that holds the cluster's state.
//!
//! It has the shape of etcd's: every committed transaction that changes something gets the next *revision*; a key
//! remembers the revision that created it, the one that changed it last, and how often it changed. Old versions stay
//! readable until they are compacted, which is what makes lists consistent across pages and watches resumable.
//!
//! ```text
//!  trait Store          what the API server sees
//!     │   implemented by `raft`, which puts consensus before it
//!  Keyspace             apply(Command) -> Outcome, deterministic; range at a revision; history; compaction; leases
//!     │        └─ Hub   tells watches what each revision changed
//!  Database             RocksDB, tuned small; column families; errors that name the file
//! ```
//!
//! Guarantees:
//! - [`Session`](keyspace::Session) writes everything a command changes in one atomic batch, together with whatever its
//!   user adds (the applied log index), so that a crash leaves either all of it or nothing.
//! - Nothing here reads the clock or randomness: the same commands give the same state on every node.

mod codec;
mod command;
mod data_dir;
mod database;
mod error;
pub mod keyspace;
mod store;
mod tail;
mod types;
mod watch;

pub use rocksdb;

pub use self::{
    codec::CodecError,
    command::{Command, MAX_REQUEST_BYTES, Outcome, Refusal},
    data_dir::{DataDir, DataDirError},
    database::{Database, open_database},
    error::StoreError,
    keyspace::Keyspace,
    store::{SharedStore, Store, WatchStream},
    types::{
        Compare, CompareOp, Event, EventKind, KeyRange, KeyValue, Lease, Op, OpResponse, RangeRequest, RangeResponse,
        Txn, TxnResponse, WatchBatch, WatchRequest,
    },
};
