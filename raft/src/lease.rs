//! What only the one who measures time can say of leases: the leader. Keeping a lease alive is nothing that the log has to
//! know.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::{Command, Lease, Outcome, StoreError};
use tokio::sync::oneshot;

use crate::{
    RaftStore,
    forward::{Again, Request},
    network::{Answer, Lane, json, kind},
    store::{unexpected, whole_seconds},
};

/// How long the leader may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked of the one who measures leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// That the lease's time begins anew.
    KeepAlive,
    /// How long it lives yet.
    Remaining,
}

/// A wish about a lease.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) id: i64,
    pub(crate) wish: Wish,
}

/// A wish, and who waits for its answer: how long the lease lives, or that there is none. It is dropped unanswered when
/// another server measures leases.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) answer: oneshot::Sender<Option<Duration>>,
}

impl RaftStore {
    /// Grants a lease under a number, or under the next free one when that is 0.
    pub(crate) async fn grant(&self, id: i64, ttl: Duration) -> Result<Lease, StoreError> {
        match self.propose(Command::LeaseGrant { id, ttl_seconds: whole_seconds(ttl) }).await? {
            Outcome::Granted(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks whoever measures leases.
    pub(crate) async fn wish(&self, id: i64, wish: Wish) -> Result<Duration, StoreError> {
        let question = Question { id, wish };
        let request = Request {
            lane: Lane::Quick,
            kind: kind::LEASE,
            body: || json(&question),
            answer: |body: Bytes| {
                serde_json::from_slice(&body)
                    .map_err(|error| StoreError::Unavailable(format!("an answer about a lease: {error}")))
            },
            patience: PATIENCE,
            // That a lease lives longer than was known harms nobody.
            again: Again::Always,
        };
        let lives: Option<Duration> = self.at_leader(|| self.wish_here(question), request).await?;
        lives.ok_or(StoreError::LeaseNotFound(id))
    }

    async fn wish_here(&self, question: Question) -> Result<Option<Duration>, Answer> {
        // A leader that hears no quorum may have a successor that has ended the lease.
        self.catch_up_here().await?;
        let (answer, lives) = oneshot::channel();
        self.asks.send(Ask { question, answer }).map_err(|_| Answer::Unavailable("the store closes".to_owned()))?;
        lives.await.map_err(|_| Answer::Elsewhere(None))
    }

    /// Answers another server.
    pub(crate) async fn wish_for_peer(&self, question: Question) -> Answer {
        match self.wish_here(question).await {
            Ok(lives) => Answer::json(&lives),
            Err(answer) => answer,
        }
    }
}
