//! The store that the API server sees.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use component_base::Tasks;
use openraft::{
    BasicNode, Config, ReadPolicy, ServerState, SnapshotPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError},
};
use storage::{
    Command, Keyspace, Outcome, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse, WatchRequest,
    WatchStream, open_database,
};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::task::TaskTracker;

use crate::{
    TypeConfig, duties,
    error::Failure,
    log::{LOG, LogStore},
    machine::StateMachine,
    network::NoPeers,
    records::RAFT,
    types::Raft,
};

/// The number of the server that begins a cluster.
const FIRST_SERVER: u64 = 1;
/// What is kept. The history is kube-apiserver's: clients resume watches and page through lists for that long.
const LIMITS: Limits = Limits { per_snapshot: 5000, kept: 1000, history: Duration::from_secs(300) };
/// How many forgotten versions are taken off the disk in one step.
const RECLAIM_AT_ONCE: usize = 4096;

/// What bounds the log, and so what a start has to read; and how long the past stays readable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// After how many entries a snapshot is taken and the log purged. A snapshot costs nothing.
    pub(crate) per_snapshot: u64,
    /// How many entries stay in the log for peers that are a little behind.
    pub(crate) kept: u64,
    /// How long a version stays readable at least after it was replaced.
    pub(crate) history: Duration,
}

/// The replicated store of this server; clones share it.
#[derive(Clone)]
pub struct RaftStore {
    pub(crate) raft: Raft,
    pub(crate) keyspace: Keyspace,
    failure: Failure,
    tasks: Tasks,
    /// Who uses the database: openraft for as long as it holds log or state machine, and reads under way.
    open: TaskTracker,
}

impl std::fmt::Debug for RaftStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("RaftStore").field(self.keyspace.database()).finish()
    }
}

impl RaftStore {
    /// Opens the store in the folder `path`, and begins a cluster of one server when there is none in it. Returns when
    /// everything that was ever acknowledged can be read.
    ///
    /// # Errors
    /// When the disk refuses, or what is on it is damaged: then the error names the file or record.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_limited(path, LIMITS).await
    }

    pub(crate) async fn open_limited(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let (failure, open) = (Failure::default(), TaskTracker::new());
        let (leases, lease_changes) = mpsc::unbounded_channel();
        let opening = {
            let (path, failure, open) = (path.to_owned(), failure.clone(), open.clone());
            move || {
                let database = open_database(&path, &[LOG, RAFT])?;
                let keyspace = Keyspace::open(database.clone())?;
                let log = LogStore::open(database, failure.clone(), open.token())?;
                let machine = StateMachine::open(keyspace.clone(), leases, failure, open.token())?;
                same_length(&path, &log, &machine)?;
                Ok::<_, StoreError>((keyspace, log, machine))
            }
        };
        let (keyspace, log, machine) = spawn_blocking(opening)
            .await
            .map_err(|error| StoreError::Unavailable(format!("opening it was broken off: {error}")))??;
        let raft = Raft::new(FIRST_SERVER, Arc::new(config(limits)), NoPeers, log, machine).await;
        let raft = raft.map_err(|error| failure.or(&error))?;
        let store = Self { raft, keyspace, failure, tasks: Tasks::new(), open };
        if let Err(error) = store.begin(limits).await {
            store.close().await;
            return Err(error);
        }
        let duties = duties::run(store.raft.clone(), store.keyspace.clone(), lease_changes, limits.history);
        store.tasks.spawn("raft-duties", duties);
        store.tasks.spawn("raft-reclaim", reclaim(store.keyspace.clone(), store.open.clone()));
        Ok(store)
    }

    /// Makes a new server a cluster, and a server alone its leader, without waiting for a timer.
    async fn begin(&self, limits: Limits) -> Result<(), StoreError> {
        let stopped = |error: &dyn std::error::Error| self.failure.or(error);
        if !self.raft.is_initialized().await.map_err(|error| stopped(&error))? {
            let members = BTreeMap::from([(FIRST_SERVER, BasicNode::default())]);
            self.raft.initialize(members).await.map_err(|error| stopped(&error))?;
        }
        let alone = self.raft.with_raft_state(|state| {
            let voters: Vec<u64> = state.membership_state.effective().voter_ids().collect();
            (voters == [FIRST_SERVER], state.server_state == ServerState::Leader)
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

    /// Returns when the store has failed for good, with the reason: writes are refused from then on.
    pub async fn failed(&self) -> StoreError {
        self.failure.noted().await
    }

    /// Ends watches, then Raft; returns when everything is on the disk. Requests after it fail.
    pub async fn close(&self) {
        self.keyspace.close();
        self.tasks.drain().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft ended with a panic");
        }
        self.open.close();
        self.open.wait().await;
    }

    /// Has a command decided, made durable and applied.
    async fn propose(&self, command: Command) -> Result<Outcome, StoreError> {
        command.check()?;
        let outcome = self.raft.client_write(command).await.map_err(|error| self.explain(error))?.data;
        match outcome {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    fn explain(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> StoreError {
        match error {
            RaftError::Fatal(fatal) => self.failure.or(&fatal),
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => elsewhere(&to),
            RaftError::APIError(error) => StoreError::Unavailable(error.to_string()),
        }
    }

    /// Returns when everything that was acknowledged before the call can be read here. A server alone is always there.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let alone = {
            let server = self.raft.server_metrics();
            let server = server.borrow_watched();
            server.membership_config.membership().voter_ids().eq([FIRST_SERVER])
        };
        if alone {
            return Ok(());
        }
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        read.map(|_| ()).map_err(|error| match error {
            RaftError::Fatal(fatal) => self.failure.or(&fatal),
            RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => elsewhere(&to),
            RaftError::APIError(error) => StoreError::Unavailable(error.to_string()),
        })
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

fn elsewhere(to: &ForwardToLeader<TypeConfig>) -> StoreError {
    StoreError::Unavailable(match to.leader_id {
        Some(leader) => format!("server {leader} leads, not this one"),
        None => "no server leads at present".to_owned(),
    })
}

fn unexpected(outcome: &Outcome) -> StoreError {
    StoreError::Unavailable(format!("a request came to {outcome}"))
}

fn config(limits: Limits) -> Config {
    Config {
        cluster_name: "coracle".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.per_snapshot),
        max_in_snapshot_log_to_keep: limits.kept,
        enable_pre_vote: Some(true),
        // Switched on when there are peers, see `duties`.
        enable_tick: false,
        ..Config::default()
    }
}

/// A server alone never takes a snapshot from another, so its log reaches at least as far as its keyspace.
fn same_length(path: &Path, log: &LogStore, machine: &StateMachine) -> Result<(), StoreError> {
    let (applied, membership) = machine.applied();
    let alone = membership.membership().voter_ids().eq([FIRST_SERVER]);
    if !alone || applied <= log.last() {
        return Ok(());
    }
    let end = |id: Option<crate::types::LogId>| id.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
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

    fn compacted_revision(&self) -> u64 {
        self.keyspace.compacted_revision()
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        // Never shorter than asked for.
        let ttl_seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        match self.propose(Command::LeaseGrant { ttl_seconds }).await? {
            Outcome::Granted(lease) => Ok(lease.id),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError> {
        self.propose(Command::LeaseRevoke { id }).await.map(|_| ())
    }
}
