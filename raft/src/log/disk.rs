//! The log as it lies on the disk.

use std::ops::Range;

use rocksdb::ReadOptions;
use storage::{Database, StoreError};

use crate::{
    entry,
    types::{Entry, LogId},
};

/// The column family of the entries.
pub(crate) const LOG: &str = "raft-log";

/// Where an entry lies.
pub(super) fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// What the log on the disk holds.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: LogId,
}

/// Reads all entries from the first to the last: none may be damaged or missing.
pub(super) fn verify(database: &Database, purged: Option<&LogId>) -> Result<Option<Span>, StoreError> {
    let expected = purged.map_or(0, |purged| purged.index + 1);
    let mut span: Option<Span> = None;
    scan(database, expected..u64::MAX, |entry| match &mut span {
        Some(span) => span.last = entry.log_id,
        None => span = Some(Span { first: entry.log_id.index, last: entry.log_id }),
    })?;
    Ok(span)
}

/// The entries of `range`, all of which have to be there.
pub(super) fn read(database: &Database, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    let end = range.end;
    let next = scan(database, range, |entry| entries.push(entry))?;
    if next < end { Err(missing(database, next)) } else { Ok(entries) }
}

/// Calls `visit` with the entries of `range` as far as there are any, and returns the index behind the last. A hole
/// before an entry is an error.
fn scan(database: &Database, range: Range<u64>, mut visit: impl FnMut(Entry)) -> Result<u64, StoreError> {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(key(range.end));
    let mut cursor = database.raw().raw_iterator_cf_opt(database.family(LOG), options);
    cursor.seek(key(range.start));
    let mut next = range.start;
    while let Some((key, value)) = cursor.item() {
        let index = <[u8; 8]>::try_from(key).map(u64::from_be_bytes).map_err(|_| {
            corrupt(database, next, &format!("an entry lies under the key {key:02x?}, which is no index"))
        })?;
        if index != next {
            return Err(missing(database, next));
        }
        visit(entry::decode(index, value).map_err(|error| corrupt(database, index, &error))?);
        next = index + 1;
        cursor.next();
    }
    cursor.status().map_err(|error| database.explain(&error))?;
    Ok(next)
}

fn missing(database: &Database, index: u64) -> StoreError {
    corrupt(database, index, &"it is missing")
}

fn corrupt(database: &Database, index: u64, why: &dyn std::fmt::Display) -> StoreError {
    let file = format!("entry {index} of the Raft log in {}", database.path().display());
    StoreError::Corrupt { file, message: why.to_string() }
}
