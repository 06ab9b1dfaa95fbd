//! Pods that want, or do not want, to be near others.

use std::collections::{HashMap, HashSet};

use k8s_openapi::{
    api::core::v1::PodAffinityTerm,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};

use super::{MAX_SCORE, Refusal};
use crate::{
    cache::{Cache, NodeInfo},
    framework::Cycle,
    labels::selects,
    pod::PodInfo,
};

/// What a pod already near makes of a required term when nodes are scored.
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// A topology key and one of its values.
type Domain = (String, String);

/// Where terms are met, counted once for all nodes.
#[derive(Default)]
pub struct Met {
    /// For each required affinity term of the pod: the domains with a pod that matches all of them.
    affinity: HashSet<Domain>,
    /// Domains with a pod that the pod's anti-affinity refuses.
    anti_affinity: HashSet<Domain>,
    /// Domains from which a pod that runs there refuses this one.
    refused: HashSet<Domain>,
    /// Whether the pod meets its own affinity and nobody else does: the first of its kind may start.
    first_of_its_kind: bool,
}

/// Counts where the terms of `pod`, and of those that run, are met.
pub fn meet(pod: &PodInfo, nodes: &[&NodeInfo], cache: &Cache) -> Met {
    let mut met = Met::default();
    for node in nodes {
        for other in node.pods.values() {
            if !pod.affinity().is_empty() && pod.affinity().iter().all(|term| applies(term, pod, other, cache)) {
                let keys = pod.affinity().iter().map(|term| &term.topology_key);
                met.affinity.extend(keys.filter_map(|key| domain(key, node)));
            }
            let disliked = pod.anti_affinity().iter().filter(|term| applies(term, pod, other, cache));
            met.anti_affinity.extend(disliked.filter_map(|term| domain(&term.topology_key, node)));
            let refusing = other.anti_affinity().iter().filter(|term| applies(term, other, pod, cache));
            met.refused.extend(refusing.filter_map(|term| domain(&term.topology_key, node)));
        }
    }
    met.first_of_its_kind = met.affinity.is_empty() && pod.affinity().iter().all(|term| applies(term, pod, pod, cache));
    met
}

fn domain(key: &str, node: &NodeInfo) -> Option<Domain> {
    Some((key.to_owned(), node.labels.get(key)?.clone()))
}

/// Whether `other` is one of those that `term`, which belongs to `owner`, speaks of.
fn applies(term: &PodAffinityTerm, owner: &PodInfo, other: &PodInfo, cache: &Cache) -> bool {
    let listed = term.namespaces.iter().flatten().any(|namespace| *namespace == other.namespace);
    let by_label = term.namespace_selector.as_ref().is_some_and(|selector| {
        cache.namespace(&other.namespace).is_some_and(|labels| selects(Some(selector), labels))
    });
    let own = term.namespaces.as_ref().is_none_or(Vec::is_empty) && term.namespace_selector.is_none();
    (listed || by_label || own && owner.namespace == other.namespace)
        && term
            .label_selector
            .as_ref()
            .is_some_and(|selector| selects(Some(&completed(selector, term, owner)), &other.labels))
}

/// The selector with `matchLabelKeys` and `mismatchLabelKeys` filled in from the pod's own labels.
fn completed(selector: &LabelSelector, term: &PodAffinityTerm, owner: &PodInfo) -> LabelSelector {
    let mut selector = selector.clone();
    let mut add = |keys: &Option<Vec<String>>, operator: &str| {
        for key in keys.iter().flatten() {
            if let Some(value) = owner.labels.get(key) {
                selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: operator.to_owned(),
                    values: Some(vec![value.clone()]),
                });
            }
        }
    };
    add(&term.match_label_keys, "In");
    add(&term.mismatch_label_keys, "NotIn");
    selector
}

/// Refuses nodes where a required term is not met.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let met = &cycle.pod_affinity;
    let in_domains = |domains: &HashSet<Domain>, key: &str| domain(key, node).is_some_and(|at| domains.contains(&at));
    let near = cycle.pod.affinity().iter().all(|term| in_domains(&met.affinity, &term.topology_key));
    let has_keys = cycle.pod.affinity().iter().all(|term| node.labels.contains_key(&term.topology_key));
    if !(near || met.first_of_its_kind && has_keys) {
        return Err(Refusal::unresolvable("node(s) didn't match pod affinity rules"));
    }
    if cycle.pod.anti_affinity().iter().any(|term| in_domains(&met.anti_affinity, &term.topology_key)) {
        return Err(Refusal::resolvable("node(s) didn't match pod anti-affinity rules"));
    }
    if met.refused.iter().any(|(key, value)| node.labels.get(key) == Some(value)) {
        return Err(Refusal::resolvable("node(s) didn't satisfy existing pods anti-affinity rules"));
    }
    Ok(())
}

/// Adds up what the pod prefers and what those that run prefer of it.
pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let (pod, cache) = (cycle.pod, cycle.cache);
    let mut weights: HashMap<Domain, i64> = HashMap::new();
    let mut add = |term: &PodAffinityTerm, owner: &PodInfo, other: &PodInfo, node: &NodeInfo, weight: i64| {
        if applies(term, owner, other, cache)
            && let Some(at) = domain(&term.topology_key, node)
        {
            *weights.entry(at).or_default() += weight;
        }
    };
    for node in &cycle.nodes {
        for other in node.pods.values() {
            for preferred in pod.preferred_affinity() {
                add(&preferred.pod_affinity_term, pod, other, node, preferred.weight.into());
            }
            for preferred in pod.preferred_anti_affinity() {
                add(&preferred.pod_affinity_term, pod, other, node, -i64::from(preferred.weight));
            }
            if !other.has_pod_affinity() {
                continue;
            }
            for term in other.affinity() {
                add(term, other, pod, node, HARD_POD_AFFINITY_WEIGHT);
            }
            for preferred in other.preferred_affinity() {
                add(&preferred.pod_affinity_term, other, pod, node, preferred.weight.into());
            }
            for preferred in other.preferred_anti_affinity() {
                add(&preferred.pod_affinity_term, other, pod, node, -i64::from(preferred.weight));
            }
        }
    }
    if weights.is_empty() {
        return vec![0; nodes.len()];
    }
    let sum = |node: &&NodeInfo| -> i64 {
        weights.iter().filter(|((key, value), _)| node.labels.get(key) == Some(value)).map(|(_, weight)| weight).sum()
    };
    let raw: Vec<i64> = nodes.iter().map(sum).collect();
    let most = raw.iter().copied().max().unwrap_or_default();
    let least = raw.iter().copied().min().unwrap_or_default();
    let scaled = |score: i64| if most == least { 0 } else { MAX_SCORE * (score - least) / (most - least) };
    raw.into_iter().map(scaled).collect()
}
