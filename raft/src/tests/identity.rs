//! A store knows whose it is.

use storage::StoreError;

use super::{SHORT, alone, open, put};
use crate::{Options, RaftStore};

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_another_server_or_cluster_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    put(&store, "a", "1").await.unwrap();
    store.close().await;
    drop(store);
    for (options, is) in [
        (Options { id: 2, ..alone() }, r#"server 2 of cluster "test""#),
        (Options { cluster: "other".to_owned(), ..alone() }, r#"server 1 of cluster "other""#),
    ] {
        let error = RaftStore::open_limited(folder.path(), options, SHORT).await.unwrap_err();
        let expected =
            format!("the store in {} is that of server 1 of cluster \"test\", this is {is}", folder.path().display());
        assert!(matches!(&error, StoreError::Invalid(why) if *why == expected), "{error}");
    }
    open(folder.path()).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_before_servers_had_numbers_is_that_of_server_1() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).await.close().await;
    let forget = || {
        let database = storage::open_database(folder.path(), &[crate::log::LOG, crate::records::RAFT]).unwrap();
        let family = database.family(crate::records::RAFT);
        database.raw().delete_cf(family, crate::records::IDENTITY).unwrap();
    };
    forget();
    let error = RaftStore::open_limited(folder.path(), Options { id: 3, ..alone() }, SHORT).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    open(folder.path()).await.close().await;
}
