//! Snapshots, judged by etcd's own tools.

use std::process::Command;

use serde_json::Value;

use super::{Ours, same::Etcd, tool};
use crate::pb::{HashKvRequest, HashRequest, RangeRequest, maintenance_client::MaintenanceClient};

#[tokio::test(flavor = "multi_thread")]
async fn etcd_itself_goes_on_from_a_snapshot() {
    let ours = Ours::start().await;
    // Enough for several levels of pages, and one value that is larger than a page.
    let large = "x".repeat(20_000);
    let mut children = Vec::new();
    for number in 0..400 {
        let value = if number == 200 { large.clone() } else { format!("{number}").repeat(100) };
        children.push((format!("k/{number:05}"), value));
    }
    for (key, value) in &children {
        let op = storage::Op::Put { key: key.clone().into(), value: value.clone().into(), lease: 0 };
        storage::Store::txn(&ours.store, storage::Txn { success: vec![op], ..storage::Txn::default() }).await.unwrap();
    }
    ours.ctl(&["lease", "grant", "600"]).await;
    ours.ctl(&["del", "k/00007"]).await;
    ours.ctl(&["compaction", "100", "--physical"]).await;

    let file = ours.file("snapshot.db");
    ours.ctl(&["snapshot", "save", &file]).await;
    let status =
        Command::new(tool("etcdutl")).args(["snapshot", "status", &file, "--write-out=json"]).output().unwrap();
    let text = String::from_utf8([status.stdout, status.stderr].concat()).unwrap();
    let status: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(status["revision"], 402, "{status}");
    let mut maintenance = MaintenanceClient::new(ours.channel().await);
    let hash = maintenance.hash(HashRequest {}).await.unwrap().into_inner().hash;
    assert_eq!(status["hash"], hash, "{status}");
    let ours_kv = maintenance.hash_kv(HashKvRequest { revision: 0 }).await.unwrap().into_inner();

    let folder = ours.file("restored");
    let restored = Command::new(tool("etcdutl")).args(["snapshot", "restore", &file, "--data-dir", &folder]).output();
    let restored = restored.unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let mut etcd = Etcd::start(folder.as_ref()).await;
    let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
    let found = etcd.kv.range(all).await.unwrap().into_inner();
    assert_eq!((found.count, found.header.unwrap().revision), (399, 402));
    assert!(
        found
            .kvs
            .iter()
            .zip(children.iter().filter(|(key, _)| key != "k/00007"))
            .all(|(kv, (key, value))| { kv.key == key.as_bytes() && kv.value == value.as_bytes() })
    );
    let hash = etcd.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((hash.hash, hash.compact_revision), (ours_kv.hash, ours_kv.compact_revision));
    ours.stop().await;
}
