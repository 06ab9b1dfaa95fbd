//! What a node may do: read what its own pods refer to, and keep its own objects.

use std::sync::Arc;

use serde_json::Value;

use crate::{Attributes, Decision, ObjectReader, rbac::rule_allows, text};

/// Decides for users `system:node:NAME` of the group `system:nodes`.
pub struct NodeAuthorizer {
    reader: Arc<dyn ObjectReader>,
    /// What every node may do besides: the rules of `system:node`, which nobody is bound to.
    rules: Vec<Value>,
}

/// The name of the node that a user is, if it is one.
pub fn node_of(user: &crate::UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    user.groups.iter().any(|group| group == "system:nodes").then_some(name)
}

impl NodeAuthorizer {
    /// Over the objects that `reader` sees.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        let roles = crate::bootstrap::objects();
        let role = roles.iter().find(|role| role["kind"] == "ClusterRole" && role["metadata"]["name"] == "system:node");
        let rules = role.and_then(|role| role["rules"].as_array()).cloned().unwrap_or_default();
        Self { reader, rules }
    }

    /// Decides what is asked by a node; has no opinion of others.
    pub fn authorize(&self, attributes: &Attributes) -> Decision {
        let Some(node) = node_of(&attributes.user) else { return Decision::NoOpinion(String::new()) };
        if !attributes.resource_request {
            return Decision::NoOpinion(String::new());
        }
        let allowed = match (attributes.api_group.as_str(), attributes.resource.as_str()) {
            ("", "secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts") => {
                return self.referred_to(node, attributes);
            }
            ("", "nodes") => Self::own_node(node, attributes),
            ("", "pods") => match attributes.subresource.as_str() {
                "" => matches!(attributes.verb.as_str(), "get" | "list" | "watch" | "create" | "delete"),
                "status" => matches!(attributes.verb.as_str(), "update" | "patch"),
                "eviction" => attributes.verb == "create",
                _ => false,
            },
            ("coordination.k8s.io", "leases") => {
                attributes.namespace == "kube-node-lease"
                    && (attributes.verb == "create"
                        || attributes.name == node
                            && matches!(attributes.verb.as_str(), "get" | "update" | "patch" | "delete"))
            }
            ("", "events") | ("events.k8s.io", "events") => {
                matches!(attributes.verb.as_str(), "create" | "patch" | "update")
            }
            ("", "services")
            | ("discovery.k8s.io", "endpointslices")
            | ("node.k8s.io", "runtimeclasses")
            | ("", "persistentvolumes") => {
                matches!(attributes.verb.as_str(), "get" | "list" | "watch")
            }
            ("certificates.k8s.io", "certificatesigningrequests") => {
                matches!(attributes.verb.as_str(), "create" | "get" | "list" | "watch")
            }
            ("authentication.k8s.io", "tokenreviews")
            | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
                attributes.verb == "create"
            }
            ("storage.k8s.io", "csinodes") => {
                let own = attributes.name == node || attributes.name.is_empty() && attributes.verb == "create";
                attributes.subresource.is_empty()
                    && own
                    && matches!(attributes.verb.as_str(), "get" | "create" | "update" | "patch" | "delete")
            }
            _ => self.rules.iter().any(|rule| rule_allows(rule, attributes)),
        };
        if allowed { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
    }

    fn own_node(node: &str, attributes: &Attributes) -> bool {
        match (attributes.subresource.as_str(), attributes.verb.as_str()) {
            ("", "create" | "get" | "list" | "watch") => true,
            ("" | "status", "update" | "patch") => attributes.name == node,
            _ => false,
        }
    }

    /// Objects that pods bound to the node refer to.
    fn referred_to(&self, node: &str, attributes: &Attributes) -> Decision {
        let refusal = |why: &str| Decision::NoOpinion(why.to_owned());
        if attributes.resource == "serviceaccounts" {
            let ours = attributes.verb == "create" && attributes.subresource == "token";
            let uses = |pod: &Value| {
                let account = text(pod, "/spec/serviceAccountName");
                attributes.name == if account.is_empty() { "default" } else { account }
            };
            let ours = ours && self.pods_of(node, &attributes.namespace).iter().any(|pod| uses(pod));
            return if ours {
                Decision::Allow(String::new())
            } else {
                refusal("can only create tokens for individual service accounts")
            };
        }
        if !matches!(attributes.verb.as_str(), "get" | "list" | "watch") || !attributes.subresource.is_empty() {
            return refusal("can only read resources of this type");
        }
        if attributes.name.is_empty() {
            return refusal("No Object name found");
        }
        let pods = self.pods_of(node, &attributes.namespace);
        if pods.iter().any(|pod| refers(pod, &attributes.resource, &attributes.name)) {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(format!("no relationship found between node {node:?} and this object"))
    }

    fn pods_of(&self, node: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.reader.pods_of(node, namespace)
    }
}

/// Whether a pod's specification names the object.
fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    match resource {
        "configmaps" if name == "kube-root-ca.crt" => true,
        "secrets" => names(&pod["spec"], &["secretKeyRef", "secretRef", "secret", "imagePullSecrets"], name),
        "configmaps" => names(&pod["spec"], &["configMapKeyRef", "configMapRef", "configMap"], name),
        _ => names(&pod["spec"], &["persistentVolumeClaim"], name),
    }
}

/// Looks for a reference called one of `keys` to `wanted`, anywhere in `value`.
fn names(value: &Value, keys: &[&str], wanted: &str) -> bool {
    let is_it = |reference: &Value| {
        let named = |reference: &Value| {
            ["name", "secretName", "claimName"]
                .iter()
                .any(|field| reference.get(*field).and_then(Value::as_str) == Some(wanted))
        };
        named(reference) || reference.as_array().is_some_and(|list| list.iter().any(named))
    };
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(key, inner)| keys.contains(&key.as_str()) && is_it(inner) || names(inner, keys, wanted))
        }
        Value::Array(items) => items.iter().any(|inner| names(inner, keys, wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_refers_to_what_it_mounts_and_reads() {
        let pod = json!({"spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [{"secret": {"secretName": "keys"}}, {"projected": {"sources": [{"configMap": {"name": "settings"}}]}}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "word", "key": "k"}}}]}]}});
        for (resource, name) in
            [("secrets", "pull"), ("secrets", "keys"), ("secrets", "word"), ("configmaps", "settings")]
        {
            assert!(refers(&pod, resource, name), "{resource} {name}");
        }
        assert!(!refers(&pod, "secrets", "settings") && !refers(&pod, "configmaps", "keys"));
    }

    struct Nothing;

    impl ObjectReader for Nothing {
        fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
            None
        }
        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Value>> {
            Vec::new()
        }
    }

    #[test]
    fn a_node_keeps_its_own_objects_and_reads_what_every_node_needs() {
        let authorizer = NodeAuthorizer::new(Arc::new(Nothing));
        let user = crate::UserInfo {
            name: "system:node:a".into(),
            groups: vec!["system:nodes".into()],
            ..crate::UserInfo::default()
        };
        for (verb, group, resource, name, want) in [
            ("patch", "", "nodes", "a", true),
            ("patch", "", "nodes", "b", false),
            ("update", "storage.k8s.io", "csinodes", "a", true),
            ("update", "storage.k8s.io", "csinodes", "b", false),
            ("create", "storage.k8s.io", "csinodes", "", true),
            ("list", "storage.k8s.io", "csidrivers", "", true),
            ("list", "", "services", "", true),
            ("get", "", "secrets", "x", false),
            ("list", "", "secrets", "", false),
            ("get", "apps", "deployments", "x", false),
            ("create", "certificates.k8s.io", "certificatesigningrequests", "", true),
        ] {
            let asked = Attributes {
                user: user.clone(),
                verb: verb.into(),
                api_group: group.into(),
                api_version: "v1".into(),
                resource: resource.into(),
                name: name.into(),
                resource_request: true,
                ..Attributes::default()
            };
            let allowed = matches!(authorizer.authorize(&asked), Decision::Allow(_));
            assert_eq!(allowed, want, "{verb} {resource} {name}");
        }
    }
}
