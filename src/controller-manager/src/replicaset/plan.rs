//! How many pods to make, which to delete, and what to say about them. Pure.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::owner::ReplicaOwner;
use crate::{framework::labels_of, pods};

/// The annotation that says how dear a pod is, when some have to go.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What is to be done about the number of pods.
#[derive(Debug)]
pub enum Scale {
    /// It is as wanted.
    Nothing,
    /// So many are missing.
    Create(usize),
    /// These are too many.
    Delete(Vec<Arc<Pod>>),
}

/// Compares the pods that count with the number that is wanted. `related` gives the pods beside which one is less needed: those of
/// the same Deployment.
pub fn scale(replicas: i32, active: &[Arc<Pod>], related: impl FnOnce() -> Vec<Arc<Pod>>, now: Timestamp) -> Scale {
    let wanted = usize::try_from(replicas).unwrap_or_default();
    match active.len().cmp(&wanted) {
        Ordering::Equal => Scale::Nothing,
        Ordering::Less => Scale::Create(wanted - active.len()),
        Ordering::Greater if wanted == 0 => Scale::Delete(active.to_vec()),
        Ordering::Greater => Scale::Delete(least_needed(active, &related(), active.len() - wanted, now)),
    }
}

/// The `count` pods that are least needed, the very least first.
fn least_needed(active: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *crowd.entry(pods::node_name(pod)).or_default() += 1;
    }
    let rank = |pod: &Pod| crowd.get(pods::node_name(pod)).copied().unwrap_or_default();
    let mut ranked = active.to_vec();
    ranked.sort_by(|one, other| need(one, rank(one), now).cmp(&need(other, rank(other), now)));
    ranked.truncate(count);
    ranked
}

/// How much a pod is needed; fields in the order in which they decide, the least need first. Ages count by magnitude only, so that
/// among pods of like age chance (their uid) decides and not one rollout's last second.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need<'a> {
    placed: bool,
    phase: u8,
    ready: bool,
    deletion_cost: i32,
    alone_on_node: std::cmp::Reverse<usize>,
    ready_age: Option<Age>,
    restarts: std::cmp::Reverse<i32>,
    age: Option<Age>,
    uid: &'a str,
}

/// A magnitude of seconds.
type Age = u32;

fn need(pod: &Pod, crowd: usize, now: Timestamp) -> Need<'_> {
    let age = |since: Timestamp| {
        let seconds = now.duration_since(since).as_secs().max(0).unsigned_abs();
        seconds.checked_ilog2().map_or(0, |magnitude| magnitude + 1)
    };
    let ready = pods::is_ready(pod);
    Need {
        placed: !pods::node_name(pod).is_empty(),
        phase: match pods::phase(pod) {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        },
        ready,
        deletion_cost: deletion_cost(pod),
        alone_on_node: std::cmp::Reverse(crowd),
        ready_age: pods::ready_since(pod).filter(|_| ready).map(age),
        restarts: std::cmp::Reverse(pods::restarts(pod)),
        age: pod.metadata.creation_timestamp.as_ref().map(|time| age(time.0)),
        uid: pod.metadata.uid.as_deref().unwrap_or_default(),
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotation = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    annotation.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// What was found and done.
#[derive(Debug)]
pub struct Counted<'a> {
    /// The pods that count.
    pub active: &'a [Arc<Pod>],
    /// How many are going.
    pub terminating: usize,
    /// Why not all could be made or deleted: a reason and the API server's words.
    pub failure: Option<(&'static str, String)>,
}

/// What there is to say.
pub fn status<O: ReplicaOwner>(owner: &O, counted: &Counted<'_>, now: &Time) -> ReplicaSetStatus {
    let before = owner.status();
    let count = |counts: &dyn Fn(&Pod) -> bool| {
        let count = counted.active.iter().filter(|pod| counts(pod)).count();
        Some(number(count)).filter(|count| *count != 0)
    };
    let template = owner.template().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let fully_labeled = |pod: &Pod| {
        template.is_none_or(|labels| labels.iter().all(|(key, value)| labels_of(pod).get(key) == Some(value)))
    };
    ReplicaSetStatus {
        replicas: number(counted.active.len()),
        fully_labeled_replicas: count(&fully_labeled),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|pod| pods::is_available(pod, owner.min_ready_seconds(), now.0)),
        terminating_replicas: O::COUNTS_TERMINATING.then(|| number(counted.terminating)),
        observed_generation: owner.meta().generation,
        conditions: conditions(before.conditions, counted.failure.as_ref(), now),
    }
}

fn conditions(
    before: Option<Vec<ReplicaSetCondition>>,
    failure: Option<&(&'static str, String)>,
    now: &Time,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = before.unwrap_or_default();
    let failed = conditions.iter().position(|condition| condition.type_ == "ReplicaFailure");
    match (failed, failure) {
        (None, Some((reason, message))) => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some((*reason).to_owned()),
            message: Some(message.clone()),
            last_transition_time: Some(now.clone()),
        }),
        (Some(at), None) => {
            conditions.remove(at);
        }
        _ => {}
    }
    Some(conditions).filter(|conditions| !conditions.is_empty())
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
