//! Forgetting history.
//!
//! Compaction is a command that only moves a number: from then on older revisions are refused, on every node alike.
//! Taking the forgotten versions off the disk is each node's own business and happens in small steps afterwards.
//!
//! A version is forgotten when a later version of its key exists up to the compacted revision; a deletion, when it lies
//! before it: the changes of the compacted revision itself stay, so that a watch may begin there. So the changes since the
//! last compaction, in order, name everything there is to delete: each one ends its predecessor. The cost is that of what
//! happened, not of what there is.

use rocksdb::WriteBatch;

use super::{
    Keyspace,
    layout::{self, Change, INDEX, Position, REVISIONS, STATE, state},
    view::View,
};
use crate::StoreError;

impl Keyspace {
    /// Deletes about `at_most` forgotten versions; whether there are more.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn reclaim(&self, at_most: usize) -> Result<bool, StoreError> {
        let _only = self.inner.reclaiming.lock();
        let database = &self.inner.database;
        let compacted = self.compacted_revision();
        let reclaimed = state::read(database, state::RECLAIMED)?.unwrap_or(0);
        if reclaimed >= compacted {
            return Ok(false);
        }
        let view = View::new(database);
        let mut batch = WriteBatch::default();
        let mut visited = 0;
        let mut upto = compacted;
        // Deletions of the last compacted revision were kept until now.
        let mut cursor = view.changes(Position::first(reclaimed));
        while let Some((key, value)) = cursor.item() {
            let position = Position::read(key)?;
            if position.revision > compacted {
                break;
            }
            // Only whole revisions, so that a number says how far it came.
            if visited >= at_most && position.number == 0 {
                upto = position.revision - 1;
                break;
            }
            let change = Change::decode(position.revision, value)?;
            if let Some(before) = view.version(&change.kv.key, position.revision - 1)? {
                forget(self, &mut batch, &change.kv.key, before.position);
            }
            if change.deleted && position.revision < compacted {
                forget(self, &mut batch, &change.kv.key, position);
            }
            // What was kept of the last time is not counted: every step has to come further.
            visited += usize::from(position.revision > reclaimed);
            cursor.next();
        }
        cursor.status().map_err(|error| database.explain(&error))?;
        batch.put_cf(database.family(STATE), state::RECLAIMED, upto.to_be_bytes());
        database.write(batch)?;
        Ok(upto < compacted)
    }
}

fn forget(keyspace: &Keyspace, batch: &mut WriteBatch, key: &[u8], position: Position) {
    let database = &keyspace.inner.database;
    batch.delete_cf(database.family(REVISIONS), position.key());
    batch.delete_cf(database.family(INDEX), layout::version_key(key, position.revision));
}
