//! Files that are not what was written: a clear error that names the file, or nothing lost; never silence.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use storage::{StoreError, open_database};

use super::{SHORT, all, alone, open, put};
use crate::{
    RaftStore,
    log::LOG,
    records::{APPLIED, RAFT},
};

const KEYS: u64 = 30;

/// A store with a few keys, closed.
async fn written() -> (tempfile::TempDir, Vec<(String, String, u64)>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..KEYS {
        put(&store, format!("key/{n}"), "value".repeat(20)).await.unwrap();
    }
    let found = all(&store).await.unwrap();
    store.close().await;
    (folder, found)
}

fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let named = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(&wanted);
    all.filter(|path| named(path) && path.metadata().unwrap().len() > 0).collect()
}

/// What the store says that was closed before: everything it has, or why not.
async fn reopened(folder: &Path) -> Result<Vec<(String, String, u64)>, StoreError> {
    let store = RaftStore::open_limited(folder, alone(), SHORT).await?;
    let found = all(&store).await;
    store.close().await;
    found
}

fn flip(file: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

/// Flips bits of one kind of file all over it: each is refused with the name of the file, or harmless.
async fn flipped_everywhere(folder: &Path, file: &Path, bit: u8, expected: &[(String, String, u64)]) -> usize {
    let length = fs::metadata(file).unwrap().len() as usize;
    let heads = heads_of_records(&fs::read(file).unwrap());
    let (mut harmless, all) = (0, (0..40).map(|step| step * length / 40).chain(heads));
    for at in all {
        let copy = copied(folder);
        let damaged = copy.path().join(file.file_name().unwrap());
        flip(&damaged, at, bit);
        match reopened(copy.path()).await {
            Ok(found) => {
                assert_eq!(found, expected, "{} flipped at {at}", damaged.display());
                harmless += 1;
            }
            Err(StoreError::Corrupt { file, .. }) if file == damaged.display().to_string() => {}
            Err(error) => panic!("{} flipped at {at}: {error}", damaged.display()),
        }
    }
    harmless
}

/// Where the lengths and types of the first and the last records stand in a write-ahead log of one block: a head of checksum
/// (4 bytes), length (2) and type (1) is before each record.
fn heads_of_records(log: &[u8]) -> Vec<usize> {
    const HEAD: usize = 7;
    let (mut at, mut found) = (0, Vec::new());
    while at + HEAD <= log.len() {
        found.push(at);
        at += HEAD + usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
    }
    assert!(log.len() < 32 << 10 && found.len() > 2, "one block, some records");
    let ends = found.iter().take(2).chain(found.iter().rev().take(6));
    ends.flat_map(|head| [head + 4, head + 5, head + 6]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_write_ahead_log_is_refused_with_the_name_of_the_file() {
    let (folder, expected) = written().await;
    let log = files(folder.path(), |name| name.ends_with(".log")).pop().unwrap();
    for bit in [0, 6] {
        assert_eq!(flipped_everywhere(folder.path(), &log, bit, &expected).await, 0, "bit {bit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_manifest_is_refused_with_the_name_of_the_file() {
    let (folder, expected) = written().await;
    // Opening it once more brings the log into tables, and those into the manifest.
    assert_eq!(reopened(folder.path()).await.unwrap(), expected);
    let manifest = files(folder.path(), |name| name.starts_with("MANIFEST-")).pop().unwrap();
    assert_eq!(flipped_everywhere(folder.path(), &manifest, 6, &expected).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_of_the_write_ahead_log_loses_nothing_that_was_acknowledged() {
    let (folder, expected) = written().await;
    // The last record is what was applied last; its log entry lies before it.
    for cut in [1, 5, 20] {
        let copy = copied(folder.path());
        let log = files(copy.path(), |name| name.ends_with(".log")).pop().unwrap();
        let bytes = fs::read(&log).unwrap();
        fs::write(&log, &bytes[..bytes.len() - cut]).unwrap();
        assert_eq!(reopened(copy.path()).await.unwrap(), expected, "cut by {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_table_is_an_error_with_its_name_or_harmless() {
    let (folder, expected) = written().await;
    // Opening it once more brings the log into tables.
    assert_eq!(reopened(folder.path()).await.unwrap(), expected);
    let tables = files(folder.path(), |name| name.ends_with(".sst"));
    assert!(!tables.is_empty());
    let mut errors = 0;
    for table in tables {
        let length = fs::metadata(&table).unwrap().len() as usize;
        for at in [10, length / 3, length / 2, length - 10] {
            let copy = copied(folder.path());
            let damaged = copy.path().join(table.file_name().unwrap());
            flip(&damaged, at, 6);
            match reopened(copy.path()).await {
                Ok(found) => assert_eq!(found, expected, "{} flipped at {at}", damaged.display()),
                Err(StoreError::Corrupt { file, .. }) if file == damaged.display().to_string() => errors += 1,
                Err(error) => panic!("{} flipped at {at}: {error}", damaged.display()),
            }
        }
    }
    assert!(errors > 0, "no damage was seen");
}

/// Changes a record behind Raft's back, and returns what the store then says.
async fn meddled(change: impl FnOnce(&storage::Database)) -> (String, String) {
    let (folder, _) = written().await;
    let database = open_database(folder.path(), &[LOG, RAFT]).unwrap();
    change(&database);
    drop(database);
    (reopened(folder.path()).await.unwrap_err().to_string(), folder.path().display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_broken_log_entry_is_named() {
    let (error, path) = meddled(|database| {
        let family = database.family(LOG);
        let mut keys = database.raw().iterator_cf(family, rocksdb::IteratorMode::End);
        let (last, _) = keys.next().unwrap().unwrap();
        assert_eq!(last[..], (KEYS + 1).to_be_bytes(), "membership, blank, and a put for each key");
        database.raw().delete_cf(family, KEYS.to_be_bytes()).unwrap();
    })
    .await;
    assert_eq!(error, format!("entry {KEYS} of the Raft log in {path} is corrupt: it is missing"));

    let (error, path) = meddled(|database| {
        let unknown = [&[1; 17][..], &[9]].concat();
        database.raw().put_cf(database.family(LOG), KEYS.to_be_bytes(), unknown).unwrap();
    })
    .await;
    assert_eq!(error, format!("entry {KEYS} of the Raft log in {path} is corrupt: it has the unknown kind 9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_what_is_applied_is_refused() {
    let (error, path) = meddled(|database| {
        database.raw().delete_cf(database.family(LOG), (KEYS + 1).to_be_bytes()).unwrap();
    })
    .await;
    assert!(error.starts_with(&format!("the Raft log in {path} is corrupt: it ends at ")), "{error}");

    let (error, path) = meddled(|database| {
        database.raw().put_cf(database.family(RAFT), APPLIED, b"{").unwrap();
    })
    .await;
    assert!(error.starts_with(&format!("the record \"applied\" of Raft in {path} is corrupt: ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_says_why_to_whoever_waits_for_it_and_to_every_later_write() {
    let (folder, _) = written().await;
    let store = open(folder.path()).await;
    // The log cannot be written into a folder that is gone, once it needs a new file.
    // RocksDB may make a file at this moment, so that the folder is not empty after all.
    let removed = (0..100).any(|_| fs::remove_dir_all(folder.path()).is_ok());
    assert!(removed, "the folder stays");
    let mut written = 0;
    let first = loop {
        match put(&store, format!("more/{written}"), "x".repeat(1 << 20)).await {
            Ok(_) => written += 1,
            Err(error) => break error.to_string(),
        }
        assert!(written < 200, "nothing failed");
    };
    let said = tokio::time::timeout(Duration::from_secs(20), store.failed()).await.expect("it has failed");
    assert_eq!(said.to_string(), first);
    assert_eq!(put(&store, "again", "x").await.unwrap_err().to_string(), first);
    assert!(first.contains(&folder.path().display().to_string()), "{first}");
    store.close().await;
}
