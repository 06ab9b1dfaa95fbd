//! What can go wrong in the store.

use crate::{CodecError, Refusal};

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The revision is forgotten.
    #[error("revision {requested} has been compacted, history begins after {compacted}")]
    Compacted {
        /// What was asked for.
        requested: u64,
        /// Up to where history is forgotten.
        compacted: u64,
    },
    /// The revision has not happened yet.
    #[error("revision {requested} is in the future, the store is at {current}")]
    FutureRevision {
        /// What was asked for.
        requested: u64,
        /// Where the store is.
        current: u64,
    },
    /// The store cannot answer now; trying again may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The change was sent on its way and it is not known whether it happened: only reading tells. Trying again blindly
    /// may do it twice.
    #[error("the outcome is unknown: {0}")]
    UnknownOutcome(String),
    /// The request is larger than the store takes.
    #[error("the request has {size} bytes, the store takes at most {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The request contradicts itself or names something that is not there.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// One revision holds one change of a key.
    #[error("the request is not valid: key {0:?} is changed twice")]
    DuplicateKey(String),
    /// There is no such lease.
    #[error("there is no lease {0}")]
    LeaseNotFound(i64),
    /// There is such a lease already.
    #[error("there is a lease {0} already")]
    LeaseExists(i64),
    /// Only a key that exists can be updated.
    #[error("there is no key {0:?}")]
    KeyNotFound(String),
    /// What is on disk is not what was written.
    #[error("{file} is corrupt: {message}")]
    Corrupt {
        /// The file, or the record and the directory that holds it.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The disk failed.
    #[error("the store's disk failed: {0}")]
    Io(String),
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Corrupt { file: "the database".to_owned(), message },
            _ => Self::Io(message),
        }
    }
}

impl From<CodecError> for StoreError {
    fn from(error: CodecError) -> Self {
        Self::Corrupt { file: "a record of the database".to_owned(), message: error.to_string() }
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Compacted { requested, compacted } => Self::Compacted { requested, compacted },
            Refusal::FutureRevision { requested, current } => Self::FutureRevision { requested, current },
            Refusal::TooLarge { size, limit } => Self::TooLarge { size, limit },
            Refusal::Invalid(message) => Self::Invalid(message),
            Refusal::DuplicateKey(key) => Self::DuplicateKey(key),
            Refusal::LeaseNotFound(id) => Self::LeaseNotFound(id),
            Refusal::LeaseExists(id) => Self::LeaseExists(id),
            Refusal::KeyNotFound(key) => Self::KeyNotFound(key),
        }
    }
}
