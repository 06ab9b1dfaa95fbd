//! What decides: one file a plug-in, named as kube-scheduler names them.
//!
//! A filter says of one node why a pod cannot run there. A score says how good a node is among those that are left.

pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_ports;
pub mod node_resources;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod taint_toleration;
pub mod volumes;

use crate::{cache::NodeInfo, framework::Cycle};

/// The best score of one plug-in.
pub const MAX_SCORE: i64 = 100;

/// Why a pod cannot run on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In kube-scheduler's words, each counted in the message.
    pub reasons: Vec<String>,
    /// Whether no eviction could help.
    pub unresolvable: bool,
}

impl Refusal {
    /// Something that another pod's leaving could change.
    pub fn resolvable(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], unresolvable: false }
    }

    /// Something that no pod's leaving changes.
    pub fn unresolvable(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], unresolvable: true }
    }
}

/// A filter.
pub type Filter = fn(&Cycle<'_>, &NodeInfo) -> Result<(), Refusal>;
/// A score: raw values of all nodes that are left, already normalised to 0..=[`MAX_SCORE`].
pub type Score = fn(&Cycle<'_>, &[&NodeInfo]) -> Vec<i64>;

/// The filters, in kube-scheduler's order: the first that refuses gives the reason.
pub const FILTERS: &[Filter] = &[
    node_unschedulable::filter,
    taint_toleration::filter,
    node_affinity::filter,
    node_ports::filter,
    node_resources::filter,
    volumes::restrictions,
    volumes::limits,
    volumes::binding,
    volumes::zones,
    pod_topology_spread::filter,
    inter_pod_affinity::filter,
    dynamic_resources::filter,
];

/// The scores with their weights, as kube-scheduler's default profile has them.
pub const SCORES: &[(Score, i64)] = &[
    (taint_toleration::score, 3),
    (node_affinity::score, 2),
    (pod_topology_spread::score, 2),
    (inter_pod_affinity::score, 2),
    (node_resources::least_allocated, 1),
    (node_resources::balanced_allocation, 1),
    (image_locality::score, 1),
];

/// Scales raw scores so that the largest becomes [`MAX_SCORE`]; `reverse` makes the smallest the best.
pub fn normalise(mut scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let largest = scores.iter().copied().max().unwrap_or_default();
    for score in &mut scores {
        let scaled = if largest == 0 { 0 } else { MAX_SCORE * *score / largest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
    scores
}
