//! Devices: a pod waits until its claims are there, and runs nowhere while one of them is not allocated.
//!
//! Allocating is not there yet: it needs the expressions (CEL) with which classes and claims select devices.

use std::collections::HashMap;

use k8s_openapi::api::resource::v1::ResourceClaim;

use super::Refusal;
use crate::{cache::NodeInfo, framework::Cycle, labels::node_matches, pod::PodInfo};

/// Claims by namespace and name.
pub type Claims = HashMap<(String, String), ResourceClaim>;

/// The names of a pod's claims; `None` for one that is yet to be made from its template.
fn names(pod: &PodInfo) -> Vec<Option<&str>> {
    let wanted = pod.pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default();
    let made = pod.pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref()).unwrap_or_default();
    let of_template = |name: &str| {
        let status = made.iter().find(|status| status.name == name)?;
        status.resource_claim_name.as_deref()
    };
    wanted.iter().map(|claim| claim.resource_claim_name.as_deref().or_else(|| of_template(&claim.name))).collect()
}

/// Whether all claims of a pod are there.
pub fn are_there(pod: &PodInfo, claims: &Claims) -> bool {
    names(pod)
        .into_iter()
        .all(|name| name.is_some_and(|name| claims.contains_key(&(pod.namespace.clone(), name.to_owned()))))
}

/// Refuses nodes from which allocated devices are not reached, and all while one is not allocated or is not kept for the pod.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    for name in names(cycle.pod) {
        let key = (cycle.pod.namespace.clone(), name.unwrap_or_default().to_owned());
        let status = cycle.cache.claims.get(&key).and_then(|claim| claim.status.as_ref());
        let kept = status.and_then(|status| status.reserved_for.as_deref()).unwrap_or_default();
        let allocation = status.and_then(|status| status.allocation.as_ref());
        let Some(allocation) = allocation.filter(|_| kept.iter().any(|consumer| consumer.uid == cycle.pod.uid)) else {
            return Err(Refusal::unresolvable("cannot allocate all claims"));
        };
        let reached = allocation.node_selector.as_ref();
        if reached.is_some_and(|selector| !node_matches(selector, &node.name, &node.labels)) {
            return Err(Refusal::unresolvable("resourceclaim not available on the node"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{from_value, json};

    use super::*;
    use crate::cache::Cache;

    #[test]
    fn a_pod_goes_where_the_devices_are_that_are_kept_for_it() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "resourceClaims": [{"name": "d", "resourceClaimName": "c"}]}});
        let pod = PodInfo::new(Arc::new(from_value(pod).unwrap()));
        let mut cache = Cache::default();
        for name in ["a", "b"] {
            let labels = json!({"kubernetes.io/hostname": name});
            cache.set_node(&from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap());
        }
        assert!(!are_there(&pod, &cache.claims));
        let claim = |status: serde_json::Value| {
            from_value(json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {}, "status": status})).unwrap()
        };
        let allows = |cache: &Cache, node: &str| {
            let cycle = Cycle::new(&pod, cache, cache.nodes().collect());
            filter(&cycle, cache.node(node).unwrap()).is_ok()
        };
        cache.claims.insert(("n".into(), "c".into()), claim(json!({})));
        assert!(are_there(&pod, &cache.claims) && !allows(&cache, "a"));
        let on_b = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}]});
        let status = json!({"allocation": {"nodeSelector": on_b}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
        cache.claims.insert(("n".into(), "c".into()), claim(status));
        assert!(allows(&cache, "b") && !allows(&cache, "a"));
    }
}
