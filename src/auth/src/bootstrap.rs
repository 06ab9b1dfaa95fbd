//! What exists in a cluster before anyone adds to it: roles and bindings, priority classes, flow control.

use serde_json::Value;

/// Kubernetes' own, as kube-apiserver makes them.
const KUBERNETES: &str = include_str!("../data/bootstrap-objects.json");
/// Ours, called `coracle:…`: what machines that join may do, and what all nodes may know.
const OWN: &str = include_str!("../data/join-objects.json");

/// The resources of the documents with the version and kind of each. Namespaces and the Service `kubernetes` are not
/// here: the API server makes them with addresses of its own.
const KINDS: &[(&str, &str, &str)] = &[
    ("clusterroles", "rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("clusterrolebindings", "rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("roles", "rbac.authorization.k8s.io/v1", "Role"),
    ("rolebindings", "rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("priorityclasses", "scheduling.k8s.io/v1", "PriorityClass"),
    ("prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"),
    ("flowschemas", "flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
];

/// The objects, each with its kind and version.
pub fn objects() -> Vec<Value> {
    let mut objects = Vec::new();
    for document in [KUBERNETES, OWN] {
        let mut document: Value = serde_json::from_str(document).expect("the embedded document is JSON");
        for (resource, api_version, kind) in KINDS {
            let Value::Array(items) = document[*resource].take() else { continue };
            objects.extend(items.into_iter().map(|mut object| {
                object["apiVersion"] = (*api_version).into();
                object["kind"] = (*kind).into();
                object
            }));
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roles_of_a_cluster_are_there() {
        let objects = objects();
        let has = |kind: &str, name: &str| {
            objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        };
        assert!(has("ClusterRole", "cluster-admin") && has("ClusterRoleBinding", "system:node-proxier"));
        assert!(has("PriorityClass", "system-node-critical"));
    }

    #[test]
    fn what_is_ours_says_so_and_binds_roles_that_exist() {
        let document: Value = serde_json::from_str(OWN).expect("JSON");
        let all = objects();
        for (resource, _, _) in KINDS {
            for object in document[*resource].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().expect("a name");
                assert!(name.starts_with("coracle:"), "{name}");
                let role = &object["roleRef"];
                let bound = |other: &Value| {
                    other["kind"] == role["kind"]
                        && other["metadata"]["name"] == role["name"]
                        && (role["kind"] == "ClusterRole"
                            || other["metadata"]["namespace"] == object["metadata"]["namespace"])
                };
                assert!(role.is_null() || all.iter().any(bound), "{name} binds {role}");
            }
        }
    }
}
