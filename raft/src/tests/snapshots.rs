//! A snapshot brings another server to the same state, or changes nothing when it is damaged.

use std::{
    fs::File,
    io::{Seek, Write},
};

use openraft::storage::RaftStateMachine;
use storage::{KeyRange, Keyspace, RangeRequest, open_database};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{open, put};
use crate::{
    Image,
    error::Failure,
    log::LOG,
    machine::{Published, StateMachine},
    records::RAFT,
};

fn received(bytes: &[u8]) -> Image {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Image::Received(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_replaces_another_state_and_a_damaged_one_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for n in 0..20 {
        put(&store, format!("key/{}", n % 7), format!("{n}")).await.unwrap();
    }
    let snapshot = store.raft.get_snapshot().await.unwrap().expect("there is always one");
    // What comes later is not in it.
    let expected = store.keyspace.range(&RangeRequest::new(KeyRange::all())).unwrap();
    put(&store, "later", "x").await.unwrap();
    let mut bytes = Vec::new();
    snapshot.snapshot.write_to(&mut bytes).unwrap();

    let other = tempfile::tempdir().unwrap();
    let keyspace = Keyspace::open(open_database(other.path(), &[LOG, RAFT]).unwrap()).unwrap();
    let (failure, tracker) = (Failure::default(), TaskTracker::new());
    let mut machine = StateMachine::open(
        keyspace.clone(),
        mpsc::unbounded_channel().0,
        failure,
        Published::default(),
        tracker.token(),
    )
    .unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 23) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        let error = machine.install_snapshot(&snapshot.meta, received(&damaged)).await.unwrap_err().to_string();
        assert!(error.starts_with("the snapshot that the leader sent is corrupt: "), "flipped at {at}: {error}");
        assert_eq!((keyspace.revision(), machine.applied_state().await.unwrap().0), (1, None));
    }
    machine.install_snapshot(&snapshot.meta, received(&bytes)).await.unwrap();
    assert_eq!(keyspace.range(&RangeRequest::new(KeyRange::all())).unwrap(), expected);
    let applied = machine.applied_state().await.unwrap();
    assert_eq!(applied, (snapshot.meta.last_log_id, snapshot.meta.last_membership));
    store.close().await;
}
