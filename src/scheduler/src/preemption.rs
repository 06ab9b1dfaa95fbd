//! Who has to leave so that a more important pod can run.
//!
//! On each node that others' leaving could help, all less important pods are taken away; if the pod fits then, they
//! are let back one by one, the most important first, as long as it still fits. The node where the least harm is done
//! is chosen: the lowest of the highest priorities, then of their sum, then the fewest.

use crate::{cache::NodeInfo, framework::Cycle, plugins::Refusal};

/// A node, and the uids of those that must leave it.
pub fn find(cycle: &Cycle<'_>, refusals: &[(&NodeInfo, Refusal)]) -> Option<(String, Vec<String>)> {
    let candidates = refusals.iter().filter(|(_, refusal)| !refusal.unresolvable);
    let with_victims = candidates.filter_map(|(node, _)| Some((*node, victims(cycle, node)?)));
    let harm = |victims: &[(i32, String)]| {
        let highest = victims.iter().map(|(priority, _)| *priority).max();
        let sum: i64 = victims.iter().map(|(priority, _)| i64::from(*priority) + i64::from(i32::MAX) + 1).sum();
        (highest, sum, victims.len())
    };
    let (node, victims) = with_victims.min_by_key(|(_, victims)| harm(victims))?;
    Some((node.name.clone(), victims.into_iter().map(|(_, uid)| uid).collect()))
}

/// The fewest that must leave `node`; none when nobody's leaving helps.
fn victims(cycle: &Cycle<'_>, node: &NodeInfo) -> Option<Vec<(i32, String)>> {
    let mut rest = node.clone();
    let mut lesser: Vec<_> =
        node.pods.values().filter(|pod| pod.priority < cycle.pod.priority && !pod.terminating()).cloned().collect();
    if lesser.is_empty() {
        return None;
    }
    lesser.iter().for_each(|pod| drop(rest.remove(&pod.uid)));
    if !fits(cycle, &rest) {
        return None;
    }
    lesser.sort_by(|one, other| other.priority.cmp(&one.priority).then_with(|| one.key().cmp(&other.key())));
    let mut leaving = Vec::new();
    for pod in lesser {
        rest.add(pod.clone());
        if !fits(cycle, &rest) {
            rest.remove(&pod.uid);
            leaving.push((pod.priority, pod.uid.clone()));
        }
    }
    Some(leaving)
}

/// Whether the pod fits on `changed`, which stands for the node of its name.
fn fits(cycle: &Cycle<'_>, changed: &NodeInfo) -> bool {
    let nodes = cycle.nodes.iter().map(|node| if node.name == changed.name { changed } else { node }).collect();
    Cycle::new(cycle.pod, cycle.cache, nodes).refusal(changed).is_none()
}
