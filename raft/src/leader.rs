//! Who leads, for whoever asks.
//!
//! Raft says who leads as soon as it knows. Whether this server may act as the leader is more: it has applied everything
//! that was committed before its term, and a quorum still hears it.

use std::time::Duration;

use openraft::{Instant, ServerState, async_runtime::watch::WatchReceiver};
use tokio::{sync::watch, time::sleep};

use crate::{
    Member,
    member::{member, members},
    types::{DataMetrics, LeaderId, ServerMetrics},
};

/// For how long a leader may not have heard from a quorum until it does not call itself one any more: by then the others
/// may have elected another.
pub(crate) const DEAF: Duration = Duration::from_millis(700);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// What is told.
#[derive(Clone)]
pub(crate) struct Leadership {
    /// Who leads, as far as this server knows.
    pub(crate) leader: watch::Sender<Option<Member>>,
    /// The term in which this server leads and may act.
    pub(crate) own: watch::Sender<Option<u64>>,
    /// Who belongs to the cluster, as far as this server knows.
    pub(crate) members: watch::Sender<Vec<Member>>,
}

impl Leadership {
    pub(crate) fn new() -> Self {
        Self { leader: watch::Sender::new(None), own: watch::Sender::new(None), members: watch::Sender::default() }
    }
}

/// Tells until Raft ends.
pub(crate) async fn tell(id: u64, mut server: ServerMetrics, mut data: DataMetrics, to: Leadership) {
    loop {
        let (leads, alone, leader, all) = {
            let server = server.borrow_and_update();
            let leads = (server.state == ServerState::Leader && server.vote.committed).then_some(server.vote.leader_id);
            let membership = &server.membership_config;
            let leader = server.current_leader.and_then(|leader| member(membership, leader, Some(leader)));
            let all = members(membership, server.current_leader);
            (leads.filter(|leads| leads.node_id == id), membership.voter_ids().eq([id]), leader, all)
        };
        let deaf = leads.is_some() && !alone && is_deaf(&data);
        let ready = leads.filter(|leads| !deaf && has_applied(&data, *leads));
        set(&to.own, ready.map(|leads| leads.term));
        set(&to.leader, leader.filter(|_| !deaf));
        set(&to.members, all);
        let waits = leads.is_some() && ready.is_none() && !deaf;
        tokio::select! {
            changed = server.changed() => if changed.is_err() { break },
            changed = data.changed(), if waits => if changed.is_err() { break },
            () = sleep(LOOK), if leads.is_some() && !alone => {}
        }
    }
    set(&to.own, None);
    set(&to.leader, None);
}

fn set<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|now| {
        let differs = *now != value;
        if differs {
            *now = value;
        }
        differs
    });
}

/// Whether a quorum has not been heard for too long, or not yet: a server that led when it ended begins as a leader, and
/// learns then whether another leads.
fn is_deaf(data: &DataMetrics) -> bool {
    data.borrow_watched().last_quorum_acked.is_none_or(|heard| heard.into_inner().elapsed() > DEAF)
}

/// Whether the first entry of this leadership is applied, and so all before it.
fn has_applied(data: &DataMetrics, leads: LeaderId) -> bool {
    data.borrow_watched().last_applied.is_some_and(|last| last.leader_id == leads)
}
