//! Topology spread constraints: pods that are alike go evenly over domains.

use std::collections::{HashMap, HashSet};

use k8s_openapi::{
    api::core::v1::TopologySpreadConstraint, apimachinery::pkg::apis::meta::v1::LabelSelector,
    apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement,
};

use super::{MAX_SCORE, Refusal, node_affinity, taint_toleration::tolerates};
use crate::{cache::NodeInfo, framework::Cycle, labels::selects, pod::PodInfo};

const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const NO_KEY: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// One constraint with its selector completed by `matchLabelKeys`, and the matching pods of each domain.
pub struct Counted {
    key: String,
    max_skew: i64,
    min_domains: Option<i64>,
    selector: LabelSelector,
    self_match: bool,
    per_domain: HashMap<String, i64>,
}

/// Counts for the constraints of `pod` that are `hard` (`DoNotSchedule`) or soft.
pub fn count(pod: &PodInfo, nodes: &[&NodeInfo], hard: bool) -> Vec<Counted> {
    let constraints: Vec<&TopologySpreadConstraint> =
        pod.spread().iter().filter(|constraint| (constraint.when_unsatisfiable == "DoNotSchedule") == hard).collect();
    let keys: Vec<&str> = constraints.iter().map(|constraint| constraint.topology_key.as_str()).collect();
    constraints
        .iter()
        .map(|constraint| {
            let selector = completed(constraint, pod);
            let mut per_domain = HashMap::new();
            for node in nodes.iter().filter(|node| keys.iter().all(|key| node.labels.contains_key(*key))) {
                if !included(constraint, pod, node) {
                    continue;
                }
                if let Some(domain) = node.labels.get(&constraint.topology_key) {
                    *per_domain.entry(domain.clone()).or_insert(0) += matching(&selector, pod, node);
                }
            }
            Counted {
                key: constraint.topology_key.clone(),
                max_skew: constraint.max_skew.into(),
                min_domains: constraint.min_domains.map(i64::from),
                self_match: selects(Some(&selector), &pod.labels),
                selector,
                per_domain,
            }
        })
        .collect()
}

/// Whether `node` counts for `constraint` at all.
fn included(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let affinity = constraint.node_affinity_policy.as_deref() == Some("Ignore") || node_affinity::allows(pod, node);
    let taints = constraint.node_taints_policy.as_deref() != Some("Honor")
        || node.taints.iter().all(|taint| {
            taint.effect == "PreferNoSchedule"
                || pod.tolerations().iter().any(|toleration| tolerates(toleration, taint))
        });
    affinity && taints
}

fn completed(constraint: &TopologySpreadConstraint, pod: &PodInfo) -> LabelSelector {
    let mut selector = constraint.label_selector.clone().unwrap_or_else(nothing);
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = pod.labels.get(key) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: "In".to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    selector
}

/// A constraint without a selector counts no pods.
fn nothing() -> LabelSelector {
    let never = LabelSelectorRequirement { key: String::new(), operator: "In".to_owned(), values: None };
    LabelSelector { match_expressions: Some(vec![never]), match_labels: None }
}

fn matching(selector: &LabelSelector, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let alike = node.pods.values().filter(|other| {
        other.namespace == pod.namespace && !other.terminating() && selects(Some(selector), &other.labels)
    });
    i64::try_from(alike.count()).unwrap_or(i64::MAX)
}

/// Refuses nodes that would make a domain too full compared with the emptiest.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    for counted in &cycle.hard_spread {
        let Some(domain) = node.labels.get(&counted.key) else { return Err(Refusal::unresolvable(NO_KEY)) };
        let fewest = counted.per_domain.values().copied().min().unwrap_or_default();
        let domains = i64::try_from(counted.per_domain.len()).unwrap_or(i64::MAX);
        let fewest = if counted.min_domains.is_some_and(|least| domains < least) { 0 } else { fewest };
        let here = counted.per_domain.get(domain).copied().unwrap_or_default();
        if here + i64::from(counted.self_match) - fewest > counted.max_skew {
            return Err(Refusal::resolvable(SKEWED));
        }
    }
    Ok(())
}

/// The fewer pods that are alike in a node's domains, the better.
pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let soft = count(cycle.pod, &cycle.nodes, false);
    if soft.is_empty() {
        return vec![0; nodes.len()];
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "scores need no exact digits")]
    let raw: Vec<Option<i64>> = nodes
        .iter()
        .map(|node| {
            let mut sum = 0.0;
            for counted in &soft {
                let domain = node.labels.get(&counted.key)?;
                let domains: HashSet<_> = nodes.iter().filter_map(|node| node.labels.get(&counted.key)).collect();
                let here = if counted.key == "kubernetes.io/hostname" {
                    matching(&counted.selector, cycle.pod, node)
                } else {
                    counted.per_domain.get(domain).copied().unwrap_or_default()
                };
                let weight = ((domains.len() + 2) as f64).ln();
                sum += here as f64 * weight + (counted.max_skew - 1) as f64;
            }
            Some(sum.round() as i64)
        })
        .collect();
    let most = raw.iter().flatten().copied().max().unwrap_or_default();
    let least = raw.iter().flatten().copied().min().unwrap_or_default();
    let scaled = |score: i64| if most == 0 { MAX_SCORE } else { MAX_SCORE * (most + least - score) / most };
    raw.into_iter().map(|score| score.map_or(0, scaled)).collect()
}
