//! The few records beside log and keyspace: small, and JSON so that people can read them.

use rocksdb::WriteBatch;
use serde::{Serialize, de::DeserializeOwned};
use storage::{Database, StoreError};

/// The column family of the records.
pub(crate) const RAFT: &str = "raft";

/// The vote that this server gave last.
pub(crate) const VOTE: &str = "vote";
/// The last entry that was purged from the log.
pub(crate) const PURGED: &str = "purged";
/// The last entry that the keyspace holds.
pub(crate) const APPLIED: &str = "applied";
/// The last entry that a snapshot from another server stands for: the log may begin behind it.
pub(crate) const INSTALLED: &str = "installed";
/// Which server of which cluster this is.
pub(crate) const IDENTITY: &str = "identity";
/// The numbers of the servers that were ever removed.
pub(crate) const REMOVED: &str = "removed";
/// The last membership that was applied.
pub(crate) const MEMBERSHIP: &str = "membership";

pub(crate) fn read<T: DeserializeOwned>(database: &Database, name: &str) -> Result<Option<T>, StoreError> {
    let Some(bytes) = database.get(RAFT, name.as_bytes())? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| StoreError::Corrupt {
        file: format!("the record {name:?} of Raft in {}", database.path().display()),
        message: error.to_string(),
    })
}

pub(crate) fn put(database: &Database, batch: &mut WriteBatch, name: &str, value: &impl Serialize) {
    let bytes = serde_json::to_vec(value).expect("numbers and names have a JSON form");
    batch.put_cf(database.family(RAFT), name.as_bytes(), bytes);
}
