//! Leases end by the leader's clock.

use std::time::{Duration, Instant};

use futures::StreamExt;
use storage::{EventKind, KeyRange, Store, StoreError, Txn, WatchRequest};
use tokio::time::timeout;

use super::{all, open, put, put_op};
use crate::RaftStore;

/// Waits for the next change of anything, and returns the keys that it deleted.
async fn next_end(store: &RaftStore) -> Vec<String> {
    let request = WatchRequest { range: KeyRange::all(), start_revision: Some(store.revision() + 1) };
    let mut watch = store.watch(request).unwrap();
    let notice = watch.next().await.unwrap().unwrap();
    assert!(notice.events.is_empty());
    let end = timeout(Duration::from_secs(30), watch.next()).await.expect("a lease ends").unwrap().unwrap();
    assert!(end.events.iter().all(|event| event.kind == EventKind::Delete));
    end.events.iter().map(|event| String::from_utf8_lossy(&event.kv.key).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_takes_its_keys_in_one_revision_when_its_time_is_over_counted_from_the_last_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let lease = store.lease_grant(Duration::from_millis(900)).await.unwrap();
    let success = vec![put_op("a", "1", lease), put_op("b", "1", lease)];
    store.txn(Txn { success, ..Txn::default() }).await.unwrap();
    put(&store, "c", "stays").await.unwrap();
    store.close().await;
    drop(store);

    let begin = Instant::now();
    let store = open(folder.path()).await;
    assert_eq!(next_end(&store).await, ["a", "b"]);
    assert!(begin.elapsed() >= Duration::from_secs(1), "it lived {:?}", begin.elapsed());
    assert_eq!(all(&store).await.unwrap().len(), 1);
    let gone = store.lease_revoke(lease).await.unwrap_err().to_string();
    assert_eq!(gone, format!("there is no lease {lease}"));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut leases = Vec::new();
    for (key, seconds) in [("revoked", 1), ("long", 1000), ("short", 2)] {
        let lease = store.lease_grant(Duration::from_secs(seconds)).await.unwrap();
        store.txn(Txn { success: vec![put_op(key, "1", lease)], ..Txn::default() }).await.unwrap();
        leases.push(lease);
    }
    store.lease_revoke(leases[0]).await.unwrap();
    assert_eq!(next_end(&store).await, ["short"]);
    let left: Vec<_> = all(&store).await.unwrap().into_iter().map(|(key, ..)| key).collect();
    assert_eq!(left, ["long"]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_kept_alive_gets_all_its_time_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let ttl = Duration::from_secs(2);
    let lease = store.lease_grant_as(4711, ttl).await.unwrap().id;
    assert_eq!(lease, 4711);
    assert!(matches!(store.lease_grant_as(4711, ttl).await, Err(StoreError::LeaseExists(4711))));
    store.txn(Txn { success: vec![put_op("a", "1", lease)], ..Txn::default() }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let remaining = store.lease_remaining(lease).await.unwrap();
    assert!(remaining <= Duration::from_millis(1100), "{remaining:?}");
    let kept = Instant::now();
    let granted = store.lease_keep_alive(lease).await.unwrap();
    assert!(granted > Duration::from_millis(1500) && granted <= ttl, "{granted:?}");
    assert_eq!(next_end(&store).await, ["a"]);
    assert!(kept.elapsed() >= ttl, "it lived {:?}", kept.elapsed());
    assert!(matches!(store.lease_keep_alive(lease).await, Err(StoreError::LeaseNotFound(4711))));
    assert!(matches!(store.lease_remaining(lease).await, Err(StoreError::LeaseNotFound(4711))));
    store.close().await;
}
