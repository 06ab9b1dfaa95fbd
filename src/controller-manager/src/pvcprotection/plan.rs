//! Which pods use a claim.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

use crate::{framework::controller_of, pods};

/// The name of the claim that a pod's volume is, or makes.
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name))
}

/// The names of all claims that a pod names.
pub fn claim_names(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_name(pod, volume))
}

/// Whether `pod`, which names the claim, holds it: it has a node, and a claim that it makes is really its own.
pub fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let mine = controller_of(claim).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let named = volumes
        .any(|volume| claim_name(pod, volume).is_some_and(|one| one == name) && (volume.ephemeral.is_none() || mine));
    named && !pods::node_name(pod).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_pods_on_nodes_hold_claims() {
        let pod = |node: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "1"}, "spec": {"nodeName": node, "containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "e", "ephemeral": {}}, {"name": "x", "emptyDir": {}}]}}))
            .expect("a pod")
        };
        let claim = |name: &str, owner: &str| -> PersistentVolumeClaim {
            let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]);
            serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owner}})).expect("a claim")
        };
        assert_eq!(claim_names(&pod("n")).collect::<Vec<_>>(), ["c", "p-e"]);
        assert!(uses(&pod("n"), &claim("c", "2")));
        assert!(!uses(&pod(""), &claim("c", "2")));
        assert!(uses(&pod("n"), &claim("p-e", "1")));
        assert!(!uses(&pod("n"), &claim("p-e", "2")));
    }
}
