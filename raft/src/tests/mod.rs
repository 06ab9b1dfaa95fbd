//! The store as a whole: openraft's own suite, random histories, crashes, damage, leases.

mod broken;
mod cluster;
mod crash;
mod damage;
mod histories;
mod identity;
mod leases;
mod log;
mod servers;
mod snapshots;
mod speed;
mod strangers;
mod suite;

use std::{path::Path, sync::Arc, time::Duration};

use storage::{KeyRange, Op, RangeRequest, Store, StoreError, Txn, TxnResponse};

use crate::{NoPeers, Options, RaftStore, Server, store::Limits};

/// So short that snapshots and purges happen in every test.
const SHORT: Limits = Limits { per_snapshot: 40, kept: 5, history: Duration::from_secs(300) };

/// A server that begins a cluster and stays alone.
fn alone() -> Options {
    Options { id: 1, cluster: "test".to_owned(), server: Server::default(), connect: Arc::new(NoPeers), begin: true }
}

async fn open(path: &Path) -> RaftStore {
    RaftStore::open_limited(path, alone(), SHORT).await.unwrap()
}

fn put_op(key: impl Into<String>, value: impl Into<String>, lease: i64) -> Op {
    Op::Put { key: key.into().into(), value: value.into().into(), lease }
}

async fn put(store: &RaftStore, key: impl Into<String>, value: impl Into<String>) -> Result<TxnResponse, StoreError> {
    store.txn(Txn { success: vec![put_op(key, value, 0)], ..Txn::default() }).await
}

/// All keys with their values and the revision that wrote them.
async fn all(store: &RaftStore) -> Result<Vec<(String, String, u64)>, StoreError> {
    let found = store.range(RangeRequest::new(KeyRange::all())).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(found.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value), kv.mod_revision)).collect())
}
