//! A process that writes is killed again and again: nothing that it said was written is lost, nothing is written twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use component_base::entropy::{Entropy, SeededEntropy};
use storage::Store;

use super::{all, open, put};

/// Tells the child where to write.
const FOLDER: &str = "CORACLE_RAFT_CRASH_FOLDER";
const ROUNDS: u64 = 20;
const WRITERS: usize = 8;

/// Writes until it is killed, and says so after each acknowledgement.
#[test]
#[ignore = "the process that the test below kills"]
fn writer() {
    let folder = env::var(FOLDER).expect("the test below sets it");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = open(Path::new(&folder)).await;
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                // No key twice: each start has a range of its own behind the revision it found.
                let start = store.revision();
                for n in 0.. {
                    let key = format!("{writer}/{start}/{n}");
                    let revision = put(&store, key.clone(), value(&key)).await.unwrap().revision;
                    // One write for one line, so that it is there whole or not at all.
                    std::io::stdout().write_all(format!("ack {key} {revision}\n").as_bytes()).unwrap();
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

/// The value of a key. Some are large, so that tables are written and compacted as well.
fn value(key: &str) -> String {
    key.repeat(if key.ends_with('3') { 5000 } else { 1 })
}

fn start(folder: &Path) -> Child {
    let name = "tests::crash::writer";
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Lets a writer acknowledge `count` writes and kills it; returns all that it acknowledged.
fn round(folder: &Path, count: usize) -> Vec<(String, u64)> {
    let mut child = start(folder);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    for line in lines {
        // What the test harness says around it is not ours.
        let line = line.unwrap();
        let Some((_, line)) = line.split_once("ack ") else { continue };
        let (key, revision) = line.split_once(' ').unwrap();
        acknowledged.push((key.to_owned(), revision.parse().unwrap()));
        if acknowledged.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= count, "the writer ended by itself after {} writes", acknowledged.len());
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_and_no_revision_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let entropy = SeededEntropy::new(20_261_125);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut revisions = BTreeSet::new();
    for number in 0..ROUNDS {
        let mut random = [0; 2];
        entropy.fill(&mut random);
        // Also while it opens.
        let mut opening = start(folder.path());
        std::thread::sleep(Duration::from_millis(random[1].into()) / 4);
        opening.kill().unwrap();
        opening.wait().unwrap();
        for (key, revision) in round(folder.path(), 1 + usize::from(random[0])) {
            assert!(revisions.insert(revision), "round {number}: revision {revision} was given twice");
            assert_eq!(acknowledged.insert(key, revision), None);
        }
        runtime.block_on(async {
            let store = open(folder.path()).await;
            let found: BTreeMap<String, (String, u64)> =
                all(&store).await.unwrap().into_iter().map(|(key, value, revision)| (key, (value, revision))).collect();
            for (key, revision) in &acknowledged {
                assert!(found.get(key) == Some(&(value(key), *revision)), "round {number}: {key} is not as it was");
            }
            // What was applied without being acknowledged took revisions as well, each its own.
            let all_revisions: BTreeSet<u64> = found.values().map(|(_, revision)| *revision).collect();
            assert_eq!(all_revisions.len(), found.len());
            assert!(all_revisions.last() <= Some(&store.revision()));
            store.close().await;
        });
    }
}
