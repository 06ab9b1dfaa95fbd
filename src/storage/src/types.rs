//! The words of the store: keys, transactions, ranges, events.

use std::sync::Arc;

use bytes::Bytes;

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value; empty where only keys were asked for, and of a deletion.
    pub value: Bytes,
    /// The revision that created the key.
    pub create_revision: u64,
    /// The revision of this version.
    pub mod_revision: u64,
    /// How many times the key was written since it was created; 0 of a deletion.
    pub version: u64,
    /// The lease that the key lives by; 0 is none.
    pub lease: i64,
}

/// A range of keys: one key, or all from `start` up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The key after the last one. `None` is `start` alone; [`KeyRange::UNBOUNDED`] is no upper bound, as in etcd.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// The `end` that bounds nothing.
    pub const UNBOUNDED: &'static [u8] = b"\0";

    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: None }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.last_mut() {
            if *last < u8::MAX {
                *last += 1;
                return Self { start, end: Some(end.into()) };
            }
            end.pop();
        }
        Self { start, end: Some(Bytes::from_static(Self::UNBOUNDED)) }
    }

    /// All keys.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: Some(Bytes::from_static(Self::UNBOUNDED)) }
    }

    /// The upper bound, if there is one; of a single key it is the key itself with a zero byte.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.end.as_deref() == Some(Self::UNBOUNDED)
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => key == self.start,
            Some(_) if self.is_unbounded() => key >= &self.start[..],
            Some(end) => key >= &self.start[..] && key < &end[..],
        }
    }
}

/// How a [`Compare`] compares the stored value with the given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// They are the same.
    Equal,
    /// They differ.
    NotEqual,
    /// The stored one is greater.
    Greater,
    /// The stored one is less.
    Less,
}

impl CompareOp {
    pub(crate) fn holds<T: Ord + ?Sized>(self, stored: &T, given: &T) -> bool {
        match self {
            Self::Equal => stored == given,
            Self::NotEqual => stored != given,
            Self::Greater => stored > given,
            Self::Less => stored < given,
        }
    }
}

/// A condition of a transaction. A key that does not exist has zeros for numbers and fails every comparison of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// On the revision that changed the key last.
    ModRevision {
        /// The key.
        key: Bytes,
        /// The relation.
        op: CompareOp,
        /// The right-hand side.
        value: u64,
    },
    /// On the revision that created the key.
    CreateRevision {
        /// The key.
        key: Bytes,
        /// The relation.
        op: CompareOp,
        /// The right-hand side.
        value: u64,
    },
    /// On the number of changes since the key was created.
    Version {
        /// The key.
        key: Bytes,
        /// The relation.
        op: CompareOp,
        /// The right-hand side.
        value: u64,
    },
    /// On the value.
    Value {
        /// The key.
        key: Bytes,
        /// The relation.
        op: CompareOp,
        /// The right-hand side.
        value: Bytes,
    },
    /// On the lease that the key lives by.
    Lease {
        /// The key.
        key: Bytes,
        /// The relation.
        op: CompareOp,
        /// The right-hand side.
        value: i64,
    },
    /// On every key of a range; of an empty one it holds if it holds of an absent key.
    Range {
        /// The key after the last one, as in [`KeyRange`].
        end: Bytes,
        /// The comparison, with the first key; never itself one of a range.
        each: Box<Compare>,
    },
}

impl Compare {
    /// The key it looks at, of a range the first one.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::ModRevision { key, .. }
            | Self::CreateRevision { key, .. }
            | Self::Version { key, .. }
            | Self::Value { key, .. }
            | Self::Lease { key, .. } => key,
            Self::Range { each, .. } => each.key(),
        }
    }

    /// The range it looks at, if it is not a single key.
    pub(crate) fn range(&self) -> Option<KeyRange> {
        match self {
            Self::Range { end, each } => Some(KeyRange { start: each.key().clone(), end: Some(end.clone()) }),
            _ => None,
        }
    }

    /// Whether it holds of all that its range holds.
    pub(crate) fn holds_of_all(&self, present: &[KeyValue]) -> bool {
        if present.is_empty() { self.holds(None) } else { present.iter().all(|kv| self.holds(Some(kv))) }
    }

    /// Whether it holds of the present version of its key.
    pub(crate) fn holds(&self, present: Option<&KeyValue>) -> bool {
        let number = |of: fn(&KeyValue) -> u64| present.map_or(0, of);
        match self {
            Self::Lease { op, value, .. } => op.holds(&present.map_or(0, |kv| kv.lease), value),
            Self::Range { each, .. } => each.holds(present),
            Self::ModRevision { op, value, .. } => op.holds(&number(|kv| kv.mod_revision), value),
            Self::CreateRevision { op, value, .. } => op.holds(&number(|kv| kv.create_revision), value),
            Self::Version { op, value, .. } => op.holds(&number(|kv| kv.version), value),
            Self::Value { op, value, .. } => present.is_some_and(|kv| op.holds(&kv.value[..], &value[..])),
        }
    }
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease it lives by; 0 is none.
        lease: i64,
    },
    /// Deletes all keys of a range.
    DeleteRange {
        /// The range.
        range: KeyRange,
    },
    /// Reads a range, as the steps before it left it.
    Range(RangeRequest),
    /// Changes only the value or only the lease of a key that exists. Refused when it does not.
    Update {
        /// The key.
        key: Bytes,
        /// Its new value; `None` keeps the one it has.
        value: Option<Bytes>,
        /// The lease it lives by, 0 is none; `None` keeps the one it has.
        lease: Option<i64>,
    },
    /// A transaction within this one. What its conditions are compared with is, as in etcd, the state before the
    /// outermost one.
    Txn(Txn),
}

/// A transaction: if all comparisons hold the one list of steps, else the other; all of it at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// The steps when all conditions hold.
    pub success: Vec<Op>,
    /// The steps when one does not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// Whether neither branch can change anything.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(_) => true,
            Op::Txn(inner) => inner.is_read_only(),
            Op::Put { .. } | Op::Update { .. } | Op::DeleteRange { .. } => false,
        })
    }

    /// The steps that are taken.
    pub(crate) fn branch(&self, succeeded: bool) -> &[Op] {
        if succeeded { &self.success } else { &self.failure }
    }
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether the conditions held.
    pub succeeded: bool,
    /// The revision of the store after it.
    pub revision: u64,
    /// One answer for each step.
    pub responses: Vec<OpResponse>,
}

impl TxnResponse {
    /// Says at which revision it, and what is within it, came to its end.
    pub(crate) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
        for response in &mut self.responses {
            if let OpResponse::Txn(inner) = response {
                inner.set_revision(revision);
            }
        }
    }
}

/// What one step of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResponse {
    /// The key was written.
    Put {
        /// The version before.
        prev_kv: Option<KeyValue>,
    },
    /// The keys were deleted.
    DeleteRange {
        /// The versions before, in the order of keys.
        prev_kvs: Vec<KeyValue>,
    },
    /// The answer to a read.
    Range(RangeResponse),
    /// What the transaction within did; its revision is that of the outermost one.
    Txn(TxnResponse),
}

/// A read of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// As of which revision; `None` is the present.
    pub revision: Option<u64>,
    /// At most this many keys; 0 is all.
    pub limit: usize,
    /// Without values.
    pub keys_only: bool,
    /// Only the number of keys.
    pub count_only: bool,
}

impl RangeRequest {
    /// All of `range` with values, at the present revision.
    pub fn new(range: KeyRange) -> Self {
        Self { range, revision: None, limit: 0, keys_only: false, count_only: false }
    }
}

/// The answer to a [`RangeRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeResponse {
    /// The revision that the answer shows.
    pub revision: u64,
    /// The keys, in order.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many keys the range has, whatever the limit.
    pub count: u64,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or changed.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The version it made. Of a deletion: key and `mod_revision`.
    pub kv: KeyValue,
    /// The version before, if there was one and its revision is not forgotten.
    pub prev_kv: Option<KeyValue>,
}

/// All changes of one revision that a watch asked for. Without events it is a progress notice: the watch has seen
/// everything up to `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: u64,
    /// Its events, in the order of the transaction's steps.
    pub events: Arc<[Event]>,
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub range: KeyRange,
    /// The first revision of interest; `None` or 0 is the next one.
    pub start_revision: Option<u64>,
}

/// A lease: keys written under it go when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its number, never 0. The store never chooses one twice.
    pub id: i64,
    /// How long it was granted for. The keyspace only records it; the leader measures the time.
    pub ttl_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_exactly_the_keys_that_begin_with_it() {
        let range = KeyRange::prefix("/pods/");
        assert!(range.contains(b"/pods/"));
        assert!(range.contains(b"/pods/\xff\xff"));
        assert!(!range.contains(b"/pods"));
        assert!(!range.contains(b"/pods0"));
        let last = KeyRange::prefix(&b"a\xff"[..]);
        assert!(last.contains(b"a\xff\xff"));
        assert!(!last.contains(b"b"));
        assert!(KeyRange::prefix(&b"\xff"[..]).contains(b"\xff\xff\xff"));
        assert!(KeyRange::prefix("").contains(b"anything"));
    }

    #[test]
    fn an_absent_key_compares_as_zero_and_never_by_value() {
        let absent = Compare::ModRevision { key: "a".into(), op: CompareOp::Equal, value: 0 };
        assert!(absent.holds(None));
        let value = Compare::Value { key: "a".into(), op: CompareOp::NotEqual, value: "x".into() };
        assert!(!value.holds(None));
    }
}
