//! One write: an object and what belongs to it (addresses, ports), in one transaction.

use bytes::Bytes;
use storage::{Compare, CompareOp, KeyRange, Op, SharedStore, StoreError, Txn};

/// What is to be true and what is to be done.
#[derive(Debug, Default)]
pub struct Mutation {
    compare: Vec<Compare>,
    ops: Vec<Op>,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable, at this revision.
    Done(u64),
    /// What was to be true was not.
    Refused,
}

impl Mutation {
    /// Whether nothing is required or done.
    pub fn is_empty(&self) -> bool {
        self.compare.is_empty() && self.ops.is_empty()
    }

    /// Requires that nothing lies under `key`.
    pub fn absent(&mut self, key: Bytes) -> &mut Self {
        self.compare.push(Compare::ModRevision { key, op: CompareOp::Equal, value: 0 });
        self
    }

    /// Requires that `key` was last written at `revision`.
    pub fn unchanged(&mut self, key: Bytes, revision: u64) -> &mut Self {
        self.compare.push(Compare::ModRevision { key, op: CompareOp::Equal, value: revision });
        self
    }

    /// Writes `value` under `key`.
    pub fn put(&mut self, key: Bytes, value: Bytes) -> &mut Self {
        self.ops.push(Op::Put { key, value, lease: 0 });
        self
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: Bytes) -> &mut Self {
        self.ops.push(Op::DeleteRange { range: KeyRange::key(key) });
        self
    }

    /// Takes over what another mutation requires and does.
    pub fn and(&mut self, other: Mutation) -> &mut Self {
        self.compare.extend(other.compare);
        self.ops.extend(other.ops);
        self
    }

    /// Does it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn commit(self, store: &SharedStore) -> Result<Outcome, StoreError> {
        let answer = store.txn(Txn { compare: self.compare, success: self.ops, failure: Vec::new() }).await?;
        Ok(if answer.succeeded { Outcome::Done(answer.revision) } else { Outcome::Refused })
    }
}
