//! Everything that a keyspace holds at one moment, change by change; what its files take.

use std::fs;

use super::{
    COLUMN_FAMILIES, Keyspace,
    layout::{Change, Position},
    leases,
    view::View,
};
use crate::{KeyValue, Lease, StoreError};

/// A keyspace as it was at one moment: whatever is written meanwhile is not in it.
pub struct Dump<'a> {
    view: View<'a>,
    /// The revision that it shows.
    pub revision: u64,
    /// Up to where history is forgotten.
    pub compacted: u64,
}

/// One change of a [`Dump`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which change of its revision it is, from 0.
    pub number: u32,
    /// Whether it is a deletion: then the key and its `mod_revision` say all.
    pub deleted: bool,
    /// The version it made.
    pub kv: KeyValue,
}

/// What a store takes on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes of all its files.
    pub files: u64,
    /// About how many bytes of them are needed, as RocksDB estimates it.
    pub needed: u64,
}

impl Keyspace {
    /// Takes hold of everything as it is now.
    pub fn dump(&self) -> Dump<'_> {
        loop {
            let revision = self.revision();
            let view = View::new(&self.inner.database);
            // As for any read: what is forgotten by now may be missing in the view.
            let compacted = self.compacted_revision();
            if revision >= compacted {
                return Dump { view, revision, compacted };
            }
        }
    }

    /// What the store takes on its disk, the log included.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn size(&self) -> Result<Size, StoreError> {
        let database = &self.inner.database;
        let failed = |error: std::io::Error| StoreError::Io(format!("{}: {error}", database.path().display()));
        let mut files = 0;
        for file in fs::read_dir(database.path()).map_err(failed)? {
            // RocksDB may just have deleted it.
            files += file.map_err(failed)?.metadata().map_or(0, |data| data.len());
        }
        let mut needed = 0;
        for name in COLUMN_FAMILIES {
            for property in ["rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables"] {
                let value = database.raw().property_int_value_cf(database.family(name), property);
                needed += value.map_err(|error| database.explain(&error))?.unwrap_or(0);
            }
        }
        Ok(Size { files, needed })
    }

    /// Rewrites the keyspace's files without what is deleted: the space is given back at once, and not in due time. Reads
    /// and writes go on meanwhile.
    pub fn defragment(&self) {
        let database = &self.inner.database;
        for name in COLUMN_FAMILIES {
            database.raw().compact_range_cf(database.family(name), None::<&[u8]>, None::<&[u8]>);
        }
    }
}

impl Dump<'_> {
    /// Calls `visit` with the changes up to the revision `until`, in their order. Of those up to where history is forgotten
    /// only the versions that are visible at `visible_at`: the others may or may not be on the disk yet.
    ///
    /// # Errors
    /// When the disk fails, or `visit` does.
    pub fn changes<E: From<StoreError>>(
        &self,
        until: u64,
        visible_at: u64,
        mut visit: impl FnMut(Recorded) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = self.view.changes(Position::first(0));
        while let Some((key, value)) = cursor.item() {
            let position = Position::read(key).map_err(StoreError::from)?;
            if position.revision > until {
                break;
            }
            let change = Change::decode(position.revision, value).map_err(StoreError::from)?;
            let visible = || {
                let newest = self.view.version(&change.kv.key, visible_at)?;
                Ok::<_, StoreError>(!change.deleted && newest.is_some_and(|newest| newest.position == position))
            };
            if position.revision > self.compacted || visible()? {
                visit(Recorded { number: position.number, deleted: change.deleted, kv: change.kv })?;
            }
            cursor.next();
        }
        Ok(cursor.status().map_err(|error| self.view.database().explain(&error))?)
    }

    /// All leases, by their number.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let mut found = Vec::new();
        let mut cursor = self.view.leases();
        while let Some((_, value)) = cursor.item() {
            found.push(leases::decode(value)?);
            cursor.next();
        }
        cursor.status().map_err(|error| self.view.database().explain(&error))?;
        Ok(found)
    }
}
