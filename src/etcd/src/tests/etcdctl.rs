//! etcd's command line, command by command.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Ours;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_puts_gets_and_deletes_with_all_its_options() {
    let ours = Ours::start().await;
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "0")] {
        assert_eq!(ours.ctl(&["put", key, value]).await, "OK\n");
    }
    assert_eq!(ours.ctl(&["put", "a", "33", "--prev-kv"]).await, "OK\na\n3\n");
    assert_eq!(ours.ctl(&["put", "a", "--ignore-value"]).await, "OK\n");
    assert!(ours.fails(&["put", "absent", "--ignore-value"]).await.contains("etcdserver: key not found"));
    for (arguments, expected) in [
        (&["get", "a"][..], "a\n33\n"),
        (&["get", "a", "c"], "a\n33\nb\n1\n"),
        (&["get", "", "--prefix", "--keys-only"], "a\n\nb\n\nc\n\nd\n\n"),
        (&["get", "b", "--from-key", "--limit=2"], "b\n1\nc\n2\n"),
        (&["get", "", "--prefix", "--order=DESCEND", "--sort-by=VALUE", "--print-value-only"], "33\n2\n1\n0\n"),
        (&["get", "", "--prefix", "--order=ASCEND", "--sort-by=MODIFY", "--keys-only"], "b\n\nc\n\nd\n\na\n\n"),
        (&["get", "a", "--rev=2", "--print-value-only"], "3\n"),
        (&["get", "a", "--consistency=s", "--print-value-only"], "33\n"),
        (&["get", "x"], ""),
    ] {
        assert_eq!(ours.ctl(arguments).await, expected, "{arguments:?}");
    }
    let count = ours.ctl(&["get", "", "--prefix", "--count-only", "--write-out=fields"]).await;
    assert!(count.contains("\"Count\" : 4\n") && !count.contains("\"Key\""), "{count}");
    assert!(ours.fails(&["get", "a", "--rev=99"]).await.contains("required revision is a future revision"));
    assert_eq!(ours.ctl(&["del", "b", "--prev-kv"]).await, "1\nb\n1\n");
    assert_eq!(ours.ctl(&["del", "a", "--from-key"]).await, "3\n");
    assert_eq!(ours.ctl(&["del", "a"]).await, "0\n");
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_runs_transactions() {
    let ours = Ours::start().await;
    ours.ctl(&["put", "a", "1"]).await;
    let run = async |text: &'static str| {
        let mut command = ours.command(&["txn"]);
        tokio::task::spawn_blocking(move || {
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        })
        .await
        .unwrap()
    };
    let success = run("val(\"a\") = \"1\"\nmod(\"b\") = \"0\"\n\nput b 2\nget a\n\nget x\n\n").await;
    assert_eq!(success, "SUCCESS\n\nOK\n\na\n1\n");
    let failure = run("val(\"a\") > \"7\"\n\nput a 2\n\ndel b\nget a\n\n").await;
    assert_eq!(failure, "FAILURE\n\n1\n\na\n1\n");
    let twice = run("\nput a 2\nput a 3\n\n\n").await;
    assert!(twice.contains("etcdserver: duplicate key given in txn request"), "{twice}");
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_watches_prefixes_from_revisions() {
    let ours = Ours::start().await;
    for value in ["1", "2"] {
        ours.ctl(&["put", "p/a", value]).await;
    }
    ours.ctl(&["put", "q", "other"]).await;
    ours.ctl(&["del", "p/a"]).await;
    let mut child = ours
        .command(&["watch", "p/", "--prefix", "--rev=3", "--prev-kv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut take = |count: usize| (0..count).map(|_| lines.next().unwrap().unwrap()).collect::<Vec<_>>();
    assert_eq!(take(5), ["PUT", "p/a", "1", "p/a", "2"]);
    assert_eq!(take(5), ["DELETE", "p/a", "2", "p/a", ""]);
    ours.ctl(&["put", "p/b", "live"]).await;
    assert_eq!(take(3), ["PUT", "p/b", "live"]);
    child.kill().unwrap();
    child.wait().unwrap();
    ours.ctl(&["compaction", "4"]).await;
    let compacted = ours.fails(&["watch", "p/", "--prefix", "--rev=3"]).await;
    assert!(compacted.contains("required revision has been compacted"), "{compacted}");
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_grants_keeps_and_ends_leases() {
    let ours = Ours::start().await;
    let granted = json(&ours.ctl(&["lease", "grant", "600", "--write-out=json"]).await);
    assert_eq!(granted["TTL"], 600, "{granted}");
    let id = format!("{:016x}", granted["ID"].as_i64().unwrap());
    ours.ctl(&["put", "leased", "x", &format!("--lease={id}")]).await;
    let life = json(&ours.ctl(&["lease", "timetolive", &id, "--keys", "--write-out=json"]).await);
    assert_eq!((&life["granted-ttl"], &life["keys"]), (&Value::from(600), &Value::from(vec!["bGVhc2Vk"])));
    assert!((590..=600).contains(&life["ttl"].as_i64().unwrap()), "{life}");
    assert_eq!(ours.ctl(&["lease", "list"]).await, format!("found 1 leases\n{id}\n"));
    assert_eq!(
        ours.ctl(&["lease", "keep-alive", "--once", &id]).await,
        format!("lease {id} keepalived with TTL(600)\n")
    );
    assert_eq!(ours.ctl(&["lease", "revoke", &id]).await, format!("lease {id} revoked\n"));
    assert_eq!(ours.ctl(&["get", "leased"]).await, "");
    assert!(ours.fails(&["lease", "revoke", &id]).await.contains("etcdserver: requested lease not found"));
    let missing = ours.fails(&["put", "a", "b", "--lease=1234"]).await;
    assert!(missing.contains("etcdserver: requested lease not found"), "{missing}");
    assert_eq!(ours.ctl(&["lease", "timetolive", &id]).await, format!("lease {id} already expired\n"));

    // One that is kept alive outlives its time; when nobody does any more, it ends.
    let granted = json(&ours.ctl(&["lease", "grant", "2", "--write-out=json"]).await);
    let (id, ttl) = (format!("{:016x}", granted["ID"].as_i64().unwrap()), Duration::from_secs(2));
    ours.ctl(&["put", "kept", "x", &format!("--lease={id}")]).await;
    let mut keeper = ours.command(&["lease", "keep-alive", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(keeper.stdout.take().unwrap()).lines();
    let begun = Instant::now();
    while begun.elapsed() < 2 * ttl {
        assert_eq!(lines.next().unwrap().unwrap(), format!("lease {id} keepalived with TTL(2)"));
    }
    assert_eq!(ours.ctl(&["get", "kept", "--print-value-only"]).await, "x\n");
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let mut ended = ours.command(&["watch", "kept"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(ended.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "DELETE");
    ended.kill().unwrap();
    ended.wait().unwrap();
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_looks_after_a_server() {
    let ours = Ours::start().await;
    for value in 0..5 {
        ours.ctl(&["put", "a", &value.to_string()]).await;
    }
    let status = json(&ours.ctl(&["endpoint", "status", "--write-out=json"]).await);
    let status = &status[0]["Status"];
    assert_eq!((&status["leader"], &status["header"]["member_id"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(status["header"]["revision"], 6);
    for number in ["raftIndex", "raftTerm", "raftAppliedIndex", "dbSize", "dbSizeInUse"] {
        assert!(status[number].as_u64().unwrap() > 0, "{number}: {status}");
    }
    assert!(ours.run(&["endpoint", "health"]).await.status.success());
    let hash = json(&ours.ctl(&["endpoint", "hashkv", "--write-out=json"]).await);
    assert_eq!(hash[0]["HashKV"]["compact_revision"], -1);
    assert_eq!(ours.ctl(&["compaction", "4", "--physical"]).await, "compacted revision 4\n");
    assert!(ours.fails(&["compaction", "4"]).await.contains("mvcc: required revision has been compacted"));
    assert!(ours.fails(&["get", "a", "--rev=3"]).await.contains("mvcc: required revision has been compacted"));
    let compacted = json(&ours.ctl(&["endpoint", "hashkv", "--write-out=json"]).await);
    assert_eq!(compacted[0]["HashKV"]["compact_revision"], 4);
    let defragmented = ours.ctl(&["defrag"]).await;
    assert!(defragmented.starts_with("Finished defragmenting"), "{defragmented}");
    let members = json(&ours.ctl(&["member", "list", "--write-out=json"]).await);
    assert_eq!((&members["members"][0]["name"], members["members"].as_array().unwrap().len()), (&"ours".into(), 1));
    let alone = ours.fails(&["member", "add", "other", "--peer-urls=https://127.0.0.1:1"]).await;
    assert!(alone.contains("this server was started to stay alone"), "{alone}");
    assert!(ours.fails(&["member", "remove", "99"]).await.contains("etcdserver: member not found"));
    assert!(ours.fails(&["member", "promote", "1"]).await.contains("can only promote a learner member"));
    assert_eq!(ours.ctl(&["alarm", "list"]).await, "");
    assert!(ours.ctl(&["auth", "status"]).await.starts_with("Authentication Status: false\n"));
    let user = ours.fails(&["user", "add", "someone:secret"]).await;
    assert!(user.contains("etcdserver: authentication is not enabled"), "{user}");
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_measures_a_small_load_to_its_end() {
    let ours = Ours::start().await;
    let output = ours.run(&["check", "perf", "--load=s"]).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // Its verdicts are on times: on a machine that runs tests at the same time they say nothing of the store.
    assert!(said.contains(": Throughput is ") && said.contains(": Stddev is "), "{said}");
    ours.stop().await;
}
