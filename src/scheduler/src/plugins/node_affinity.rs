//! Node selectors and node affinity.

use super::{Refusal, normalise};
use crate::{
    cache::NodeInfo,
    framework::Cycle,
    labels::{node_matches, node_matches_term},
    pod::PodInfo,
};

/// Whether the pod's node selector and required affinity allow `node`.
pub fn allows(pod: &PodInfo, node: &NodeInfo) -> bool {
    let selected = pod
        .node_selector()
        .is_none_or(|selector| selector.iter().all(|(key, value)| node.labels.get(key) == Some(value)));
    selected && pod.node_affinity().is_none_or(|selector| node_matches(selector, &node.name, &node.labels))
}

/// Refuses nodes that the pod did not ask for.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    if allows(cycle.pod, node) {
        return Ok(());
    }
    Err(Refusal::unresolvable("node(s) didn't match Pod's node affinity/selector"))
}

/// Adds up the weights of the preferences that a node meets.
pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let weigh = |node: &&NodeInfo| {
        let met = cycle
            .pod
            .preferred_nodes()
            .iter()
            .filter(|term| node_matches_term(&term.preference, &node.name, &node.labels));
        met.map(|term| i64::from(term.weight)).sum()
    };
    normalise(nodes.iter().map(weigh).collect(), false)
}
