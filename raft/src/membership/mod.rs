//! Changing who belongs to the cluster. Any server takes the request, the leader decides it: only it knows who is alive
//! and who has caught up.

mod plan;

use std::{collections::BTreeSet, time::Duration};

use openraft::{
    ChangeMembers, Instant,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, RaftError},
};
use storage::StoreError;
use tokio::time::timeout;

pub(crate) use self::plan::{Change, Cluster};
use crate::{
    Member, RaftStore, Server,
    forward::{Again, Request},
    leader::DEAF,
    member::members,
    network::{Answer, Lane, json, kind},
};

/// How long a change may take: two entries, decided one after the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new leader may take to begin.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// How many entries a learner may be behind and yet be ready: it takes the rest while the change is decided.
const NEARLY: u64 = 256;

impl RaftStore {
    /// All members, as this server knows them.
    pub fn members(&self) -> Vec<Member> {
        let server = self.raft.server_metrics();
        let server = server.borrow_watched();
        members(&server.membership_config, server.current_leader)
    }

    /// A number that no server has or had, as far as this one knows.
    pub fn free_id(&self) -> u64 {
        let members = self.members().into_iter().map(|member| member.id);
        members.chain(self.local.removed.all()).max().unwrap_or(0) + 1
    }

    /// Takes a server into the cluster: it gets a copy of everything, and votes when it has caught up and the number of
    /// voters stays odd.
    ///
    /// # Errors
    /// When the number or the address is taken, or the number was a removed server's.
    pub async fn add_learner(&self, id: u64, server: Server) -> Result<(), StoreError> {
        self.change(Change::Add { id, server }).await
    }

    /// Lets a learner vote now; with `force` also when the number of voters becomes even.
    ///
    /// # Errors
    /// When it has not caught up, when the quorum would be lost, or the number would be even.
    pub async fn promote(&self, id: u64, force: bool) -> Result<(), StoreError> {
        self.change(Change::Promote { ids: BTreeSet::from([id]), force }).await
    }

    /// Removes a server for good: its number never comes back.
    ///
    /// # Errors
    /// When the quorum would be lost without it.
    pub async fn remove(&self, id: u64) -> Result<(), StoreError> {
        self.change(Change::Remove { id }).await
    }

    /// Lets another server lead; returns when it does.
    ///
    /// # Errors
    /// When it does not vote, does not answer, or did not take over in time.
    pub async fn transfer_leader(&self, id: u64) -> Result<(), StoreError> {
        self.change(Change::Transfer { id }).await
    }

    pub(crate) async fn change(&self, change: Change) -> Result<(), StoreError> {
        let request = Request {
            lane: Lane::Quick,
            kind: kind::CHANGE,
            body: || json(&change),
            answer: |_| Ok(()),
            patience: PATIENCE + TAKE_OVER,
            again: Again::UntilSent,
        };
        self.at_leader(|| self.change_here(&change), request).await
    }

    /// Makes a change that another server was asked for.
    pub(crate) async fn change_for_peer(&self, change: Change) -> Answer {
        match self.change_here(&change).await {
            Ok(()) => Answer::Done(Vec::new().into()),
            Err(answer) => answer,
        }
    }

    /// Makes a change as the leader.
    async fn change_here(&self, change: &Change) -> Result<(), Answer> {
        // One after the other: each is checked against what the one before left.
        let _only = self.changing.lock().await;
        let Some(cluster) = self.cluster() else { return Err(Answer::Elsewhere(None)) };
        if cluster.has(change) {
            return Ok(());
        }
        cluster.check(change).map_err(Answer::Invalid)?;
        let changes = match change {
            Change::Add { id, server } => ChangeMembers::AddNodes([(*id, server.clone())].into()),
            Change::Update { id, server } => ChangeMembers::SetNodes([(*id, server.clone())].into()),
            Change::Promote { ids, .. } => ChangeMembers::AddVoterIds(ids.clone()),
            Change::Remove { id } if cluster.voters.contains(id) => ChangeMembers::RemoveVoters([*id].into()),
            Change::Remove { id } => ChangeMembers::RemoveNodes([*id].into()),
            Change::Transfer { id } => return self.hand_over(*id).await,
        };
        self.change_members(changes).await
    }

    async fn change_members(&self, changes: ChangeMembers<u64, Server>) -> Result<(), Answer> {
        // Who does not vote any more is no learner either.
        let changed = timeout(PATIENCE, self.raft.change_membership(changes, false)).await;
        let changed =
            changed.map_err(|_| Answer::Unknown(format!("no quorum has decided it for {} s", PATIENCE.as_secs())))?;
        changed.map(drop).map_err(|error| match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => Answer::Elsewhere(to.leader_id),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                Answer::Unavailable(error.to_string())
            }
            RaftError::APIError(error) => Answer::Unknown(error.to_string()),
            RaftError::Fatal(fatal) => Answer::Unknown(self.failure.or(&fatal).to_string()),
        })
    }

    /// Hands the lead over; returns when it is taken.
    pub(crate) async fn hand_over(&self, id: u64) -> Result<(), Answer> {
        if id == self.id() {
            return Ok(());
        }
        let failed = |error: &dyn std::error::Error| Answer::Unavailable(self.failure.or(error).to_string());
        self.raft.trigger().transfer_leader(id).await.map_err(|error| failed(&error))?;
        let taken = self.raft.wait(Some(TAKE_OVER)).current_leader(id, "handing over").await;
        taken
            .map(drop)
            .map_err(|_| Answer::Unavailable(format!("server {id} did not take over in {} s", TAKE_OVER.as_secs())))
    }

    /// The cluster as this server sees it, if it leads.
    pub(crate) fn cluster(&self) -> Option<Cluster> {
        let server = self.raft.server_metrics().borrow_watched().clone();
        let data = self.raft.data_metrics().borrow_watched().clone();
        // A leader that has not applied what was before it does not know who was removed.
        let ready = self.leadership.own.borrow().is_some();
        let (heard, progress) = (data.heartbeat.filter(|_| ready)?, data.replication?);
        let membership = server.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let lately = |id: &u64| heard.get(id).copied().flatten().is_some_and(|at| at.into_inner().elapsed() < DEAF);
        let alive: BTreeSet<u64> =
            membership.nodes().map(|(id, _)| *id).filter(|id| *id == self.id() || lately(id)).collect();
        let last = data.last_log.map_or(0, |last| last.index);
        let near = |id: &u64| progress.get(id).copied().flatten().is_some_and(|log| log.index + NEARLY >= last);
        let ready = alive.iter().copied().filter(|id| !voters.contains(id) && near(id)).collect();
        Some(Cluster {
            nodes: membership.nodes().map(|(id, server)| (*id, server.clone())).collect(),
            voters,
            removed: self.local.removed.all(),
            alive,
            ready,
            changing: membership.get_joint_config().len() > 1
                || server.membership_config.log_id() != server.committed_membership_config.log_id(),
        })
    }

    /// Lets learners vote that are ready.
    pub(crate) async fn promote_ready(&self) {
        let ids = self.cluster().map(|cluster| cluster.to_promote()).unwrap_or_default();
        if ids.is_empty() {
            return;
        }
        tracing::info!(servers = ?ids, "they have caught up and vote from now on");
        if let Err(answer) = self.change_here(&Change::Promote { ids, force: false }).await {
            tracing::warn!(?answer, "they cannot vote yet, it is tried again");
        }
    }

    /// Finishes a change that the leader before left half done.
    pub(crate) async fn finish_change(&self) {
        let Ok(_only) = self.changing.try_lock() else { return };
        if let Err(answer) = self.change_members(ChangeMembers::AddVoterIds(BTreeSet::new())).await {
            tracing::warn!(?answer, "a change of the members is half done, it is tried again");
        }
    }

    /// Tells the cluster how this server is reached, when that has changed since it was told.
    pub(crate) async fn introduce(self, server: Server) {
        let mut leader = self.leadership.leader.subscribe();
        loop {
            let told = self.members().into_iter().find(|member| member.id == self.id());
            match told {
                Some(told) if told.server == server => return,
                Some(_) => match self.change(Change::Update { id: self.id(), server: server.clone() }).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(%error, "the cluster cannot be told the new address of this server yet")
                    }
                },
                None => {}
            }
            if leader.changed().await.is_err() {
                return;
            }
        }
    }
}
