//! The claims that a pod's generic ephemeral volumes stand for.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    framework::{controller_of, controller_ref},
    pods,
    pvcprotection::plan::claim_name,
};

/// The claims to make for a pod, and the names of those that are there and are not its own.
pub fn plan(
    pod: &Pod,
    there: impl Fn(&str) -> Option<std::sync::Arc<PersistentVolumeClaim>>,
) -> (Vec<PersistentVolumeClaim>, Vec<String>) {
    let (mut missing, mut taken) = (Vec::new(), Vec::new());
    if pods::is_deleting(pod) {
        return (missing, taken);
    }
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
        let (Some(template), Some(name)) = (template, claim_name(pod, volume)) else { continue };
        match there(&name) {
            Some(claim)
                if controller_of(&*claim).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref()) => {}
            Some(_) => taken.push(name),
            None => {
                let meta = template.metadata.clone().unwrap_or_default();
                missing.push(PersistentVolumeClaim {
                    metadata: ObjectMeta {
                        name: Some(name),
                        namespace: pod.metadata.namespace.clone(),
                        labels: meta.labels,
                        annotations: meta.annotations,
                        owner_references: Some(vec![controller_ref(pod)]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(template.spec.clone()),
                    status: None,
                });
            }
        }
    }
    (missing, taken)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_made_once_and_anothers_is_not_taken() {
        let template = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "1"},
            "spec": {"containers": [], "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]}}))
        .expect("a pod");
        let (made, _) = plan(&pod, |_| None);
        let claim = json!(made[0]);
        assert_eq!(
            (&claim["metadata"]["name"], &claim["metadata"]["ownerReferences"][0]["uid"]),
            (&json!("p-v"), &json!("1"))
        );
        let own = Arc::new(made[0].clone());
        assert_eq!(plan(&pod, |_| Some(own.clone())), (Vec::new(), Vec::new()));
        let other = Arc::new(PersistentVolumeClaim::default());
        assert_eq!(plan(&pod, |_| Some(other.clone())), (Vec::new(), vec!["p-v".to_owned()]));
    }
}
