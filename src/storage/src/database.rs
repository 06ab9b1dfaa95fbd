//! RocksDB, tuned for a small machine, with errors that name the file.
//!
//! One database holds the keyspace and the Raft log in column families, so that one write-ahead log orders everything:
//! whatever survives a crash is a prefix of what was written. A torn tail of that log is what `kill -9` or a power cut
//! leaves and is dropped (nothing in it was acknowledged); damage anywhere else refuses to open, also where RocksDB alone
//! would take it for such a tail, see [`tail`].

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, LogLevel,
    Options, WriteBatch, WriteOptions,
};

use crate::{StoreError, tail};

/// Memory for blocks read from disk, of all column families together. Little is read: the API server keeps the present.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// One memtable of one column family.
const WRITE_BUFFER_BYTES: usize = 4 << 20;
/// All memtables together.
const ALL_WRITE_BUFFERS_BYTES: usize = 12 << 20;
/// How large the write-ahead log grows before what holds it back is flushed: a start has to read it.
const WAL_BYTES: u64 = 24 << 20;

/// An open database.
#[derive(Clone)]
pub struct Database {
    db: Arc<DB>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Database").field(&self.db.path()).finish()
    }
}

/// Opens the database at `path` with the keyspace's column families and `more`, and makes it when it is not there.
///
/// # Errors
/// When the disk refuses, or what is there is damaged; then the error names the file.
pub fn open_database(path: &Path, more: &[&str]) -> Result<Database, StoreError> {
    tail::verify(path)?;
    let families = crate::keyspace::COLUMN_FAMILIES.iter().chain(more);
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let descriptors = families.map(|name| ColumnFamilyDescriptor::new(*name, family_options(&cache)));
    let db = DB::open_cf_descriptors(&database_options(), path, descriptors).map_err(|error| explain(path, &error))?;
    Ok(Database { db: Arc::new(db) })
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_db_write_buffer_size(ALL_WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_skip_stats_update_on_db_open(true);
    // An idle store writes and wakes for nothing.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

impl Database {
    /// The handle itself.
    pub fn raw(&self) -> &Arc<DB> {
        &self.db
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.db.path()
    }

    /// A column family that it was opened with.
    pub fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every column family in use is named when the database is opened")
    }

    /// Reads one key.
    ///
    /// # Errors
    /// When the disk fails or is damaged.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family), key).map_err(|error| self.explain(&error))
    }

    /// Writes a batch, all of it or nothing. It survives a crash of the process, but not one of the machine before the
    /// next [`Database::sync`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.db.write(batch).map_err(|error| self.explain(&error))
    }

    /// Writes a batch and everything before it durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_synced(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| self.explain(&error))
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|error| self.explain(&error))
    }

    /// The error in words that name the damaged file.
    pub fn explain(&self, error: &rocksdb::Error) -> StoreError {
        explain(self.db.path(), error)
    }
}

/// RocksDB names the file in the message for most damage; for a damaged write-ahead log only in its own log.
fn explain(path: &Path, error: &rocksdb::Error) -> StoreError {
    let message = error.to_string();
    if error.kind() != rocksdb::ErrorKind::Corruption && !names_missing(&message) {
        let advice =
            if message.contains("No space left") { "; free some space and start the server again" } else { "" };
        return StoreError::Io(format!("{}: {message}{advice}", path.display()));
    }
    let named = find_file(&message).or_else(|| find_file(&last_complaint(path)?));
    let file = named.map_or_else(|| path.to_owned(), |name| path.join(name));
    StoreError::Corrupt { file: file.display().to_string(), message }
}

/// A file that belongs to the database and is gone, or an invalid one.
fn names_missing(message: &str) -> bool {
    find_file(message).is_some() && (message.contains("No such file") || message.starts_with("Invalid argument"))
}

/// The first word in `text` that is the name of a database file.
fn find_file(text: &str) -> Option<PathBuf> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '(' | ')' | '[' | ']'))
        .map(|word| word.trim_end_matches([':', '.']))
        .filter_map(|word| word.rsplit('/').next())
        .find(|name| {
            let numbered = |suffix: &str| {
                name.strip_suffix(suffix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            };
            numbered(".sst") || numbered(".log") || name.starts_with("MANIFEST-") || *name == "CURRENT"
        })
        .map(PathBuf::from)
}

/// What RocksDB last wrote into its own log about dropped bytes.
fn last_complaint(path: &Path) -> Option<String> {
    let log = fs::read(path.join("LOG")).ok()?;
    let log = String::from_utf8_lossy(&log);
    log.lines().rev().find(|line| line.contains("dropping")).map(|line| {
        // The source position in front of the message ends in `.cc:NNN]`.
        line.split_once("] ").map_or(line, |(_, message)| message).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_what_rocksdb_says() {
        let sst =
            "Corruption: block checksum mismatch: stored = 1, computed = 2 in /data/db/000012.sst offset 0 size 9";
        assert_eq!(find_file(sst), Some(PathBuf::from("000012.sst")));
        assert_eq!(find_file("/x/000007.log: dropping 12 bytes; Corruption"), Some(PathBuf::from("000007.log")));
        assert_eq!(find_file("IO error: No such file: /d/MANIFEST-000005"), Some(PathBuf::from("MANIFEST-000005")));
        assert_eq!(find_file("Corruption: nothing named.log here"), None);
    }
}
