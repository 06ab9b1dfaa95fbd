//! Servers in one process, over connections in memory that can be cut.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    future::Future,
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use storage::{StoreError, TxnResponse};
use tempfile::TempDir;
use tokio::{
    io::{DuplexStream, duplex},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{SHORT, all, put};
use crate::{Connect, Member, Options, PeerStream, RaftStore, Server, store::Limits};

/// How long anything may take that has to happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// All that connects servers.
#[derive(Clone, Default)]
pub(super) struct Wires(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    servers: BTreeMap<u64, RaftStore>,
    /// Who cannot dial whom.
    cut: HashSet<(u64, u64)>,
    /// What carries bytes now: from, to, and how to break it.
    carried: Vec<(u64, u64, CancellationToken)>,
    /// Bytes on their way from the first to the second are changed behind so many.
    garbled: BTreeMap<(u64, u64), usize>,
}

impl Wires {
    /// From one server to another nothing goes any more, nor comes back on what goes there now.
    pub(super) fn cut(&self, from: u64, to: u64) {
        let mut state = self.0.lock();
        state.cut.insert((from, to));
        state.carried.retain(|(a, b, broken)| {
            let hit = (*a, *b) == (from, to);
            if hit {
                broken.cancel();
            }
            !hit
        });
    }

    pub(super) fn isolate(&self, id: u64, others: &[u64]) {
        for other in others {
            self.cut(id, *other);
            self.cut(*other, id);
        }
    }

    pub(super) fn heal(&self) {
        self.0.lock().cut.clear();
    }

    /// The next connection from one to another breaks behind so many bytes.
    pub(super) fn break_after(&self, from: u64, to: u64, bytes: usize) {
        self.0.lock().garbled.insert((from, to), bytes);
    }

    fn end(&self, id: u64) {
        let mut state = self.0.lock();
        state.servers.remove(&id);
        for (_, _, broken) in state.carried.extract_if(.., |(from, to, _)| *from == id || *to == id) {
            broken.cancel();
        }
    }
}

/// The wires as one server sees them.
struct Plug {
    id: u64,
    wires: Wires,
}

#[async_trait]
impl Connect for Plug {
    async fn connect(&self, id: u64, _server: &Server) -> io::Result<Box<dyn PeerStream>> {
        let (store, broken, limit) = {
            let mut state = self.wires.0.lock();
            let store = state.servers.get(&id).cloned();
            let Some(store) = store.filter(|_| !state.cut.contains(&(self.id, id))) else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let broken = CancellationToken::new();
            state.carried.push((self.id, id, broken.clone()));
            (store, broken, state.garbled.remove(&(self.id, id)))
        };
        let (near, outer) = duplex(64 << 10);
        let (inner, far) = duplex(64 << 10);
        tokio::spawn(carry(outer, inner, broken, limit));
        let from = self.id;
        tokio::spawn(async move {
            // Why it ended is what other tests are about.
            let _ = store.serve_peer(far, from).await;
        });
        Ok(Box::new(near))
    }
}

/// Carries bytes until the wire breaks.
async fn carry(outer: DuplexStream, inner: DuplexStream, broken: CancellationToken, limit: Option<usize>) {
    use tokio::io::{AsyncReadExt, copy, split};
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (split(outer), split(inner));
    let limit = limit.map_or(u64::MAX, |limit| limit as u64);
    let mut limited = (&mut from_near).take(limit);
    tokio::select! {
        _ = copy(&mut limited, &mut to_far) => {}
        _ = copy(&mut from_far, &mut to_near) => {}
        () = broken.cancelled() => {}
    }
}

/// Servers with their folders.
pub(super) struct Cluster {
    pub(super) wires: Wires,
    pub(super) stores: BTreeMap<u64, RaftStore>,
    folders: BTreeMap<u64, TempDir>,
    limits: Limits,
}

pub(super) fn server(id: u64) -> Server {
    Server {
        name: format!("server-{id}"),
        peer_address: format!("host-{id}:6443"),
        api_address: format!("host-{id}:6443"),
    }
}

impl Cluster {
    /// One server that begins a cluster, with wires for others.
    pub(super) async fn of_one(limits: Limits) -> Self {
        let (wires, stores, folders) = (Wires::default(), BTreeMap::new(), BTreeMap::new());
        let mut cluster = Self { wires, stores, folders, limits };
        cluster.start(1).await;
        cluster
    }

    pub(super) async fn of_three() -> Self {
        let mut cluster = Self::of_one(SHORT).await;
        cluster.grow(2).await;
        cluster.grow(3).await;
        cluster.voters(&[1, 2, 3]).await;
        cluster
    }

    pub(super) fn options(&self, id: u64) -> Options {
        let connect = Arc::new(Plug { id, wires: self.wires.clone() });
        Options { id, cluster: "test".to_owned(), server: server(id), connect, begin: id == 1 }
    }

    pub(super) fn folder(&self, id: u64) -> &Path {
        self.folders[&id].path()
    }

    /// Starts a server, with what it had before.
    pub(super) async fn start(&mut self, id: u64) -> RaftStore {
        self.start_as(self.options(id)).await
    }

    pub(super) async fn start_as(&mut self, options: Options) -> RaftStore {
        let id = options.id;
        let folder = self.folders.entry(id).or_insert_with(|| tempfile::tempdir().unwrap());
        // Whoever served a peer of the one before may hold it a moment longer.
        let store = eventually(|| RaftStore::open_limited(folder.path(), options.clone(), self.limits)).await;
        self.wires.0.lock().servers.insert(id, store.clone());
        self.stores.insert(id, store.clone());
        store
    }

    /// Starts a new server and adds it.
    pub(super) async fn grow(&mut self, id: u64) -> RaftStore {
        let store = self.start(id).await;
        let other = self.stores.values().find(|other| other.id() != id).unwrap();
        other.add_learner(id, server(id)).await.unwrap();
        store
    }

    /// Ends a server as a crash would, as far as others see: nothing is handed over.
    pub(super) async fn kill(&mut self, id: u64) {
        let dying = self.cut_off(id);
        self.bury(dying).await;
    }

    /// Ends a server as it should be ended.
    pub(super) async fn stop(&mut self, id: u64) {
        self.stores.remove(&id).unwrap().close().await;
        self.wires.end(id);
    }

    /// From now on nobody hears the server any more, nor can reach it.
    pub(super) fn cut_off(&mut self, id: u64) -> RaftStore {
        self.wires.end(id);
        let others: Vec<u64> = self.stores.keys().copied().filter(|other| *other != id).collect();
        self.wires.isolate(id, &others);
        self.stores.remove(&id).unwrap()
    }

    /// Ends a server that was cut off.
    pub(super) async fn bury(&mut self, dying: RaftStore) {
        dying.close().await;
        self.wires.heal();
    }

    /// Ends a server and forgets what it had.
    pub(super) async fn wipe(&mut self, id: u64) {
        self.kill(id).await;
        self.folders.remove(&id);
    }

    pub(super) fn any(&self) -> &RaftStore {
        self.stores.values().next().unwrap()
    }

    /// Waits until a server says who leads.
    pub(super) async fn leader_of(&self, id: u64, wanted: impl Fn(&Member) -> bool) -> Member {
        let mut leader = self.stores[&id].leader();
        let found = leader.wait_for(|leader| leader.as_ref().is_some_and(&wanted));
        timeout(DEADLINE, found).await.expect("a leader").unwrap().clone().unwrap()
    }

    /// The server that leads, as one says.
    pub(super) async fn leader(&self) -> u64 {
        let id = *self.stores.keys().next().unwrap();
        let alive: BTreeSet<u64> = self.stores.keys().copied().collect();
        self.leader_of(id, |leader| alive.contains(&leader.id)).await.id
    }

    /// Waits until all servers know that exactly these vote.
    pub(super) async fn voters(&self, wanted: &[u64]) {
        for store in self.stores.values() {
            let voters = || -> Vec<u64> {
                store.members().iter().filter(|member| member.voter).map(|member| member.id).collect()
            };
            let metrics = store.raft.wait(Some(DEADLINE));
            let reached = metrics.metrics(
                |metrics| {
                    metrics.membership_config.voter_ids().eq(wanted.iter().copied())
                        && metrics.membership_config.membership().get_joint_config().len() == 1
                },
                "voters",
            );
            reached.await.unwrap_or_else(|error| panic!("{:?} vote, not {wanted:?}: {error}", voters()));
        }
    }

    /// Waits until all servers hold the same.
    pub(super) async fn agree(&self) {
        let expected = all(self.any()).await.unwrap();
        for store in self.stores.values() {
            let found = all(store).await.unwrap();
            let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            assert!(
                found.len() == expected.len() && differs.is_none(),
                "server {}: {} keys, {differs:?}",
                store.id(),
                found.len()
            );
        }
    }

    pub(super) async fn close(self) {
        futures::future::join_all(self.stores.values().map(RaftStore::close)).await;
    }
}

/// Tries until it succeeds.
pub(super) async fn eventually<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(what: impl Fn() -> F) -> T {
    let begin = Instant::now();
    loop {
        match what().await {
            Ok(done) => return done,
            Err(error) => assert!(begin.elapsed() < DEADLINE, "{error}"),
        }
    }
}

pub(super) async fn put_somehow(store: &RaftStore, key: &str, value: &str) -> TxnResponse {
    eventually(|| put(store, key, value)).await
}

pub(super) fn is_unknown<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::UnknownOutcome(_)))
}
