//! What the log replicates: commands to the keyspace, and what each came to.
//!
//! A command that cannot be done is refused, not failed: the refusal is part of the deterministic outcome, the same on
//! every node. Only a broken disk makes applying fail.

use std::{collections::BTreeSet, fmt};

use crate::{Compare, KeyRange, Lease, Op, Txn, TxnResponse};

/// The largest transaction that is taken, as in etcd: keys and values together.
pub const MAX_REQUEST_BYTES: usize = 3 << 19;

/// The most steps and comparisons that one transaction may have.
const MAX_STEPS: usize = 4096;

/// How deep transactions may lie in one another.
pub(crate) const MAX_DEPTH: usize = 16;

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
    /// Grants a lease.
    LeaseGrant {
        /// Its number; 0 is the next free one.
        id: i64,
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
    /// See [`StoreError::DuplicateKey`](crate::StoreError::DuplicateKey).
    DuplicateKey(String),
    /// See [`StoreError::LeaseNotFound`](crate::StoreError::LeaseNotFound).
    LeaseNotFound(i64),
    /// See [`StoreError::LeaseExists`](crate::StoreError::LeaseExists).
    LeaseExists(i64),
    /// See [`StoreError::KeyNotFound`](crate::StoreError::KeyNotFound).
    KeyNotFound(String),
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Txn(txn) => write!(formatter, "transaction of {}+{} steps", txn.success.len(), txn.failure.len()),
            Self::Compact { revision } => write!(formatter, "compaction at {revision}"),
            Self::LeaseGrant { ttl_seconds, .. } => write!(formatter, "grant of a lease for {ttl_seconds} s"),
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
            Self::LeaseGrant { id, .. } if *id < 0 => {
                Err(Refusal::Invalid(format!("a lease's number is positive, not {id}")))
            }
            Self::LeaseGrant { ttl_seconds: 1..=MAX_TTL_SECONDS, .. } => Ok(()),
            Self::LeaseGrant { ttl_seconds, .. } => {
                Err(Refusal::Invalid(format!("a lease lives from 1 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds}")))
            }
            Self::Compact { .. } | Self::LeaseRevoke { .. } => Ok(()),
        }
    }
}

fn check(txn: &Txn) -> Result<(), Refusal> {
    let mut load = Load::default();
    load.add(txn, 0)?;
    if load.steps > MAX_STEPS {
        return Err(Refusal::Invalid(format!("it has {} steps, at most {MAX_STEPS} are taken", load.steps)));
    }
    if load.bytes > MAX_REQUEST_BYTES {
        return Err(Refusal::TooLarge { size: load.bytes, limit: MAX_REQUEST_BYTES });
    }
    Written::by(&txn.success)?;
    Written::by(&txn.failure)?;
    Ok(())
}

/// How much a transaction is, with those within it.
#[derive(Default)]
struct Load {
    steps: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, txn: &Txn, depth: usize) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            return Err(Refusal::Invalid(format!("its transactions lie in one another more than {MAX_DEPTH} deep")));
        }
        self.steps += txn.compare.len() + txn.success.len() + txn.failure.len();
        self.bytes += txn.compare.iter().map(weight).sum::<usize>();
        for op in txn.success.iter().chain(&txn.failure) {
            if let Op::Put { key, .. } | Op::Update { key, .. } = op
                && key.is_empty()
            {
                return Err(Refusal::Invalid("a key is empty".to_owned()));
            }
            let bytes = match op {
                Op::Put { key, value, .. } => key.len() + value.len(),
                Op::Update { key, value, .. } => key.len() + value.as_ref().map_or(0, bytes::Bytes::len),
                Op::DeleteRange { range } => span(range),
                Op::Range(request) => span(&request.range),
                Op::Txn(inner) => {
                    self.add(inner, depth + 1)?;
                    0
                }
            };
            self.bytes += bytes;
        }
        Ok(())
    }
}

fn weight(compare: &Compare) -> usize {
    let value = match compare {
        Compare::Value { value, .. } => value.len(),
        Compare::Range { end, each } => end.len() + weight(each) - each.key().len(),
        _ => 0,
    };
    compare.key().len() + value
}

fn span(range: &KeyRange) -> usize {
    range.start.len() + range.end.as_ref().map_or(0, bytes::Bytes::len)
}

/// What a list of steps may write. One revision holds one change of a key, whichever branches are taken.
struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    deleted: Vec<&'a KeyRange>,
}

impl<'a> Written<'a> {
    fn by(ops: &'a [Op]) -> Result<Self, Refusal> {
        let deletion = |op: &'a Op| if let Op::DeleteRange { range } = op { Some(range) } else { None };
        let mut all = Self { puts: BTreeSet::new(), deleted: ops.iter().filter_map(deletion).collect() };
        for op in ops {
            if let Op::Put { key, .. } | Op::Update { key, .. } = op {
                all.add(key)?;
            }
        }
        for op in ops {
            if let Op::Txn(inner) = op {
                all.add_one_of(&Self::by(&inner.success)?, &Self::by(&inner.failure)?)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        if !self.puts.insert(key) || self.deleted.iter().any(|range| range.contains(key)) {
            return Err(Refusal::DuplicateKey(String::from_utf8_lossy(key).into_owned()));
        }
        Ok(())
    }

    /// Takes on what a transaction within writes: as only one of its branches is taken, both may write the same.
    fn add_one_of(&mut self, success: &Self, failure: &Self) -> Result<(), Refusal> {
        let deleted = success.deleted.iter().chain(&failure.deleted);
        if let Some(key) = self.puts.iter().find(|key| deleted.clone().any(|range| range.contains(key))) {
            return Err(Refusal::DuplicateKey(String::from_utf8_lossy(key).into_owned()));
        }
        for key in &success.puts | &failure.puts {
            self.add(key)?;
        }
        self.deleted.extend(deleted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(key: &'static str, size: usize) -> Op {
        Op::Put { key: key.into(), value: Bytes::from(vec![0; size]), lease: 0 }
    }

    fn delete_of(key: &'static str) -> Op {
        Op::DeleteRange { range: KeyRange::key(key) }
    }

    fn of(success: Vec<Op>) -> Txn {
        Txn { success, ..Txn::default() }
    }

    #[test]
    fn a_transaction_may_not_change_a_key_twice() {
        assert!(check(&of(vec![put("a", 1), put("b", 1)])).is_ok());
        let refused = |ops| matches!(check(&of(ops)), Err(Refusal::DuplicateKey(_)));
        assert!(refused(vec![put("a", 1), put("a", 1)]));
        let delete = || Op::DeleteRange { range: KeyRange::prefix("a") };
        assert!(refused(vec![put("ab", 1), delete()]));
        assert!(refused(vec![put("a", 1), Op::Update { key: "a".into(), value: None, lease: Some(0) }]));
        let within = |success, failure| Op::Txn(Txn { compare: vec![], success, failure });
        assert!(!refused(vec![within(vec![put("a", 1)], vec![put("a", 1)]), put("b", 1)]));
        assert!(!refused(vec![within(vec![put("a", 1)], vec![delete()]), delete_of("c")]));
        assert!(refused(vec![within(vec![put("a", 1)], vec![]), put("a", 1)]));
        assert!(refused(vec![within(vec![], vec![put("a", 1)]), delete()]));
        assert!(refused(vec![within(vec![put("a", 1)], vec![]), within(vec![], vec![delete()])]));
    }

    #[test]
    fn transactions_lie_in_one_another_only_so_deep() {
        let deep = |depth: usize| (0..depth).fold(of(vec![put("a", 1)]), |inner, _| of(vec![Op::Txn(inner)]));
        assert!(check(&deep(MAX_DEPTH)).is_ok());
        assert!(matches!(check(&deep(MAX_DEPTH + 1)), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn a_transaction_that_is_too_large_is_refused_with_its_size() {
        let refusal = check(&of(vec![put("a", MAX_REQUEST_BYTES)])).unwrap_err();
        assert_eq!(refusal, Refusal::TooLarge { size: MAX_REQUEST_BYTES + 1, limit: MAX_REQUEST_BYTES });
        assert!(check(&of(vec![put("a", MAX_REQUEST_BYTES - 1)])).is_ok());
    }
}
