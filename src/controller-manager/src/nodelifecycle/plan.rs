//! What the controller makes of a node: its conditions when it is silent, its taints by its conditions.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// A node whose kubelet has been silent for that long is not known to be well.
pub const GRACE_SECONDS: i64 = 50;
/// The same for one whose kubelet has not said anything yet.
pub const STARTUP_GRACE_SECONDS: i64 = 60;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Which status of which condition is which taint.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// What is not known of a silent node.
const UNKNOWN: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Labels that older clients know by another name.
const OLD_NAMES: [(&str, &str); 2] =
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// A condition of a node.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The status of a node's `Ready` condition; nothing said is unknown.
pub fn readiness(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |condition| &condition.status)
}

/// The conditions of a node that is silent; `None` when they say so already.
pub fn silent(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let current = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = current.clone();
    for kind in UNKNOWN {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
        }
    }
    (conditions != current).then_some(conditions)
}

/// The taints as they should be; `None` when they are. `evict` says whether pods may be driven off a node that is not ready.
pub fn taints(node: &Node, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = TAINTS
        .iter()
        .filter(|(kind, status, _)| condition(node, kind).is_some_and(|condition| condition.status == *status))
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    match condition(node, "Ready").map(|condition| condition.status.as_str()) {
        Some("False") if evict => wanted.push((NOT_READY, "NoExecute")),
        Some("Unknown") if evict => wanted.push((UNREACHABLE, "NoExecute")),
        _ => {}
    }
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let ours = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| taint.key == *key),
        "NoExecute" => matches!(taint.key.as_str(), NOT_READY | UNREACHABLE),
        _ => false,
    };
    let mut taints: Vec<Taint> =
        current.iter().filter(|taint| !ours(taint) || wanted.iter().any(|one| is(taint, *one))).cloned().collect();
    for one in wanted {
        if !taints.iter().any(|taint| is(taint, one)) {
            taints.push(Taint {
                key: one.0.to_owned(),
                effect: one.1.to_owned(),
                time_added: Some(Time(now)),
                ..Taint::default()
            });
        }
    }
    (taints != current).then_some(taints)
}

/// The labels to add, by which older clients know the node.
pub fn labels(node: &Node) -> BTreeMap<&'static str, String> {
    let labels = node.metadata.labels.as_ref();
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let missing = OLD_NAMES.iter().filter_map(|(key, old)| Some((*old, value(key)?.clone(), value(old))));
    missing.filter(|(_, new, old)| *old != Some(new)).map(|(key, value, _)| (key, value)).collect()
}

/// How a zone's nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneState {
    /// Most are ready.
    Normal,
    /// More than half, and more than two, are not: it is the zone that is ill.
    Partial,
    /// None is.
    Full,
}

/// In which zone a node is.
pub fn zone(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map_or("", String::as_str);
    format!("{}:{}", label(REGION), label(ZONE))
}

/// The state of every zone, and how many nodes it has.
pub fn zones<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> HashMap<String, (ZoneState, usize)> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for node in nodes {
        let (ready, not_ready) = counts.entry(zone(node)).or_default();
        *(if readiness(node) == "True" { ready } else { not_ready }) += 1;
    }
    let state = |ready: usize, not_ready: usize| match (ready, not_ready) {
        (0, 1..) => ZoneState::Full,
        // 55 % are a zone's trouble.
        (ready, 3..) if not_ready * 100 >= (ready + not_ready) * 55 => ZoneState::Partial,
        _ => ZoneState::Normal,
    };
    counts.into_iter().map(|(zone, (ready, not))| (zone, (state(ready, not), ready + not))).collect()
}

/// How many seconds are between two nodes of a zone that pods are driven off; `None` when they are not.
pub fn eviction_interval(zones: &HashMap<String, (ZoneState, usize)>, zone: &str) -> Option<i64> {
    if zones.values().all(|(state, _)| *state == ZoneState::Full) {
        // It is this server that sees nobody.
        return None;
    }
    match zones.get(zone)? {
        (ZoneState::Normal | ZoneState::Full, _) => Some(10),
        (ZoneState::Partial, nodes) => (*nodes > 50).then_some(100),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, taints: &Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}},
            "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]},
        }))
        .expect("a node")
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a moment")
    }

    fn keys(taints: Option<Vec<Taint>>) -> Vec<String> {
        taints.expect("changed").iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
    }

    #[test]
    fn a_silent_node_is_unknown_once() {
        let silent_node = |conditions| {
            let mut node = node("True", &json!([]));
            node.status.as_mut().expect("a status").conditions = conditions;
            node
        };
        let first = silent(&node("True", &json!([])), now()).expect("changed");
        let said: Vec<_> =
            first.iter().map(|one| (one.type_.as_str(), one.reason.as_deref().unwrap_or_default())).collect();
        assert_eq!(said[..2], [("Ready", "NodeStatusUnknown"), ("MemoryPressure", "NodeStatusNeverUpdated")]);
        assert_eq!(silent(&silent_node(Some(first)), now()), None);
    }

    #[test]
    fn conditions_are_taints_and_others_taints_stay() {
        let other = json!([{"key": "mine", "effect": "NoExecute"}]);
        let unknown = node("Unknown", &other);
        let tainted = taints(&unknown, true, now());
        assert_eq!(
            keys(tainted.clone()),
            ["mine:NoExecute", "node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
        );
        let ready = node("True", &json!(tainted));
        assert_eq!(keys(taints(&ready, true, now())), ["mine:NoExecute"]);
        assert_eq!(keys(taints(&node("False", &json!([])), false, now())), ["node.kubernetes.io/not-ready:NoSchedule"]);
        assert_eq!(taints(&node("True", &other), true, now()), None);
    }

    #[test]
    fn nobody_is_driven_off_when_no_node_is_heard_of() {
        let (well, ill) = (node("True", &json!([])), node("Unknown", &json!([])));
        let interval = |nodes: &[&Node]| eviction_interval(&zones(nodes.iter().copied()), &zone(&well));
        assert_eq!(interval(&[&ill]), None);
        assert_eq!(interval(&[&ill, &well]), Some(10));
        assert_eq!(interval(&[&ill, &ill, &ill, &well]), None, "the zone is ill");
    }
}
