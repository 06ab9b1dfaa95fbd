//! A fixed view of the database, and reads in it.

use bytes::Bytes;
use rocksdb::{DB, DBRawIteratorWithThreadMode, ReadOptions, SnapshotWithThreadMode};

use super::{
    layout::{self, Change, INDEX, Position, REVISIONS, Version},
    leases::GRANTED,
};
use crate::{Database, KeyRange, KeyValue, RangeRequest, RangeResponse, StoreError};

/// How many versions of a key are stepped over before the next key is sought.
const STEPS_BEFORE_SEEK: usize = 8;

/// The database as it was when the view was taken.
pub(super) struct View<'a> {
    database: &'a Database,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl<'a> View<'a> {
    pub(super) fn new(database: &'a Database) -> Self {
        Self { database, snapshot: database.raw().snapshot() }
    }

    /// The version of `key` that is visible at `revision`.
    pub(super) fn get(&self, key: &[u8], revision: u64) -> Result<Option<KeyValue>, StoreError> {
        match self.version(key, revision)? {
            Some(version) if !version.deleted => self.value(version.position).map(|change| Some(change.kv)),
            _ => Ok(None),
        }
    }

    /// The newest version of `key` up to `revision`, deletions included.
    pub(super) fn version(&self, key: &[u8], revision: u64) -> Result<Option<Version>, StoreError> {
        let mut cursor = self.index(layout::version_key(key, revision), Some(layout::versions_end(key)));
        self.current(&mut cursor).map(|found| found.map(|(_, version)| version))
    }

    /// The change at `position`.
    pub(super) fn value(&self, position: Position) -> Result<Change, StoreError> {
        let family = self.database.family(REVISIONS);
        let found = self
            .snapshot
            .get_pinned_cf(family, position.key())
            .map_err(|error| self.database.explain(&error))?
            .ok_or_else(|| StoreError::Corrupt {
                file: self.database.path().display().to_string(),
                message: format!("revision {}.{} is in the index but not there", position.revision, position.number),
            })?;
        Ok(Change::decode(position.revision, &found)?)
    }

    /// Reads a range at `revision`.
    pub(super) fn range(&self, request: &RangeRequest, revision: u64) -> Result<RangeResponse, StoreError> {
        let mut kvs = Vec::new();
        let mut count = 0;
        self.visit(&request.range, revision, |key, version| {
            count += 1;
            let wanted = !request.count_only && (request.limit == 0 || kvs.len() < request.limit);
            if wanted {
                kvs.push(if request.keys_only {
                    version.key_value(layout::unescape(key))
                } else {
                    self.value(version.position)?.kv
                });
            }
            Ok(())
        })?;
        let more = !request.count_only && count > kvs.len() as u64;
        Ok(RangeResponse { revision, kvs, more, count })
    }

    /// Calls `visit` with each (marked) key of a range that exists at `revision`, in order.
    pub(super) fn visit(
        &self,
        range: &KeyRange,
        revision: u64,
        mut visit: impl FnMut(&[u8], Version) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (from, to) = bounds(range);
        let mut cursor = self.index(from, to);
        let mut done: Vec<u8> = Vec::new();
        let mut steps = 0;
        while let Some((index_key, value)) = cursor.item() {
            let (key, at) = layout::split_version_key(index_key)?;
            if at > revision {
                // Too new: its older versions come next.
                cursor.next();
                continue;
            }
            if key == done {
                steps += 1;
                if steps < STEPS_BEFORE_SEEK {
                    cursor.next();
                } else {
                    // Behind the oldest possible version of this key.
                    let mut behind = done.clone();
                    behind.extend_from_slice(&[0xff; 9]);
                    cursor.seek(behind);
                    steps = 0;
                }
                continue;
            }
            let version = Version::decode(at, value)?;
            if !version.deleted {
                visit(key, version)?;
            }
            done.clear();
            done.extend_from_slice(key);
            steps = 0;
            cursor.next();
        }
        cursor.status().map_err(|error| self.database.explain(&error))
    }

    /// A cursor over `index` that stands at `from`.
    fn index(&self, from: Vec<u8>, to: Option<Vec<u8>>) -> DBRawIteratorWithThreadMode<'_, DB> {
        self.cursor(INDEX, from, to)
    }

    /// A cursor over `revisions` that stands at `from`.
    pub(super) fn changes(&self, from: Position) -> DBRawIteratorWithThreadMode<'_, DB> {
        self.cursor(REVISIONS, from.key().to_vec(), None)
    }

    /// A cursor over the leases.
    pub(super) fn leases(&self) -> DBRawIteratorWithThreadMode<'_, DB> {
        self.cursor(layout::LEASES, vec![GRANTED], Some(vec![GRANTED + 1]))
    }

    fn cursor(&self, family: &str, from: Vec<u8>, to: Option<Vec<u8>>) -> DBRawIteratorWithThreadMode<'_, DB> {
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let mut cursor = self.snapshot.raw_iterator_cf_opt(self.database.family(family), options);
        cursor.seek(from);
        cursor
    }

    /// The version that a cursor over `index` stands at, with its (marked) key.
    fn current(
        &self,
        cursor: &mut DBRawIteratorWithThreadMode<'_, DB>,
    ) -> Result<Option<(Bytes, Version)>, StoreError> {
        match cursor.item() {
            Some((index_key, value)) => {
                let (key, at) = layout::split_version_key(index_key)?;
                Ok(Some((Bytes::copy_from_slice(key), Version::decode(at, value)?)))
            }
            None => {
                cursor.status().map_err(|error| self.database.explain(&error))?;
                Ok(None)
            }
        }
    }

    /// The database it is a view of.
    pub(super) fn database(&self) -> &'a Database {
        self.database
    }
}

/// Where a range lies in `index`.
fn bounds(range: &KeyRange) -> (Vec<u8>, Option<Vec<u8>>) {
    match &range.end {
        None => (layout::versions_begin(&range.start), Some(layout::versions_end(&range.start))),
        Some(_) if range.is_unbounded() => (layout::escaped(&range.start), None),
        Some(end) => (layout::escaped(&range.start), Some(layout::escaped(end))),
    }
}
