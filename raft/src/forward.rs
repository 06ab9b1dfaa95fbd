//! What the leader must decide, wherever it is asked for.
//!
//! A write is proposed here when this server leads, else sent to the one that does. While it is certain that nothing
//! happened (no server leads, the one asked does not) it waits for a leader and tries again, for a bounded time. From the
//! moment that a proposal is on its way nothing is certain any more until it is answered: then whoever asked is told that
//! the outcome is unknown, and nothing is tried again.

use std::time::Duration;

use bytes::{Buf, Bytes};
use openraft::{
    LinearizerOption, ReadPolicy, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
    impls::ProgressResponder,
};
use storage::{Command, Outcome, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    Member, RaftStore,
    network::{Answer, CallError, Lane, kind},
    types::LeaderId,
};

/// How long to wait for a leader: the time of two elections that came to nothing and a third.
const LEADERLESS: Duration = Duration::from_secs(3);
/// How long a proposal may be undecided.
const UNDECIDED: Duration = Duration::from_secs(7);
/// How long the leader may take to say up to where to read: it asks a quorum.
const READ: Duration = Duration::from_secs(1);
/// How long an answer may still be on its way from a server that leads no more.
const DEPOSED: Duration = Duration::from_millis(500);
/// How long to wait until the same server is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Why a proposal was not made, or not here.
pub(crate) enum NotDone {
    /// Nothing happened: another server leads, perhaps this.
    Elsewhere(Option<u64>),
    Failed(StoreError),
}

impl RaftStore {
    /// Has a command decided, made durable and applied.
    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, StoreError> {
        command.check()?;
        let outcome = if self.is_alone() {
            // There is nobody else to ask, and nothing that could be in doubt.
            self.propose_here(command, None).await.map_err(|error| match error {
                NotDone::Elsewhere(_) => StoreError::Unavailable("this server does not lead yet".to_owned()),
                NotDone::Failed(error) => error,
            })?
        } else {
            let request = Request {
                lane: Lane::Wide,
                kind: kind::PROPOSE,
                body: || command.encode().into(),
                answer: |body: Bytes| decode_outcome(&body),
                patience: UNDECIDED,
                again: Again::UntilSent,
            };
            self.at_leader(|| async { Ok(self.propose_here(command.clone(), None).await?) }, request).await?
        };
        match outcome {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// Proposes a command here; with `leader`, only while this server leads as exactly that.
    pub(crate) async fn propose_here(&self, command: Command, leader: Option<LeaderId>) -> Result<Outcome, NotDone> {
        let (responder, done) = ProgressResponder::complete_only();
        let mut write = self.raft.write(command).responder(responder);
        if let Some(leader) = leader {
            write = write.with_leader(leader);
        }
        write.await.map_err(|fatal| NotDone::Failed(self.failure.or(&fatal)))?;
        let done = if self.is_alone() {
            done.await
        } else {
            let late = |_| {
                let text = format!("no quorum has decided it for {} s", UNDECIDED.as_secs());
                NotDone::Failed(StoreError::UnknownOutcome(text))
            };
            timeout(UNDECIDED, done).await.map_err(late)?
        };
        match done {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(ClientWriteError::ForwardToLeader(to))) => Err(NotDone::Elsewhere(to.leader_id)),
            Ok(Err(error @ ClientWriteError::LogEntryDiscarded(_))) => {
                tracing::debug!(%error, "a proposal was overtaken by another leader");
                let text = "another server took the lead before it was decided".to_owned();
                Err(NotDone::Failed(StoreError::UnknownOutcome(text)))
            }
            Ok(Err(error)) => Err(NotDone::Failed(StoreError::Unavailable(error.to_string()))),
            Err(_) => {
                Err(NotDone::Failed(self.failure.get().unwrap_or_else(|| {
                    StoreError::UnknownOutcome("the store stopped before it was decided".to_owned())
                })))
            }
        }
    }

    /// Returns when everything that was acknowledged before the call can be read here. A server alone is always there.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        if self.is_alone() {
            return Ok(());
        }
        let request = Request {
            lane: Lane::Quick,
            kind: kind::READ_INDEX,
            body: Bytes::new,
            answer: |mut body: Bytes| body.try_get_u64().map_err(|error| StoreError::Unavailable(error.to_string())),
            patience: READ,
            again: Again::Always,
        };
        let index = self.at_leader(|| self.read_index(), request).await?;
        self.reached(index).await
    }

    /// Up to where the log must be applied by whoever wants to read now. Never by a lease: a quorum is asked each time.
    async fn read_index(&self) -> Result<u64, Answer> {
        match self.raft.get_read_linearizer(LinearizerOption::from(ReadPolicy::ReadIndex)).await {
            Ok(read) => Ok(read.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(Answer::Elsewhere(to.leader_id))
            }
            // It may be no leader any more: whoever asked looks for one.
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Answer::Elsewhere(None)),
            Err(RaftError::Fatal(fatal)) => Err(Answer::Unavailable(self.failure.or(&fatal).to_string())),
        }
    }

    /// Returns when this server leads, a quorum knows it, and everything that was acknowledged can be read here.
    pub(crate) async fn catch_up_here(&self) -> Result<(), Answer> {
        if self.is_alone() {
            return Ok(());
        }
        let index = self.read_index().await?;
        self.reached(index).await.map_err(|error| Answer::Unavailable(error.to_string()))
    }

    /// Waits until the log is applied up to `index`.
    async fn reached(&self, index: u64) -> Result<(), StoreError> {
        let applied = self.raft.wait(Some(LEADERLESS)).applied_index_at_least(Some(index), "to read").await;
        applied.map(drop).map_err(|error| {
            self.failure.get().unwrap_or_else(|| StoreError::Unavailable(format!("this server is behind: {error}")))
        })
    }

    /// Says another server up to where to read.
    pub(crate) async fn read_index_for_peer(&self) -> Answer {
        match self.read_index().await {
            Ok(index) => Answer::Done(index.to_be_bytes().to_vec().into()),
            Err(answer) => answer,
        }
    }

    /// Decides what another server sent here because this one leads, as it thinks.
    pub(crate) async fn propose_for_peer(&self, command: Command) -> Answer {
        match self.propose_here(command, None).await {
            Ok(outcome) => Answer::Done(outcome.encode().into()),
            Err(error) => error.into(),
        }
    }

    /// Does at the leader, wherever it is, what only it can do: `here`, or by a request.
    pub(crate) async fn at_leader<T, F: Future<Output = Result<T, Answer>>>(
        &self,
        here: impl Fn() -> F,
        request: Request<impl Fn() -> Bytes, impl Fn(Bytes) -> Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let own = self.local.identity.id;
        let until = Instant::now() + LEADERLESS;
        let mut leader = self.leadership.leader.subscribe();
        let mut last = "no server leads at present".to_owned();
        let mut hint = None;
        loop {
            let known = leader.borrow_and_update().as_ref().map(|leader| leader.id);
            // Raft knows first that this server leads.
            let to = hint.take().or_else(|| self.leads().then_some(own)).or(known);
            let done = match to {
                None => Err(Answer::Elsewhere(None)),
                Some(id) if id == own => here().await,
                Some(id) => match self.ask(id, &request, &mut leader).await {
                    Ok(Answer::Done(body)) => return (request.answer)(body),
                    Ok(other) => Err(other),
                    Err(CallError::Broken(why)) if request.again == Again::UntilSent => {
                        return Err(StoreError::UnknownOutcome(format!(
                            "server {id} was asked but did not answer: {why}"
                        )));
                    }
                    Err(CallError::NotSent(why) | CallError::Broken(why)) => {
                        last = format!("server {id} leads, as far as is known, but cannot be asked: {why}");
                        Err(Answer::Elsewhere(None))
                    }
                },
            };
            let failed = || self.failure.get();
            match done {
                Ok(done) => return Ok(done),
                Err(Answer::Unavailable(why)) => return Err(failed().unwrap_or(StoreError::Unavailable(why))),
                Err(Answer::Unknown(why)) => return Err(failed().unwrap_or(StoreError::UnknownOutcome(why))),
                Err(Answer::Invalid(why)) => return Err(StoreError::Invalid(why)),
                Err(Answer::Done(_)) => return Err(StoreError::Unavailable("an answer of another kind".to_owned())),
                Err(Answer::Elsewhere(other)) => hint = other.filter(|other| Some(*other) != to),
            }
            if let Some(error) = failed() {
                return Err(error);
            }
            if Instant::now() >= until {
                return Err(StoreError::Unavailable(last));
            }
            if hint.is_none() {
                tokio::select! {
                    changed = leader.changed() => if changed.is_err() {
                        return Err(StoreError::Unavailable("the store closes".to_owned()));
                    },
                    () = sleep(AGAIN) => {}
                    () = self.local.closing.cancelled() => {
                        return Err(StoreError::Unavailable("the store closes".to_owned()));
                    }
                }
            }
        }
    }

    /// Asks server `id`, as long as it makes sense to wait.
    async fn ask<T>(
        &self,
        id: u64,
        request: &Request<impl Fn() -> Bytes, impl Fn(Bytes) -> Result<T, StoreError>>,
        leader: &mut watch::Receiver<Option<Member>>,
    ) -> Result<Answer, CallError> {
        let server = self.members().into_iter().find(|member| member.id == id);
        let server =
            server.ok_or_else(|| CallError::NotSent("it is no member that this server knows".to_owned()))?.server;
        let until = Instant::now() + request.patience;
        let link = self.peers.get(id, &server).link(request.lane).await;
        let link = link.map_err(|error| CallError::NotSent(error.to_string()))?;
        let mut answer = std::pin::pin!(timeout_at(until, link.call(request.kind, (request.body)())));
        let deposed = async {
            while leader.changed().await.is_ok() {
                if leader.borrow().as_ref().is_some_and(|leader| leader.id != id) {
                    return;
                }
            }
        };
        let late = |_| CallError::Broken(format!("it took longer than {} s", request.patience.as_secs()));
        tokio::select! {
            answer = &mut answer => answer.map_err(late)?,
            // The answer may be on its way: who hands over still answers.
            () = deposed => match timeout(DEPOSED, answer).await {
                Ok(answer) => answer.map_err(late)?,
                Err(_) => Err(CallError::Broken("it leads no more".to_owned())),
            },
        }
    }

    /// Whether this server leads, as Raft knows.
    pub(crate) fn leads(&self) -> bool {
        self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// Whether this server is the one that votes, and leads: what it has decided nobody else has to hear, and what was
    /// decided before it has applied.
    pub(crate) fn is_alone(&self) -> bool {
        self.leadership.own.borrow().is_some()
            && self.raft.server_metrics().borrow_watched().membership_config.voter_ids().eq([self.local.identity.id])
    }
}

/// What is asked of the leader when it is another server.
pub(crate) struct Request<B, A> {
    pub(crate) lane: Lane,
    pub(crate) kind: u8,
    /// Makes the request.
    pub(crate) body: B,
    /// Reads the answer.
    pub(crate) answer: A,
    /// How long to wait for it.
    pub(crate) patience: Duration,
    pub(crate) again: Again,
}

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// While it is certain that nothing happened.
    UntilSent,
    /// Also when it is not: it changes nothing.
    Always,
}

impl From<NotDone> for Answer {
    fn from(error: NotDone) -> Self {
        match error {
            NotDone::Elsewhere(leader) => Self::Elsewhere(leader),
            NotDone::Failed(StoreError::UnknownOutcome(why)) => Self::Unknown(why),
            NotDone::Failed(StoreError::Invalid(why)) => Self::Invalid(why),
            NotDone::Failed(error) => Self::Unavailable(error.to_string()),
        }
    }
}

fn decode_outcome(body: &[u8]) -> Result<Outcome, StoreError> {
    // It was done; only what it came to is lost.
    Outcome::decode(body).map_err(|error| StoreError::UnknownOutcome(format!("its answer cannot be read: {error}")))
}
