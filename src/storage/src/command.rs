//! What the log replicates: commands to the keyspace, and what each came to.
//!
//! A command that cannot be done is refused, not failed: the refusal is part of the deterministic outcome, the same on
//! every node. Only a broken disk makes applying fail.

use std::fmt;

use crate::{KeyRange, Lease, Op, Txn, TxnResponse};

/// The largest transaction that is taken, as in etcd: keys and values together.
pub const MAX_REQUEST_BYTES: usize = 3 << 19;

/// The most steps and comparisons that one transaction may have.
const MAX_STEPS: usize = 4096;

/// The longest life of a lease: a year. Whoever wants more wants no lease.
const MAX_TTL_SECONDS: u64 = 366 * 24 * 3600;

/// A change to the keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Runs a transaction.
    Txn(Txn),
    /// Forgets history up to a revision.
    Compact {
        /// The revision.
        revision: u64,
    },
    /// Grants a lease under the next free number.
    LeaseGrant {
        /// How long it lives.
        ttl_seconds: u64,
    },
    /// Ends a lease and deletes its keys.
    LeaseRevoke {
        /// Its number.
        id: i64,
    },
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, at this revision.
    Done {
        /// The revision of the store after it.
        revision: u64,
    },
    /// The transaction ran.
    Txn(TxnResponse),
    /// The lease was granted.
    Granted(Lease),
    /// It was not done.
    Refused(Refusal),
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// See [`StoreError::Compacted`](crate::StoreError::Compacted).
    Compacted {
        /// What was asked for.
        requested: u64,
        /// Up to where history is forgotten.
        compacted: u64,
    },
    /// See [`StoreError::FutureRevision`](crate::StoreError::FutureRevision).
    FutureRevision {
        /// What was asked for.
        requested: u64,
        /// Where the store is.
        current: u64,
    },
    /// See [`StoreError::TooLarge`](crate::StoreError::TooLarge).
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// See [`StoreError::Invalid`](crate::StoreError::Invalid).
    Invalid(String),
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Txn(txn) => write!(formatter, "transaction of {}+{} steps", txn.success.len(), txn.failure.len()),
            Self::Compact { revision } => write!(formatter, "compaction at {revision}"),
            Self::LeaseGrant { ttl_seconds } => write!(formatter, "grant of a lease for {ttl_seconds} s"),
            Self::LeaseRevoke { id } => write!(formatter, "end of lease {id}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { revision } => write!(formatter, "done at {revision}"),
            Self::Txn(response) => write!(formatter, "transaction at {}", response.revision),
            Self::Granted(lease) => write!(formatter, "lease {}", lease.id),
            Self::Refused(refusal) => write!(formatter, "refused: {}", crate::StoreError::from(refusal.clone())),
        }
    }
}

impl Command {
    /// Checks what can be known of it without the state: the size of a transaction, and that it changes no key twice.
    /// Applying it checks the same; asking before spares the log a command that will be refused.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Txn(txn) => check(txn),
            Self::LeaseGrant { ttl_seconds: 1..=MAX_TTL_SECONDS } => Ok(()),
            Self::LeaseGrant { ttl_seconds } => {
                Err(Refusal::Invalid(format!("a lease lives from 1 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds}")))
            }
            Self::Compact { .. } | Self::LeaseRevoke { .. } => Ok(()),
        }
    }
}

fn check(txn: &Txn) -> Result<(), Refusal> {
    let steps = txn.compare.len() + txn.success.len() + txn.failure.len();
    if steps > MAX_STEPS {
        return Err(Refusal::Invalid(format!("it has {steps} steps, at most {MAX_STEPS} are taken")));
    }
    let mut size = 0;
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put { key, value, .. } => {
                if key.is_empty() {
                    return Err(Refusal::Invalid("a key is empty".to_owned()));
                }
                size += key.len() + value.len();
            }
            Op::DeleteRange { range } => size += span(range),
            Op::Range(request) => size += span(&request.range),
        }
    }
    size += txn.compare.iter().map(|compare| compare.key().len()).sum::<usize>();
    if size > MAX_REQUEST_BYTES {
        return Err(Refusal::TooLarge { size, limit: MAX_REQUEST_BYTES });
    }
    written_once(&txn.success)?;
    written_once(&txn.failure)
}

fn span(range: &KeyRange) -> usize {
    range.start.len() + range.end.as_ref().map_or(0, bytes::Bytes::len)
}

/// One revision holds one change of a key.
fn written_once(ops: &[Op]) -> Result<(), Refusal> {
    let mut keys: Vec<&[u8]> = Vec::new();
    let mut ranges = Vec::new();
    for op in ops {
        match op {
            Op::Put { key, .. } => keys.push(key),
            Op::DeleteRange { range } => ranges.push(range),
            Op::Range(_) => {}
        }
    }
    keys.sort_unstable();
    let twice = keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    let deleted = || keys.iter().find(|key| ranges.iter().any(|range| range.contains(key))).copied();
    match twice.or_else(deleted) {
        None => Ok(()),
        Some(key) => Err(Refusal::Invalid(format!("key {:?} is changed twice", String::from_utf8_lossy(key)))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(key: &'static str, size: usize) -> Op {
        Op::Put { key: key.into(), value: Bytes::from(vec![0; size]), lease: 0 }
    }

    fn of(success: Vec<Op>) -> Txn {
        Txn { success, ..Txn::default() }
    }

    #[test]
    fn a_transaction_may_not_change_a_key_twice() {
        assert!(check(&of(vec![put("a", 1), put("b", 1)])).is_ok());
        assert!(matches!(check(&of(vec![put("a", 1), put("a", 1)])), Err(Refusal::Invalid(_))));
        let delete = Op::DeleteRange { range: KeyRange::prefix("a") };
        assert!(matches!(check(&of(vec![put("ab", 1), delete])), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn a_transaction_that_is_too_large_is_refused_with_its_size() {
        let refusal = check(&of(vec![put("a", MAX_REQUEST_BYTES)])).unwrap_err();
        assert_eq!(refusal, Refusal::TooLarge { size: MAX_REQUEST_BYTES + 1, limit: MAX_REQUEST_BYTES });
        assert!(check(&of(vec![put("a", MAX_REQUEST_BYTES - 1)])).is_ok());
    }
}
