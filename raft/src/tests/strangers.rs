//! Servers that do not belong: wiped, removed, of another cluster, or none at all.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::timeout,
};

use super::{
    SHORT, all,
    cluster::{Cluster, DEADLINE, eventually, put_somehow, server},
    put,
};
use crate::{NoPeers, Options, PeerError, RaftStore, Refusal};

/// What server 1 answers to these bytes of who is server `from` for certain.
async fn said(store: &RaftStore, from: u64, bytes: &[u8]) -> (PeerError, Vec<u8>) {
    let (mut near, far) = duplex(1 << 20);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let ended = timeout(DEADLINE, store.serve_peer(far, from)).await.expect("it ends").unwrap_err();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (ended, answer)
}

fn frame(kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let length = (9 + body.len()) as u32;
    [&length.to_be_bytes()[..], &[kind], &number.to_be_bytes(), body].concat()
}

fn hello(cluster: &str, from: u64, to: u64, last: &str) -> Vec<u8> {
    let body = format!(r#"{{"cluster":"{cluster}","from":{from},"to":{to},"last":{last}}}"#);
    frame(1, 1, body.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_belong_is_refused_with_the_reason() {
    let cluster = Cluster::of_three().await;
    let store = &cluster.stores[&1];
    for (first, refusal, reason) in [
        (hello("other", 2, 1, "9"), Refusal::Cluster, "server 1 belongs to cluster \"test\", not to \"other\""),
        (hello("test", 2, 3, "9"), Refusal::Identity, "this is server 1, not server 3"),
        (hello("test", 3, 1, "9"), Refusal::Identity, "server 2 calls itself server 3"),
        (hello("test", 2, 1, "null"), Refusal::Wiped, "server 2 has nothing in its log but is known to have had more"),
        (frame(1, 0, b"{}"), Refusal::Version, "server 1 does not speak version 0 of the protocol any more"),
    ] {
        let (ended, answer) = said(store, 2, &first).await;
        let PeerError::Refused { refusal: found, message } = &ended else { panic!("{ended}") };
        assert!(*found == refusal && message.starts_with(reason), "{message}");
        // It is told why.
        assert!(String::from_utf8_lossy(&answer).contains(&reason.replace('"', "\\\"")), "{message}");
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_a_connection_with_a_clear_error_and_nothing_else() {
    let cluster = Cluster::of_one(SHORT).await;
    let store = &cluster.stores[&1];
    let greeted = |more: Vec<u8>| [hello("test", 2, 1, "null"), more].concat();
    for (bytes, reason) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "a frame of 1195725856 bytes was announced"),
        (frame(2, 1, b""), "its first words are of kind 2"),
        (frame(1, 1, b"{"), "its first words: EOF"),
        (greeted(frame(99, 5, b"")), "a frame has the unknown kind 99"),
        (greeted(frame(12, 5, b"abc")), "a message ends too early"),
        (greeted(frame(16, 5, b"{}")), "a message cannot be read: missing field"),
        (greeted(frame(19, 5, b"\x09")), "a command: unknown encoding version 9"),
        (greeted(frame(23, 5, &[0; 20])), "a piece of no snapshot"),
        (greeted(frame(24, 5, b"{}")), "the end of no snapshot"),
        (greeted(u32::MAX.to_be_bytes().to_vec()), "a frame of 4294967295 bytes was announced"),
    ] {
        let (ended, _) = said(store, 2, &bytes).await;
        assert!(matches!(&ended, PeerError::Garbage(_)) && ended.to_string().contains(reason), "{ended}");
    }
    let (ended, _) = said(store, 2, &greeted(vec![0, 0])).await;
    assert!(matches!(ended, PeerError::Io(_)), "{ended}");
    put(store, "a", "still").await.unwrap();
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_server_is_found_out_and_comes_back_only_as_a_new_one() {
    let mut cluster = Cluster::of_three().await;
    let wiped = cluster.leader().await % 3 + 1;
    put(cluster.any(), "a", "1").await.unwrap();
    cluster.wipe(wiped).await;
    let empty = cluster.start(wiped).await;
    let leader = cluster.leader_of(if wiped == 1 { 2 } else { 1 }, |leader| leader.id != wiped).await.id;
    // It gets nothing, and nobody counts it.
    let refused = eventually(async || match cluster.stores[&leader].transfer_leader(wiped).await {
        Err(error) if error.to_string().ends_with("does not answer") => Ok(error),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(refused.to_string().contains(&format!("server {wiped} does not answer")), "{refused}");
    put(&cluster.stores[&leader], "b", "2").await.unwrap();
    assert!(put(&empty, "c", "3").await.is_err());
    assert_eq!(empty.raft.data_metrics().borrow_watched().last_log, None);
    let taken = cluster.stores[&leader].add_learner(4, server(wiped)).await.unwrap_err().to_string();
    assert!(
        taken.ends_with(&format!("is the address of server {wiped}: when that one was wiped, remove it first")),
        "{taken}"
    );
    cluster.stores[&leader].remove(wiped).await.unwrap();
    cluster.wipe(wiped).await;
    cluster.grow(4).await;
    let left: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != wiped).collect();
    cluster.voters(&left).await;
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_server_stays_out_also_after_everybody_was_restarted_or_took_a_snapshot() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let removed = leader % 3 + 1;
    cluster.stores[&leader].remove(removed).await.unwrap();
    let gone = cluster.stores.remove(&removed).unwrap();
    assert!(put(&gone, "a", "1").await.is_err());
    cluster.stores.insert(removed, gone);
    cluster.kill(removed).await;
    // The next one learns it from a snapshot.
    for n in 0..3 * SHORT.per_snapshot {
        put(&cluster.stores[&leader], format!("{n}"), "x").await.unwrap();
    }
    cluster.grow(4).await;
    let mut left: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != removed).collect();
    cluster.voters(&left).await;
    for id in left.clone() {
        cluster.kill(id).await;
        cluster.start(id).await;
        put_somehow(cluster.any(), "between", "x").await;
    }
    // Once it is heard again.
    eventually(|| cluster.stores[&4].transfer_leader(4)).await;
    let again = eventually(async || match cluster.stores[&left[0]].add_learner(removed, server(9)).await {
        Err(error) if error.to_string().contains("was removed") => Ok(error),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(
        again.to_string().ends_with(&format!("server {removed} was removed: its number is not given again")),
        "{again}"
    );
    assert_eq!(cluster.stores[&4].free_id(), 5);
    // With all that it had it is still refused, and disturbs nobody.
    let term = *cluster.stores[&4].leadership().borrow();
    cluster.start(removed).await;
    let ghost = cluster.stores.remove(&removed).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(put(&ghost, "ghost", "x").await.is_err());
    assert_eq!(*cluster.stores[&4].leadership().borrow(), term);
    left.sort_unstable();
    cluster.voters(&left).await;
    assert!(!all(cluster.any()).await.unwrap().iter().any(|(key, ..)| key == "ghost"));
    ghost.close().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_to_be_added_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { id: 7, cluster: "test".to_owned(), server: server(7), connect: Arc::new(NoPeers), begin: false };
    let store = RaftStore::open_limited(folder.path(), options, SHORT).await.unwrap();
    let error = put(&store, "a", "1").await.unwrap_err().to_string();
    assert_eq!(error, "the store is unavailable: no server leads at present");
    assert!(store.members().is_empty() && store.leader().borrow().is_none());
    store.close().await;
}
