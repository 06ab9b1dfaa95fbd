//! The log stays short, an idle store is still, and a failed one says why.

use std::{fs, path::Path, time::Duration};

use futures::StreamExt;
use openraft::async_runtime::watch::WatchReceiver;
use storage::{KeyRange, RangeRequest, Store, StoreError, WatchRequest};

use super::{SHORT, all, alone, open, put};
use crate::{RaftStore, store::Limits};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_purged_behind_snapshots_while_writes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..5 * SHORT.per_snapshot {
        put(&store, format!("{n}"), "x").await.unwrap();
    }
    let far = 3 * SHORT.per_snapshot;
    let purged = store.raft.wait(Some(Duration::from_secs(20)));
    purged.metrics(|metrics| metrics.purged.is_some_and(|last| last.index >= far), "purged").await.unwrap();
    store.close().await;
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(all(&store).await.unwrap().len() as u64, 5 * SHORT.per_snapshot);
    store.close().await;
}

/// Names, lengths and times of all files.
fn state(folder: &Path) -> Vec<(std::ffi::OsString, u64, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let meta = file.metadata().unwrap();
            (file.file_name(), meta.len(), meta.modified().unwrap())
        })
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_store_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.lease_grant(Duration::from_secs(1000)).await.unwrap();
    put(&store, "a", "1").await.unwrap();
    let before = state(folder.path());
    // Longer than any timer of Raft.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(state(folder.path()), before);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_refuses_and_ends_its_watches() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut watch = store.watch(WatchRequest { range: KeyRange::all(), start_revision: None }).unwrap();
    watch.next().await.unwrap().unwrap();
    store.close().await;
    assert!(watch.next().await.is_none());
    let error = put(&store, "a", "1").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_done_never_reaches_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let last = store.raft.metrics().borrow_watched().last_log_index;
    let error = put(&store, "a", "x".repeat(storage::MAX_REQUEST_BYTES)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert_eq!(store.raft.metrics().borrow_watched().last_log_index, last);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_forgotten_when_it_is_old_and_then_it_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { history: Duration::from_millis(100), ..SHORT };
    let store = RaftStore::open_limited(folder.path(), alone(), limits).await.unwrap();
    for value in ["1", "2", "3"] {
        put(&store, "a", value).await.unwrap();
    }
    let mut compactions = store.keyspace.compactions();
    let forgotten = compactions.wait_for(|compacted| *compacted == store.revision());
    tokio::time::timeout(Duration::from_secs(30), forgotten).await.expect("it is forgotten").unwrap();
    let request = RangeRequest { revision: Some(2), ..RangeRequest::new(KeyRange::all()) };
    assert!(matches!(store.range(request).await, Err(StoreError::Compacted { .. })));
    assert_eq!(all(&store).await.unwrap(), [("a".to_owned(), "3".to_owned(), 4)]);
    let last = store.raft.metrics().borrow_watched().last_log_index;
    tokio::time::sleep(3 * limits.history).await;
    assert_eq!(store.raft.metrics().borrow_watched().last_log_index, last);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_often_purges_its_log_as_well() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let store = open(folder.path()).await;
        for n in 0..SHORT.per_snapshot / 2 {
            put(&store, format!("{round}/{n}"), "x").await.unwrap();
        }
        store.close().await;
    }
    let store = open(folder.path()).await;
    let purged = store.raft.wait(Some(Duration::from_secs(20)));
    purged.metrics(|metrics| metrics.purged.is_some(), "purged").await.unwrap();
    assert_eq!(all(&store).await.unwrap().len() as u64, 4 * (SHORT.per_snapshot / 2));
    store.close().await;
}
