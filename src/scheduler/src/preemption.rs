//! Who has to leave so that a more important pod can run.
//!
//! On each node that others' leaving could help, all less important pods are taken away; if the pod fits then, they
//! are let back one by one, those first whose leaving a disruption budget forbids, then the most important, as long as it
//! still fits. The node where the least harm is done is chosen: the fewest broken budgets, then the lowest of the highest
//! priorities, then of their sum, then the fewest, then those that started last.

use std::{cmp::Reverse, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::{cache::NodeInfo, framework::Cycle, labels::selects, plugins::Refusal, pod::PodInfo};

/// Those that must leave a node.
struct Victims {
    pods: Vec<Arc<PodInfo>>,
    /// How many of them a budget would keep.
    violations: usize,
}

/// A node, and the uids of those that must leave it.
pub fn find(cycle: &Cycle<'_>, refusals: &[(&NodeInfo, Refusal)]) -> Option<(String, Vec<String>)> {
    let candidates = refusals.iter().filter(|(_, refusal)| !refusal.unresolvable);
    let with_victims = candidates.filter_map(|(node, _)| Some((*node, victims(cycle, node)?)));
    let harm = |victims: &Victims| {
        let priorities = || victims.pods.iter().map(|pod| pod.priority);
        let highest = priorities().max();
        let sum: i64 = priorities().map(|priority| i64::from(priority) + i64::from(i32::MAX) + 1).sum();
        let earliest = victims.pods.iter().filter(|pod| Some(pod.priority) == highest).map(|pod| started(pod)).min();
        (victims.violations, highest, sum, victims.pods.len(), Reverse(earliest))
    };
    let (node, victims) = with_victims.min_by_key(|(_, victims)| harm(victims))?;
    Some((node.name.clone(), victims.pods.iter().map(|pod| pod.uid.clone()).collect()))
}

fn started(pod: &PodInfo) -> Option<Time> {
    pod.pod.status.as_ref()?.start_time.clone()
}

/// The fewest that must leave `node`; none when nobody's leaving helps.
fn victims(cycle: &Cycle<'_>, node: &NodeInfo) -> Option<Victims> {
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
    lesser.sort_by_cached_key(|pod| (Reverse(pod.priority), started(pod), pod.key()));
    let (kept, free) = by_budgets(cycle, lesser);
    let mut victims = Victims { pods: Vec::new(), violations: 0 };
    for (pod, violates) in kept.into_iter().map(|pod| (pod, true)).chain(free.into_iter().map(|pod| (pod, false))) {
        rest.add(pod.clone());
        if !fits(cycle, &rest) {
            rest.remove(&pod.uid);
            victims.violations += usize::from(violates);
            victims.pods.push(pod);
        }
    }
    Some(victims)
}

/// The pods whose leaving some budget forbids, and the others.
fn by_budgets(cycle: &Cycle<'_>, pods: Vec<Arc<PodInfo>>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let budgets: Vec<_> = cycle.cache.budgets.values().collect();
    let status = |at: usize| budgets[at].status.as_ref();
    let mut allowed: Vec<i32> = (0..budgets.len())
        .map(|at| status(at).and_then(|status| status.disruptions_allowed).unwrap_or_default())
        .collect();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for (at, budget) in budgets.iter().enumerate() {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let empty = selector.is_none_or(|selector| {
                selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
                    && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
            });
            let covers = budget.namespace().as_deref() == Some(pod.namespace.as_str())
                && !empty
                && !pod.labels.is_empty()
                && selects(selector, &pod.labels);
            let counted = status(at).and_then(|status| status.disrupted_pods.as_ref());
            if covers && counted.is_none_or(|disrupted| !disrupted.contains_key(&pod.name)) {
                allowed[at] -= 1;
                violates |= allowed[at] < 0;
            }
        }
        violates
    })
}

/// Whether the pod fits on `changed`, which stands for the node of its name.
fn fits(cycle: &Cycle<'_>, changed: &NodeInfo) -> bool {
    let nodes = cycle.nodes.iter().map(|node| if node.name == changed.name { changed } else { node }).collect();
    Cycle::new(cycle.pod, cycle.cache, nodes).refusal(changed).is_none()
}
