//! Several servers: they form a cluster, serve everything, lose one another and find back.

use std::time::Duration;

use futures::StreamExt;
use openraft::async_runtime::watch::WatchReceiver;
use storage::{KeyRange, Store, StoreError, Txn, WatchRequest};
use tokio::time::{Instant, timeout};

use super::{
    SHORT, all,
    cluster::{Cluster, DEADLINE, eventually, put_somehow, server},
    put, put_op,
};

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_form_a_cluster_and_each_serves_everything() {
    let mut cluster = Cluster::of_one(SHORT).await;
    put(&cluster.stores[&1], "before", "1").await.unwrap();
    cluster.grow(2).await;
    // One more would be two: an even number bears nothing.
    let members = cluster.stores[&1].members();
    assert_eq!(members.iter().map(|member| (member.id, member.voter)).collect::<Vec<_>>(), [(1, true), (2, false)]);
    cluster.grow(3).await;
    cluster.voters(&[1, 2, 3]).await;
    let mut watch =
        cluster.stores[&3].watch(WatchRequest { range: KeyRange::prefix("from/"), start_revision: Some(2) }).unwrap();
    for (id, store) in &cluster.stores {
        let written = put(store, format!("from/{id}"), "x").await.unwrap().revision;
        for other in cluster.stores.values() {
            let read = all(other).await.unwrap();
            assert!(read.iter().any(|(key, _, at)| *key == format!("from/{id}") && *at == written), "{id}: {read:?}");
            assert!(other.current_revision().await.unwrap() >= written);
        }
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = timeout(DEADLINE, watch.next()).await.unwrap().unwrap().unwrap();
        seen.extend(batch.events.iter().map(|event| String::from_utf8_lossy(&event.kv.key).into_owned()));
    }
    assert_eq!(seen, ["from/1", "from/2", "from/3"]);
    let member = cluster.stores[&2].members().into_iter().find(|member| member.id == 3).unwrap();
    assert_eq!((member.server, member.leader), (server(3), false));
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_goes_on_when_its_leader_is_lost_and_the_lost_one_comes_back() {
    let mut cluster = Cluster::of_three().await;
    for round in 0..3 {
        let lost = cluster.leader().await;
        put(cluster.any(), format!("before/{round}"), "x").await.unwrap();
        cluster.kill(lost).await;
        put_somehow(cluster.any(), &format!("after/{round}"), "x").await;
        cluster.start(lost).await;
        cluster.agree().await;
    }
    assert_eq!(all(cluster.any()).await.unwrap().len(), 6);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_comes_back_by_log_or_by_snapshot() {
    let mut cluster = Cluster::of_three().await;
    for (round, writes) in [3, 6 * SHORT.per_snapshot].into_iter().enumerate() {
        let away = (cluster.leader().await) % 3 + 1;
        cluster.kill(away).await;
        for n in 0..writes {
            put_somehow(cluster.any(), &format!("{round}/{n}"), &"x".repeat(100)).await;
        }
        let store = cluster.start(away).await;
        cluster.agree().await;
        let snapshot = store.raft.metrics().borrow_watched().purged;
        assert!(round == 0 || snapshot.is_some_and(|last| last.index > writes / 2), "{snapshot:?}");
        drop(store);
        // What it took is durable, and opens again.
        cluster.kill(away).await;
        cluster.start(away).await;
        cluster.agree().await;
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_answers_no_read() {
    let cluster = Cluster::of_three().await;
    let old = cluster.leader().await;
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != old).collect();
    put(&cluster.stores[&old], "a", "1").await.unwrap();
    let mut own = cluster.stores[&old].leadership();
    let term = own.borrow().expect("it leads");
    let fenced = cluster.stores[&old].fenced(term);
    let fenced_put = |key: &'static str| fenced.txn(Txn { success: vec![put_op(key, "x", 0)], ..Txn::default() });
    fenced_put("fenced").await.unwrap();
    cluster.wires.isolate(old, &others);
    let lost = put(&cluster.stores[&old], "lost", "x").await.unwrap_err();
    assert!(matches!(lost, StoreError::UnknownOutcome(_) | StoreError::Unavailable(_)), "{lost}");
    timeout(DEADLINE, own.wait_for(Option::is_none)).await.unwrap().unwrap();
    cluster.leader_of(others[0], |leader| leader.id != old).await;
    put_somehow(&cluster.stores[&others[0]], "a", "2").await;
    let stale = all(&cluster.stores[&old]).await.unwrap_err();
    assert!(matches!(stale, StoreError::Unavailable(_)), "{stale}");
    assert!(fenced_put("later").await.is_err());
    cluster.wires.heal();
    eventually(|| all(&cluster.stores[&old])).await;
    cluster.agree().await;
    let refused = fenced_put("much later").await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    let keys: Vec<_> =
        all(&cluster.stores[&old]).await.unwrap().into_iter().map(|(key, value, _)| (key, value)).collect();
    assert!(
        keys.contains(&("a".to_owned(), "2".to_owned())) && !keys.iter().any(|(key, _)| key.contains("later")),
        "{keys:?}"
    );
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_heard_in_one_direction_only_disturbs_nobody() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let deaf = leader % 3 + 1;
    let term = cluster.stores[&leader].leadership().borrow().unwrap();
    // Nobody reaches it, it reaches everybody.
    for id in [1, 2, 3].into_iter().filter(|id| *id != deaf) {
        cluster.wires.cut(id, deaf);
    }
    for n in 0..20 {
        put(&cluster.stores[&leader], format!("{n}"), "x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(*cluster.stores[&leader].leadership().borrow(), Some(term), "it was never disturbed");
    cluster.wires.heal();
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_over_on_request_and_at_the_end_and_no_write_fails() {
    let mut cluster = Cluster::of_three().await;
    let writer = {
        let stores: Vec<_> = cluster.stores.values().cloned().collect();
        tokio::spawn(async move {
            let mut written = 0;
            for n in 0..200 {
                // Of a server that stays.
                put(&stores[2], format!("{n}"), "x").await.unwrap_or_else(|error| panic!("write {n}: {error}"));
                written += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            written
        })
    };
    cluster.leader().await;
    for to in [2, 3, 1] {
        cluster.stores[&2].transfer_leader(to).await.unwrap();
        cluster.leader_of(3, |leader| leader.id == to).await;
    }
    // A planned end: its lead is taken before it goes.
    let begin = Instant::now();
    cluster.stop(1).await;
    let next = cluster.leader_of(2, |leader| leader.id != 1).await.id;
    assert!(begin.elapsed() < Duration::from_secs(2) && next != 1);
    assert_eq!(writer.await.unwrap(), 200);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_one_to_three_to_five_and_back() {
    let mut cluster = Cluster::of_three().await;
    cluster.grow(4).await;
    // While another is down.
    cluster.kill(2).await;
    put_somehow(cluster.any(), "a", "1").await;
    cluster.grow(5).await;
    cluster.voters(&[1, 2, 3, 4, 5]).await;
    cluster.start(2).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let mut left: Vec<u64> = cluster.stores.keys().copied().collect();
    // The one that leads leaves as well.
    for gone in [leader, leader % 5 + 1, (leader + 1) % 5 + 1, (leader + 2) % 5 + 1] {
        left.retain(|id| *id != gone);
        eventually(|| cluster.stores[&left[0]].remove(gone)).await;
        cluster.kill(gone).await;
        put_somehow(cluster.any(), &format!("without {gone}"), "x").await;
        cluster.voters(&left).await;
    }
    let last = cluster.any();
    let refused = last.remove(last.id()).await.unwrap_err().to_string();
    assert!(refused.ends_with("is the last one that votes"), "{refused}");
    assert_eq!(all(last).await.unwrap().len(), 5);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_comes_back_does_not_think_that_it_leads_until_it_is_heard() {
    let mut cluster = Cluster::of_three().await;
    let old = cluster.leader().await;
    cluster.kill(old).await;
    put_somehow(cluster.any(), "a", "1").await;
    let others: Vec<u64> = cluster.stores.keys().copied().collect();
    cluster.wires.isolate(old, &others);
    let store = cluster.start(old).await;
    let mut own = store.leadership();
    // Longer than an election takes.
    let led = timeout(Duration::from_secs(1), own.wait_for(Option::is_some)).await;
    assert!(led.is_err(), "{led:?}");
    assert!(all(&store).await.is_err());
    cluster.wires.heal();
    eventually(|| all(&store)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a test"]
#[expect(clippy::print_stderr, reason = "its output is what it is for")]
async fn from_the_loss_of_a_leader_to_the_next_write() {
    let mut cluster = Cluster::of_three().await;
    let mut took = Vec::new();
    for round in 0..50 {
        let lost = cluster.leader().await;
        put_somehow(cluster.any(), "before", "x").await;
        let begin = Instant::now();
        let dying = cluster.cut_off(lost);
        let survivor = cluster.stores.values().next().unwrap().clone();
        put_somehow(&survivor, &format!("{round}"), "x").await;
        took.push(begin.elapsed());
        cluster.bury(dying).await;
        drop(survivor);
        cluster.start(lost).await;
        cluster.agree().await;
    }
    took.sort_unstable();
    eprintln!("{} losses: median {:?}, 99 % {:?}, most {:?}", took.len(), took[25], took[49 * 99 / 100], took[49]);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_write_of_who_stays() {
    let mut cluster = Cluster::of_three().await;
    for id in [1, 2, 3] {
        let stays = cluster.stores[&(id % 3 + 1)].clone();
        let stop = tokio_util::sync::CancellationToken::new();
        let writer = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut written = 0;
                while !stop.is_cancelled() {
                    put(&stays, format!("{id}/{written}"), "x")
                        .await
                        .unwrap_or_else(|error| panic!("write {written}: {error}"));
                    written += 1;
                }
                written
            }
        });
        cluster.stop(id).await;
        cluster.start(id).await;
        all(&cluster.stores[&id]).await.unwrap();
        stop.cancel();
        assert!(writer.await.unwrap() > 0);
        cluster.agree().await;
    }
    cluster.close().await;
}
