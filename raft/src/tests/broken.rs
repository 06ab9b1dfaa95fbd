//! Connections that break at the wrong moment.

use std::time::Duration;

use storage::{StoreError, keyspace::verify_image};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::{Instant, timeout},
};

use super::{
    SHORT, all,
    cluster::{Cluster, DEADLINE, eventually, is_unknown, put_somehow},
    put,
};
use crate::Server;

/// Writes that are timed, and writes that are cut off, at least.
const USUAL: u32 = 10;
const ROUNDS: u32 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_unknown_and_not_tried_again() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = leader % 3 + 1;
    // How long a write takes here and now, so that it is cut off at all of its stages also on a machine that is busy.
    let began = Instant::now();
    for n in 0..USUAL {
        put(&cluster.stores[&follower], format!("usual/{n}"), "x").await.unwrap();
    }
    let usual = began.elapsed() / USUAL;
    let (mut unknown, mut there) = (0, 0);
    for n in 0.. {
        if n >= ROUNDS && unknown > 0 {
            break;
        }
        assert!(n < 20 * ROUNDS, "no answer was ever lost");
        let (store, key) = (cluster.stores[&follower].clone(), format!("key/{n}"));
        let writing = tokio::spawn({
            let key = key.clone();
            async move { put(&store, key, "x").await }
        });
        tokio::time::sleep(usual * (n % ROUNDS) / 20).await;
        cluster.wires.cut(follower, leader);
        let written = timeout(DEADLINE, writing).await.unwrap().unwrap();
        cluster.wires.heal();
        let found = eventually(|| all(&cluster.stores[&leader])).await;
        let found: Vec<_> = found.into_iter().filter(|(found, ..)| *found == key).collect();
        match written {
            Ok(response) => assert!(found.len() == 1 && found[0].2 == response.revision, "{found:?}"),
            Err(StoreError::UnknownOutcome(_)) => {
                unknown += 1;
                there += found.len();
            }
            // It was certain that nothing had happened.
            Err(StoreError::Unavailable(_)) => assert!(found.is_empty(), "{found:?}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(there <= unknown);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_to_a_leader_that_stands_still_is_unknown() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = leader % 3 + 1;
    put(&cluster.stores[&follower], "before", "x").await.unwrap();
    // The leader hears its followers no more, but one is heard by it.
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        cluster.wires.cut(leader, id);
    }
    let written = put(&cluster.stores[&follower], "lost", "x").await;
    assert!(is_unknown(&written) || written.is_ok(), "{written:?}");
    cluster.wires.heal();
    put_somehow(&cluster.stores[&follower], "after", "x").await;
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_short_is_sent_again_and_nothing_is_lost() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    put(cluster.any(), "old", "1").await.unwrap();
    cluster.kill(away).await;
    for n in 0..5 * SHORT.per_snapshot {
        put(&cluster.stores[&leader], format!("{n}"), "x".repeat(2000)).await.unwrap();
    }
    let store = {
        // Of the first connections one breaks wherever it is.
        for bytes in [200_000, 70_000, 300] {
            cluster.wires.break_after(leader, away, bytes);
        }
        cluster.start(away).await
    };
    for bytes in [150_000, 250_000, 5_000] {
        cluster.wires.break_after(leader, away, bytes);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.agree().await;
    assert!(all(&store).await.unwrap().iter().any(|(key, ..)| key == "old"));
    // Nothing of what was cut is left.
    let left = std::fs::read_dir(cluster.folder(away).join("incoming")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    cluster.close().await;
}

fn frame(kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let length = (9 + body.len()) as u32;
    [&length.to_be_bytes()[..], &[kind], &number.to_be_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_refused_before_it_touches_anything() {
    let cluster = Cluster::of_one(SHORT).await;
    let store = &cluster.stores[&1];
    put(store, "a", "1").await.unwrap();
    let snapshot = store.raft.get_snapshot().await.unwrap().unwrap();
    let mut image = Vec::new();
    snapshot.snapshot.write_to(&mut image).unwrap();
    verify_image(&image[..]).unwrap();
    let vote = store.raft.with_raft_state(|state| *state.vote_ref()).await.unwrap();
    let begin = serde_json::json!({"vote": vote, "meta": snapshot.meta}).to_string();
    let sum = |bytes: &[u8]| -> [u8; 32] { <sha2::Sha256 as sha2::Digest>::digest(bytes).into() };
    let middle = image.len() / 2;
    let mut flipped = image.clone();
    flipped[middle] ^= 1;
    for (sent, length, sum, reason) in [
        (&image[..middle], image.len(), sum(&image), format!("{middle} of {} bytes arrived", image.len())),
        (&flipped[..], image.len(), sum(&image), "its checksum is wrong".to_owned()),
        (&flipped[..], image.len(), sum(&flipped), "the image is damaged: its checksum is wrong".to_owned()),
        (&image[..middle], middle, sum(&image[..middle]), "the image is damaged: it ends too early".to_owned()),
    ] {
        let (mut near, far) = duplex(1 << 20);
        let serving = {
            let store = store.clone();
            tokio::spawn(async move { store.serve_peer(far, 2).await })
        };
        let hello = br#"{"cluster":"test","from":2,"to":1,"last":null}"#;
        let end = serde_json::json!({"length": length, "sum": sum}).to_string();
        for bytes in [
            frame(1, 1, hello),
            frame(22, 5, begin.as_bytes()),
            frame(23, 5, &[&0_u64.to_be_bytes()[..], sent].concat()),
            frame(24, 5, end.as_bytes()),
        ] {
            near.write_all(&bytes).await.unwrap();
        }
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(&reason) {
            let mut piece = [0; 4096];
            let count = timeout(DEADLINE, near.read(&mut piece)).await.expect("an answer").unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        drop(near);
        let _ = serving.await.unwrap();
        assert_eq!(all(store).await.unwrap(), [("a".to_owned(), "1".to_owned(), 2)]);
    }
    put(store, "b", "2").await.unwrap();
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_the_others_its_new_address() {
    let mut cluster = Cluster::of_three().await;
    let moved = cluster.leader().await % 3 + 1;
    cluster.kill(moved).await;
    let server = Server { peer_address: "elsewhere:1".to_owned(), ..super::cluster::server(moved) };
    let options = crate::Options { server: server.clone(), ..cluster.options(moved) };
    cluster.start_as(options).await;
    let told = |store: &crate::RaftStore| {
        store.members().into_iter().find(|member| member.id == moved).unwrap().server == server
    };
    for store in cluster.stores.values() {
        eventually(async || {
            if told(store) {
                Ok(())
            } else {
                tokio::task::yield_now().await;
                Err("it is not known")
            }
        })
        .await;
    }
    cluster.close().await;
}
