//! openraft's own suite for stores.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use storage::{Keyspace, open_database};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::{
    TypeConfig,
    error::Failure,
    log::{LOG, LogStore},
    machine::{Published, StateMachine},
    records::RAFT,
};

struct Fresh;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let database = open_database(folder.path(), &[LOG, RAFT]).unwrap();
        let keyspace = Keyspace::open(database.clone()).unwrap();
        let (failure, published, open) = (Failure::default(), Published::default(), TaskTracker::new());
        let log = LogStore::open(database, failure.clone(), published.reach.clone(), open.token()).unwrap();
        let machine =
            StateMachine::open(keyspace, mpsc::unbounded_channel().0, failure, published, open.token()).unwrap();
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_openraft_passes() {
    Suite::test_all(Fresh).await.unwrap();
}
