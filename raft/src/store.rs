//! The store that the API server sees.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use component_base::Tasks;
use openraft::{Config, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use storage::{
    Command, Database, Keyspace, Lease, Outcome, RangeRequest, RangeResponse, SharedStore, Store, StoreError, Txn,
    TxnResponse, WatchRequest, WatchStream, open_database,
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Connect, Member, PeerError, PeerStream, Server, duties,
    error::Failure,
    fence::Fenced,
    leader::{self, Leadership},
    lease::{Ask, Wish},
    log::{LOG, LogStore},
    machine::{Published, StateMachine},
    network::{self, Identity, Local, Network, Peers},
    records::{self, IDENTITY, INSTALLED, MEMBERSHIP, RAFT, VOTE},
    types::{LogId, Raft, StoredMembership, Vote},
};

/// The number of the server that began a cluster before servers had numbers on the disk.
const FIRST_SERVER: u64 = 1;
/// What is kept. The history is kube-apiserver's: clients resume watches and page through lists for that long.
const LIMITS: Limits = Limits { per_snapshot: 5000, kept: 5000, history: Duration::from_secs(300) };
/// How many forgotten versions are taken off the disk in one step.
const RECLAIM_AT_ONCE: usize = 4096;
/// How long the requests of other servers may take when the store closes.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How often the leader is heard, in milliseconds.
const HEARTBEAT: u64 = 100;
/// For how long nobody else is elected after the leader was heard is the greater of these; then each server waits between
/// the two, so that a lost leader is replaced within 700 ms and the time for votes.
const ELECTION: (u64, u64) = (200, 350);

/// What bounds the log, and so what a start has to read; and how long the past stays readable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// After how many entries a snapshot is taken and the log purged. A snapshot costs nothing.
    pub(crate) per_snapshot: u64,
    /// How many entries stay in the log for peers that are a little behind, or are just taking a snapshot.
    pub(crate) kept: u64,
    /// How long a version stays readable at least after it was replaced.
    pub(crate) history: Duration,
}

/// Which server of which cluster a store is, and how it reaches the others.
#[derive(Clone)]
pub struct Options {
    /// The number of this server, given by the cluster and never given again.
    pub id: u64,
    /// Which cluster: made at random by whoever begins it.
    pub cluster: String,
    /// How others reach this server.
    pub server: Server,
    /// How this server reaches others.
    pub connect: Arc<dyn Connect>,
    /// Whether an empty store begins a cluster of one; else it waits to be added to one.
    pub begin: bool,
}

/// The replicated store of this server; clones share it.
#[derive(Clone)]
pub struct RaftStore {
    pub(crate) raft: Raft,
    pub(crate) keyspace: Keyspace,
    pub(crate) failure: Failure,
    pub(crate) local: Arc<Local>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) leadership: Leadership,
    /// Held while the leader changes the membership.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    /// To whoever measures leases.
    pub(crate) asks: mpsc::UnboundedSender<Ask>,
    tasks: Tasks,
    /// Who uses the database: openraft for as long as it holds log or state machine, reads under way, and peers.
    pub(crate) open: TaskTracker,
}

impl std::fmt::Debug for RaftStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("RaftStore").field(self.keyspace.database()).finish()
    }
}

impl RaftStore {
    /// Opens the store in the folder `path`. An empty one begins a cluster of one server or waits to be added to one, as
    /// the options say. A server that alone votes returns when everything that was ever acknowledged can be read; one with
    /// peers returns at once, and reads and writes wait for a leader.
    ///
    /// # Errors
    /// When the disk refuses, what is on it is damaged (then the error names the file or record), or it is the store of
    /// another server or cluster.
    pub async fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        Self::open_limited(path, options, LIMITS).await
    }

    pub(crate) async fn open_limited(path: &Path, options: Options, limits: Limits) -> Result<Self, StoreError> {
        let (failure, open, published) = (Failure::default(), TaskTracker::new(), Published::default());
        let (leases, lease_changes) = mpsc::unbounded_channel();
        let identity = Identity { cluster: options.cluster, id: options.id };
        let incoming = path.join("incoming");
        let opening = {
            let (path, identity, incoming) = (path.to_owned(), identity.clone(), incoming.clone());
            let (failure, open, published) = (failure.clone(), open.clone(), published.clone());
            move || {
                let database = open_database(&path, &[LOG, RAFT])?;
                identify(&database, &identity)?;
                network::clear(&incoming)
                    .map_err(|error| StoreError::Io(format!("{}: {error}", incoming.display())))?;
                let keyspace = Keyspace::open(database.clone())?;
                let log = LogStore::open(database, failure.clone(), published.reach.clone(), open.token())?;
                let machine = StateMachine::open(keyspace.clone(), leases, failure, published, open.token())?;
                same_length(&path, &keyspace, &log, &machine)?;
                Ok::<_, StoreError>((keyspace, log, machine))
            }
        };
        let (keyspace, log, machine) = spawn_blocking(opening)
            .await
            .map_err(|error| StoreError::Unavailable(format!("opening it was broken off: {error}")))??;
        let local = Arc::new(Local {
            identity,
            connect: options.connect,
            removed: published.removed,
            reach: published.reach,
            closing: CancellationToken::new(),
            open: open.clone(),
            answering: TaskTracker::new(),
            serving: TaskTracker::new(),
            incoming,
            receiving: Mutex::default(),
            metrics: watch::Sender::new(None),
        });
        let peers = Arc::new(Peers::new(local.clone()));
        let network = Network { peers: peers.clone() };
        let raft = Raft::new(options.id, Arc::new(config(limits)), network, log, machine).await;
        let raft = raft.map_err(|error| failure.or(&error))?;
        let (asks, asked) = mpsc::unbounded_channel();
        let (leadership, changing, tasks) = (Leadership::new(), Arc::default(), Tasks::new());
        let store = Self { raft, keyspace, failure, local, peers, leadership, changing, asks, tasks, open };
        let (server, data) = (store.raft.server_metrics(), store.raft.data_metrics());
        store.tasks.spawn("raft-leader", leader::tell(options.id, server, data, store.leadership.clone()));
        if let Err(error) = store.begin(options.begin.then_some(&options.server), limits).await {
            store.close().await;
            return Err(error);
        }
        store.tasks.spawn("raft-duties", duties::run(store.clone(), lease_changes, asked, limits.history));
        store.tasks.spawn("raft-reclaim", reclaim(store.keyspace.clone(), store.open.clone()));
        store.tasks.spawn("raft-introduction", store.clone().introduce(options.server));
        Ok(store)
    }

    /// Makes a new server a cluster, and a server alone its leader, without waiting for a timer.
    async fn begin(&self, first: Option<&Server>, limits: Limits) -> Result<(), StoreError> {
        let stopped = |error: &dyn std::error::Error| self.failure.or(error);
        let begun = self.raft.is_initialized().await.map_err(|error| stopped(&error))?;
        // Raft runs and has told what it found.
        self.local.metrics.send_replace(Some((self.raft.server_metrics(), self.raft.data_metrics())));
        if let Some(first) = first.filter(|_| !begun) {
            let members = BTreeMap::from([(self.id(), first.clone())]);
            self.raft.initialize(members).await.map_err(|error| stopped(&error))?;
        }
        let id = self.id();
        let alone = self.raft.with_raft_state(move |state| {
            let voters: Vec<u64> = state.membership_state.effective().voter_ids().collect();
            (voters == [id], state.server_state == ServerState::Leader)
        });
        let (alone, leads) = alone.await.map_err(|error| stopped(&error))?;
        if !alone {
            return Ok(());
        }
        if !leads {
            self.raft.trigger().elect(false).await.map_err(|error| stopped(&error))?;
        }
        let recovered = self.raft.wait_for_recovery(None).await.map_err(|error| stopped(&error))?;
        // Snapshots count from the start, so a server that restarts often has to look at what it had before.
        let applied = recovered.last_applied.map_or(0, |last| last.index);
        let purged = recovered.purged.map_or(0, |last| last.index);
        if applied.saturating_sub(purged) > limits.per_snapshot + limits.kept {
            self.raft.trigger().purge_log(applied - limits.kept).await.map_err(|error| stopped(&error))?;
        }
        Ok(())
    }

    /// The number of this server.
    pub fn id(&self) -> u64 {
        self.local.identity.id
    }

    /// The keyspace of this server as it is: what was acknowledged elsewhere may not have come here yet.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Who leads, as far as this server knows.
    pub fn leader(&self) -> watch::Receiver<Option<Member>> {
        self.leadership.leader.subscribe()
    }

    /// The term in which this server leads: from when it has applied everything that was committed before that term, until
    /// it has not heard from a quorum for so long that another may lead.
    pub fn leadership(&self) -> watch::Receiver<Option<u64>> {
        self.leadership.own.subscribe()
    }

    /// Who belongs to the cluster, as far as this server knows.
    pub fn membership(&self) -> watch::Receiver<Vec<Member>> {
        self.leadership.members.subscribe()
    }

    /// This store for whoever acts because this server leads in `term`: it writes only while that is so, and is refused
    /// after.
    pub fn fenced(&self, term: u64) -> SharedStore {
        Arc::new(Fenced { store: self.clone(), term })
    }

    /// Serves one connection of server `from`, who was authenticated as that, until it ends.
    ///
    /// # Errors
    /// When the two do not belong together, the other side does not speak as a server does, or the connection breaks.
    pub async fn serve_peer(&self, stream: impl PeerStream + 'static, from: u64) -> Result<(), PeerError> {
        let serving = network::serve(self.clone(), Box::new(stream), from);
        self.open.track_future(self.local.serving.track_future(serving)).await
    }

    /// Returns when the store has failed for good, with the reason: writes are refused from then on.
    pub async fn failed(&self) -> StoreError {
        self.failure.noted().await
    }

    /// Hands the lead over where there still is one to hand, ends watches, then Raft; returns when everything is on the disk.
    /// Requests after it fail.
    pub async fn close(&self) {
        self.resign().await;
        // What other servers have asked for is decided while Raft still hears of it: else they would not know what came of it.
        self.local.answering.close();
        if timeout(LAST_ANSWERS, self.local.answering.wait()).await.is_err() {
            tracing::warn!("requests of other servers are left undecided");
        }
        self.local.closing.cancel();
        self.local.serving.close();
        self.local.serving.wait().await;
        self.keyspace.close();
        self.tasks.drain().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft ended with a panic");
        }
        self.open.close();
        self.open.wait().await;
    }

    /// A leader that goes lets another lead, so that nobody has to notice first that it is gone. Best while others still
    /// reach this server: it goes on until it hears from the one that follows.
    pub async fn resign(&self) {
        let Some(cluster) = self.cluster().filter(|_| self.leads()) else { return };
        let heir = cluster.voters.iter().copied().find(|id| *id != self.id() && cluster.alive.contains(id));
        if let Some(heir) = heir
            && let Err(answer) = self.hand_over(heir).await
        {
            tracing::warn!(?answer, heir, "the lead was not taken over");
        }
    }

    /// Reads where it may wait for the disk.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Keyspace) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.catch_up().await?;
        let keyspace = self.keyspace.clone();
        let read = self.open.spawn_blocking(move || read(&keyspace)).await;
        read.map_err(|error| StoreError::Unavailable(format!("a read was broken off: {error}")))?
    }
}

pub(crate) fn unexpected(outcome: &Outcome) -> StoreError {
    StoreError::Unavailable(format!("a request came to {outcome}"))
}

/// Never shorter than asked for.
pub(crate) fn whole_seconds(ttl: Duration) -> u64 {
    ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)
}

fn config(limits: Limits) -> Config {
    Config {
        cluster_name: "coracle".to_owned(),
        heartbeat_interval: HEARTBEAT,
        election_timeout_min: ELECTION.0,
        election_timeout_max: ELECTION.1,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.per_snapshot),
        max_in_snapshot_log_to_keep: limits.kept,
        enable_pre_vote: Some(true),
        // Switched on when there are peers, see `duties`.
        enable_tick: false,
        ..Config::default()
    }
}

/// Keeps in the store whose it is, and refuses that of another.
fn identify(database: &Database, own: &Identity) -> Result<(), StoreError> {
    let of = |identity: &Identity| format!("server {} of cluster {:?}", identity.id, identity.cluster);
    let found = match records::read(database, IDENTITY)? {
        Some(found) => Some(found),
        None => {
            let membership: Option<StoredMembership> = records::read(database, MEMBERSHIP)?;
            let vote: Option<Vote> = records::read(database, VOTE)?;
            // Before servers had numbers on the disk there was one.
            (membership.is_some() || vote.is_some()).then(|| Identity { id: FIRST_SERVER, ..own.clone() })
        }
    };
    match found {
        Some(found) if found != *own => {
            let path = database.path().display();
            Err(StoreError::Invalid(format!("the store in {path} is that of {}, this is {}", of(&found), of(own))))
        }
        _ => {
            let mut batch = rocksdb::WriteBatch::default();
            records::put(database, &mut batch, IDENTITY, own);
            database.write_synced(batch)
        }
    }
}

/// What is applied was in the log once: the log reaches at least as far as the keyspace, or the keyspace came from another
/// server and the log begins behind it.
fn same_length(path: &Path, keyspace: &Keyspace, log: &LogStore, machine: &StateMachine) -> Result<(), StoreError> {
    let applied = machine.applied();
    let installed: Option<LogId> = records::read(keyspace.database(), INSTALLED)?.flatten();
    if applied <= log.last().max(installed) {
        return Ok(());
    }
    let end = |id: Option<LogId>| id.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
    Err(StoreError::Corrupt {
        file: format!("the Raft log in {}", path.display()),
        message: format!("it ends at {}, but {} is applied", end(log.last()), end(applied)),
    })
}

/// Takes forgotten versions off the disk: those of the last run, then whenever history is compacted.
async fn reclaim(keyspace: Keyspace, open: TaskTracker) {
    let mut compactions = keyspace.compactions();
    loop {
        compactions.mark_unchanged();
        loop {
            let keyspace = keyspace.clone();
            match open.spawn_blocking(move || keyspace.reclaim(RECLAIM_AT_ONCE)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                Ok(Err(error)) => {
                    tracing::error!(%error, "forgotten versions cannot be deleted");
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "deleting forgotten versions was broken off");
                    break;
                }
            }
        }
        if compactions.changed().await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Store for RaftStore {
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        if txn.is_read_only() {
            return self.reading(move |keyspace| keyspace.read_txn(&txn)).await;
        }
        match self.propose(Command::Txn(txn)).await? {
            Outcome::Txn(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.reading(move |keyspace| keyspace.range(&request)).await
    }

    fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.keyspace.watch(request)
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.propose(Command::Compact { revision }).await.map(|_| ())
    }

    fn revision(&self) -> u64 {
        self.keyspace.revision()
    }

    async fn current_revision(&self) -> Result<u64, StoreError> {
        self.catch_up().await?;
        Ok(self.keyspace.revision())
    }

    fn compacted_revision(&self) -> u64 {
        self.keyspace.compacted_revision()
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        self.grant(0, ttl).await.map(|lease| lease.id)
    }

    async fn lease_grant_as(&self, id: i64, ttl: Duration) -> Result<Lease, StoreError> {
        self.grant(id, ttl).await
    }

    async fn lease_keep_alive(&self, id: i64) -> Result<Duration, StoreError> {
        self.wish(id, Wish::KeepAlive).await
    }

    async fn lease_remaining(&self, id: i64) -> Result<Duration, StoreError> {
        self.wish(id, Wish::Remaining).await
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError> {
        self.propose(Command::LeaseRevoke { id }).await.map(|_| ())
    }
}
