//! One pod's turn: filter all nodes, score those that are left, choose; a pure function of the cache.

use std::collections::BTreeMap;

use crate::{
    cache::{Cache, NodeInfo},
    plugins::{FILTERS, Refusal, SCORES, inter_pod_affinity, pod_topology_spread, volumes},
    pod::PodInfo,
    preemption,
};

/// What plug-ins see in one pod's turn, with what is counted once for all nodes.
pub struct Cycle<'a> {
    /// The pod whose turn it is.
    pub pod: &'a PodInfo,
    /// The whole cluster.
    pub cache: &'a Cache,
    /// Its nodes.
    pub nodes: Vec<&'a NodeInfo>,
    /// Pods in the domains of the hard spread constraints.
    pub hard_spread: Vec<pod_topology_spread::Counted>,
    /// Where terms of pod affinity are met.
    pub pod_affinity: inter_pod_affinity::Met,
}

impl<'a> Cycle<'a> {
    /// The turn of `pod` on `nodes`.
    pub fn new(pod: &'a PodInfo, cache: &'a Cache, nodes: Vec<&'a NodeInfo>) -> Self {
        let hard_spread = pod_topology_spread::count(pod, &nodes, true);
        let pod_affinity = inter_pod_affinity::meet(pod, &nodes, cache);
        Self { pod, cache, nodes, hard_spread, pod_affinity }
    }

    /// Why the pod cannot run on `node`, if it cannot.
    pub fn refusal(&self, node: &NodeInfo) -> Option<Refusal> {
        FILTERS.iter().find_map(|filter| filter(self, node).err())
    }
}

/// Where a pod goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// To this node.
    Node {
        /// The node.
        node: String,
        /// What has to become of the pod's volumes first.
        volumes: Vec<volumes::Step>,
    },
    /// Nowhere now; this is what its condition says.
    Nowhere(String),
    /// To this node when these pods (by uid) have left it.
    Preempt {
        /// The node.
        node: String,
        /// Who has to leave.
        victims: Vec<String>,
        /// What its condition says meanwhile.
        message: String,
    },
}

/// Decides where `pod` goes. `turn` breaks ties: nodes that are as good take turns.
pub fn decide(pod: &PodInfo, cache: &Cache, turn: usize) -> Decision {
    let nodes: Vec<&NodeInfo> = cache.nodes().collect();
    if nodes.is_empty() {
        return Decision::Nowhere("no nodes available to schedule pods".to_owned());
    }
    if let Some(why) = volumes::before(pod, &cache.volumes) {
        return Decision::Nowhere(format!("0/{} nodes are available: {why}. not found", nodes.len()));
    }
    let cycle = Cycle::new(pod, cache, nodes.clone());
    let mut fitting = Vec::new();
    let mut refusals: Vec<(&NodeInfo, Refusal)> = Vec::new();
    for node in nodes {
        match cycle.refusal(node) {
            None => fitting.push(node),
            Some(refusal) => refusals.push((node, refusal)),
        }
    }
    if fitting.is_empty() {
        return nowhere(&cycle, &refusals);
    }
    let best = best(&cycle, &fitting);
    let node = best[turn % best.len()];
    // A node that is left has room for the volumes, so this is its plan.
    let volumes = volumes::plan(&cycle, node).unwrap_or_default();
    Decision::Node { node: node.name.clone(), volumes }
}

/// The nodes with the highest score.
fn best<'a>(cycle: &Cycle<'_>, fitting: &[&'a NodeInfo]) -> Vec<&'a NodeInfo> {
    if let [only] = fitting {
        return vec![only];
    }
    let mut totals = vec![0; fitting.len()];
    for (score, weight) in SCORES {
        for (total, value) in totals.iter_mut().zip(score(cycle, fitting)) {
            *total += weight * value;
        }
    }
    let highest = totals.iter().copied().max().unwrap_or_default();
    fitting.iter().zip(totals).filter(|(_, total)| *total == highest).map(|(node, _)| *node).collect()
}

/// Nobody takes the pod: says why, and whether others would have to leave.
fn nowhere(cycle: &Cycle<'_>, refusals: &[(&NodeInfo, Refusal)]) -> Decision {
    let total = refusals.len();
    let why = counted(refusals.iter().flat_map(|(_, refusal)| refusal.reasons.iter().cloned()));
    let head = format!("0/{total} nodes are available: {why}. no new claims to deallocate, preemption: ");
    let never = cycle.pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never");
    if never {
        return Decision::Nowhere(format!("{head}not eligible due to preemptionPolicy=Never."));
    }
    if let Some((node, victims)) = preemption::find(cycle, refusals) {
        return Decision::Preempt { node, victims, message: head.trim_end_matches(" preemption: ").to_owned() };
    }
    let helpless = counted(refusals.iter().map(|(_, refusal)| {
        if refusal.unresolvable {
            "Preemption is not helpful for scheduling"
        } else {
            "No preemption victims found for incoming pod"
        }
        .to_owned()
    }));
    Decision::Nowhere(format!("{head}0/{total} nodes are available: {helpless}."))
}

/// `2 reason, 1 other`, sorted as text, as kube-scheduler words it.
fn counted(reasons: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason).or_default() += 1);
    let mut parts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, from_value, json};

    use super::*;

    fn cluster(nodes: &[Value]) -> Cache {
        let mut cache = Cache::default();
        for node in nodes {
            let mut node = node.clone();
            if node["status"].is_null() {
                node["status"] = json!({"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}});
            }
            cache.set_node(&from_value(node).expect("a Node"));
        }
        cache
    }

    fn pod(name: &str, spec: Value) -> PodInfo {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        let metadata = json!({"name": name, "uid": name, "namespace": "default", "labels": {"app": name}});
        PodInfo::new(Arc::new(from_value(json!({"metadata": metadata, "spec": spec})).expect("a Pod")))
    }

    fn on(node: &str) -> Decision {
        Decision::Node { node: node.to_owned(), volumes: Vec::new() }
    }

    fn message(decision: Decision) -> String {
        match decision {
            Decision::Nowhere(message) => message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_emptier_node_is_chosen() {
        let mut cache = cluster(&[json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})]);
        cache.place("a", Arc::new(pod("x", json!({}))));
        assert_eq!(decide(&pod("y", json!({})), &cache, 0), on("b"));
    }

    #[test]
    fn nodes_that_are_as_good_take_turns() {
        let cache = cluster(&[json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})]);
        let chosen: Vec<_> = (0..2).map(|turn| decide(&pod("y", json!({})), &cache, turn)).collect();
        assert_ne!(chosen[0], chosen[1]);
    }

    #[test]
    fn the_message_counts_the_reasons() {
        let tainted = json!([{"key": "k", "effect": "NoSchedule"}]);
        let cache = cluster(&[
            json!({"metadata": {"name": "a"}, "spec": {"taints": tainted}}),
            json!({"metadata": {"name": "b"}, "spec": {"unschedulable": true}}),
            json!({"metadata": {"name": "c"}}),
        ]);
        let wants = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "9"}}}]});
        assert_eq!(
            message(decide(&pod("y", wants), &cache, 0)),
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), \
             1 node(s) were unschedulable. no new claims to deallocate, preemption: \
             0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_cluster_without_nodes_says_so() {
        assert_eq!(message(decide(&pod("y", json!({})), &Cache::default(), 0)), "no nodes available to schedule pods");
    }

    #[test]
    fn a_pod_keeps_away_from_those_it_dislikes() {
        let labelled = |name: &str| json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        let mut cache = cluster(&[labelled("a"), labelled("b")]);
        cache.place("b", Arc::new(pod("x", json!({}))));
        cache.place("a", Arc::new(pod("z", json!({}))));
        let term = json!({"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"});
        let spec = json!({"affinity": {"podAntiAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        assert_eq!(decide(&pod("y", spec), &cache, 0), on("a"));
    }

    #[test]
    fn spreading_refuses_the_fuller_zone() {
        let zoned = |name: &str, zone: &str| json!({"metadata": {"name": name, "labels": {"zone": zone}}});
        let mut cache = cluster(&[zoned("a", "1"), zoned("b", "1"), zoned("c", "2")]);
        cache.place("a", Arc::new(pod("y", json!({}))));
        let mut another = pod(
            "y",
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "y"}}}]}),
        );
        another.uid = "another".into();
        assert_eq!(decide(&another, &cache, 0), on("c"));
    }

    #[test]
    fn the_less_important_have_to_leave() {
        let mut cache = cluster(&[json!({"metadata": {"name": "a"}})]);
        let spec = |priority: i32| json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]});
        cache.place("a", Arc::new(pod("low", spec(1))));
        let Decision::Preempt { node, victims, .. } = decide(&pod("high", spec(9)), &cache, 0) else {
            panic!("no preemption")
        };
        assert_eq!((node.as_str(), victims), ("a", vec!["low".to_owned()]));
        assert!(matches!(decide(&pod("same", spec(1)), &cache, 0), Decision::Nowhere(_)));
    }
}
