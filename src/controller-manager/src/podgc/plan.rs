//! Which pods nobody else will remove.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::{nodelifecycle, pods};

/// So many pods that have ended are kept.
pub const TERMINATED_MAX: usize = 12_500;
/// A node must have been missing for that long before its pods are given up.
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What a pod's node is to it.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// It has none yet.
    Unscheduled,
    /// There is no such node.
    Missing,
    /// There is.
    Node(&'a Node),
}

/// What is to be done with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// It goes at once, since this holds; its status says so with that condition's reason and message, if any.
    Remove(Option<(&'static str, &'static str)>),
    /// It goes if its node stays missing.
    Quarantine,
}

/// Why a pod of a node that is gone goes.
pub const NODE_GONE: (&str, &str) = ("DeletionByPodGC", "PodGC: node no longer exists");

/// Decides.
pub fn plan(pod: &Pod, place: Place<'_>) -> Step {
    match place {
        Place::Unscheduled if pods::is_deleting(pod) => Step::Remove(None),
        Place::Unscheduled => Step::Stay,
        Place::Missing => Step::Quarantine,
        Place::Node(node) => {
            let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            let out = taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE);
            if pods::is_deleting(pod) && out && nodelifecycle::plan::readiness(node) != "True" {
                Step::Remove(None)
            } else {
                Step::Stay
            }
        }
    }
}

/// The ended pods that are too many: those that were evicted first, then the oldest.
pub fn too_many(pods: Vec<Arc<Pod>>, keep: usize) -> Vec<Arc<Pod>> {
    let mut ended: Vec<_> = pods.into_iter().filter(|pod| pods::is_finished(pod)).collect();
    let excess = ended.len().saturating_sub(keep);
    if excess == 0 {
        return Vec::new();
    }
    let evicted = |pod: &Pod| pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
    ended.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (!evicted(pod), created, pod.metadata.name.clone())
    });
    ended.truncate(excess);
    ended
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(meta: &Value, status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": meta, "status": status})).expect("a pod")
    }

    #[test]
    fn who_is_stuck_goes() {
        let deleting = pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &json!({}));
        let alive = pod(&json!({}), &json!({}));
        let node = |ready: &str, key: &str| -> Node {
            serde_json::from_value(json!({"metadata": {}, "spec": {"taints": [{"key": key, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .expect("a node")
        };
        assert_eq!(plan(&deleting, Place::Unscheduled), Step::Remove(None));
        assert_eq!(plan(&alive, Place::Unscheduled), Step::Stay);
        assert_eq!(plan(&alive, Place::Missing), Step::Quarantine);
        assert_eq!(plan(&deleting, Place::Node(&node("Unknown", OUT_OF_SERVICE))), Step::Remove(None));
        assert_eq!(plan(&deleting, Place::Node(&node("Unknown", "other"))), Step::Stay);
        assert_eq!(plan(&deleting, Place::Node(&node("True", OUT_OF_SERVICE))), Step::Stay);
    }

    #[test]
    fn of_too_many_ended_pods_the_evicted_and_the_oldest_go() {
        let ended = |name: &str, hour: u8, reason: &str| {
            let meta = json!({"name": name, "creationTimestamp": format!("2026-01-01T{hour:02}:00:00Z")});
            Arc::new(pod(&meta, &json!({"phase": "Failed", "reason": reason})))
        };
        let pods = vec![
            ended("young", 3, ""),
            ended("old", 1, ""),
            ended("evicted", 4, "Evicted"),
            Arc::new(pod(&json!({}), &json!({}))),
        ];
        let names: Vec<_> = too_many(pods, 1).iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        assert_eq!(names, ["evicted", "old"]);
    }
}
