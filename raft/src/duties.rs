//! What the server does by its role: the leader ends leases whose time is over, forgets old history and lets learners vote;
//! a server with peers keeps Raft's timers.
//!
//! The time of a lease is measured by the leader's monotonic clock alone, and its end is a command in the log, so that
//! all servers see it alike. Who becomes leader gives every lease its full time again: a lease may live longer than it
//! was granted for, never shorter.

use std::{collections::HashMap, time::Duration};

use futures::{FutureExt, StreamExt, future::join_all};
use openraft::{ServerState, async_runtime::watch::WatchReceiver};
use storage::{Command, Keyspace, Lease};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::time::{DelayQueue, delay_queue};

use crate::{
    RaftStore,
    lease::{Ask, Question, Wish},
    machine::LeaseChange,
    types::Raft,
};

/// Leases by when they end.
#[derive(Default)]
struct Deadlines {
    queue: DelayQueue<i64>,
    keys: HashMap<i64, delay_queue::Key>,
}

impl Deadlines {
    fn begin(&mut self, lease: Lease) {
        self.end(lease.id);
        // The keyspace takes no lease that is longer than the queue can measure.
        let key = self.queue.insert(lease.id, Duration::from_secs(lease.ttl_seconds));
        self.keys.insert(lease.id, key);
    }

    fn end(&mut self, id: i64) {
        if let Some(key) = self.keys.remove(&id) {
            self.queue.remove(&key);
        }
    }

    fn remaining(&self, id: i64) -> Option<Duration> {
        let key = self.keys.get(&id)?;
        Some(self.queue.deadline(key).saturating_duration_since(Instant::now()))
    }

    /// Does what is wished.
    fn answer(&mut self, keyspace: &Keyspace, Question { id, wish }: Question) -> Option<Duration> {
        let lease = keyspace.lease(id).unwrap_or_else(|error| {
            tracing::error!(%error, "a lease cannot be read");
            None
        })?;
        // One that was granted a moment ago may be news yet.
        if wish == Wish::KeepAlive || !self.keys.contains_key(&id) {
            self.begin(lease);
        }
        // The queue measures in whole milliseconds.
        self.remaining(id).map(|remaining| remaining.min(Duration::from_secs(lease.ttl_seconds)))
    }

    fn clear(&mut self) {
        self.queue.clear();
        self.keys.clear();
    }

    /// All leases that are over; waits until there is one.
    async fn over(&mut self) -> Option<Vec<i64>> {
        let mut over = vec![self.queue.next().await?.into_inner()];
        while let Some(Some(more)) = self.queue.next().now_or_never() {
            over.push(more.into_inner());
        }
        for id in &over {
            self.keys.remove(id);
        }
        Some(over)
    }
}

/// How often the leader looks whether learners are ready, while there are any.
const LOOK: Duration = Duration::from_millis(100);
/// After how many looks a change of the members that stands still was left half done.
const PATIENCE: u32 = 10;

/// Runs until Raft ends. `history` is how long the past is kept.
pub(crate) async fn run(
    store: RaftStore,
    mut changes: mpsc::UnboundedReceiver<LeaseChange>,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    history: Duration,
) {
    let (raft, keyspace) = (&store.raft, &store.keyspace);
    let mut ages = interval_at(Instant::now() + history, history);
    ages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut old_enough = 0;
    let mut server = raft.server_metrics();
    let mut deadlines = Deadlines::default();
    let mut leads = false;
    loop {
        let led = leads;
        let (learners, joint);
        {
            let server = server.borrow_watched();
            let membership = server.membership_config.membership();
            leads = server.state == ServerState::Leader;
            learners = membership.learner_ids().next().is_some();
            joint = membership.get_joint_config().len() > 1;
            // Elections and heartbeats are for servers that have somebody to miss, or are the last one left.
            let left = !leads && membership.voter_ids().any(|voter| voter == store.id());
            raft.runtime_config().tick(left || membership.nodes().count() > 1);
        }
        if !leads {
            deadlines.clear();
        } else if !led {
            match keyspace.leases() {
                Ok(leases) => leases.into_iter().for_each(|lease| deadlines.begin(lease)),
                Err(error) => tracing::error!(%error, "leases cannot be read, those granted before will not end"),
            }
        }
        let mut looks = 0;
        loop {
            tokio::select! {
                changed = server.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(change) = changes.recv() => match change {
                    LeaseChange::Granted(lease) if leads => deadlines.begin(lease),
                    LeaseChange::Granted(_) => {}
                    LeaseChange::Ended(id) => deadlines.end(id),
                },
                Some(Ask { question, answer }) = asks.recv() => if leads {
                    // Whoever asked may have gone.
                    let _ = answer.send(deadlines.answer(keyspace, question));
                },
                Some(over) = deadlines.over() => end_leases(raft, over).await,
                _ = ages.tick(), if leads => {
                    forget(raft, keyspace, old_enough).await;
                    old_enough = keyspace.revision();
                }
                () = sleep(LOOK), if leads && (learners || joint) => {
                    looks += 1;
                    if !joint {
                        store.promote_ready().await;
                    } else if looks >= PATIENCE {
                        looks = 0;
                        store.finish_change().await;
                    }
                }
            }
        }
    }
}

/// Forgets history up to `revision`; where nothing happened there is nothing to forget, and nothing is written.
async fn forget(raft: &Raft, keyspace: &Keyspace, revision: u64) {
    if revision > keyspace.compacted_revision()
        && let Err(error) = raft.client_write(Command::Compact { revision }).await
    {
        tracing::warn!(revision, %error, "old history cannot be forgotten now");
    }
}

/// A lease that cannot be ended now is left to the next leader.
async fn end_leases(raft: &Raft, ids: Vec<i64>) {
    let ends = ids.into_iter().map(|id| async move {
        if let Err(error) = raft.client_write(Command::LeaseRevoke { id }).await {
            tracing::warn!(lease = id, %error, "a lease is over but cannot be ended here");
        }
    });
    join_all(ends).await;
}
