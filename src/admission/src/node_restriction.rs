//! `NodeRestriction`: a node changes itself and its own pods, and nothing else.

use apimachinery::status::Status;
use auth::{ObjectReader, node::node_of};
use serde_json::Value;

use crate::{Operation, Request, text};

/// Labels of its own that a node may set, besides those of `kubelet.kubernetes.io` and `node.kubernetes.io`.
const LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Refuses a node that reaches beyond itself.
pub fn validate(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    let Some(node) = node_of(request.user) else {
        let unnamed = request.user.groups.iter().any(|group| group == "system:nodes")
            && request.user.name.starts_with("system:node:");
        return if unnamed { Err(request.forbidden("could not determine node from user")) } else { Ok(()) };
    };
    let refuse = |why: String| Err(request.forbidden(&why));
    match (request.group, request.resource, request.subresource) {
        ("", "pods", side) => pods(request, node, side),
        ("", "nodes", _) => nodes(request, node),
        ("", "persistentvolumeclaims", "status") => match request.operation {
            Operation::Update => Ok(()),
            _ => refuse(format!("node {node:?} may only update PVC status")),
        },
        ("", "serviceaccounts", "token") if request.operation == Operation::Create => token(request, node, reader),
        ("coordination.k8s.io", "leases", _) => match request.operation {
            Operation::Create | Operation::Update | Operation::Delete => {
                if request.namespace != "kube-node-lease" {
                    return refuse("can only access leases in the \"kube-node-lease\" system namespace".to_owned());
                }
                let name = match request.object.as_deref() {
                    Some(lease) if request.operation == Operation::Create => text(lease, "/metadata/name"),
                    _ => request.name,
                };
                if name == node {
                    return Ok(());
                }
                refuse("can only access node lease with the same name as the requesting node".to_owned())
            }
            Operation::Connect => Ok(()),
        },
        ("storage.k8s.io", "csinodes", _) if request.operation != Operation::Connect => {
            let name = match request.object.as_deref() {
                Some(object) if request.operation == Operation::Create => text(object, "/metadata/name"),
                _ => request.name,
            };
            if name == node {
                return Ok(());
            }
            refuse("can only access CSINode with the same name as the requesting node".to_owned())
        }
        ("resource.k8s.io", "resourceslices", _) => {
            let slice = if request.operation == Operation::Delete { request.old } else { request.object.as_deref() };
            if slice.is_none_or(|slice| text(slice, "/spec/nodeName") == node) {
                return Ok(());
            }
            let what = if request.operation == Operation::Create { "create" } else { "access" };
            refuse(format!("can only {what} ResourceSlice with the same NodeName as the requesting node"))
        }
        _ => Ok(()),
    }
}

fn pods(request: &Request<'_>, node: &str, side: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbidden(&why));
    let object = request.object.as_deref();
    let bound = |pod: Option<&Value>| pod.map(|pod| text(pod, "/spec/nodeName").to_owned()).unwrap_or_default();
    match (request.operation, side) {
        (Operation::Create, "") => create_pod(request, object, node),
        (Operation::Delete, "") => {
            if bound(request.old) == node {
                return Ok(());
            }
            refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        (Operation::Update, "status") => {
            if bound(request.old) != node {
                return refuse(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            let labels = |pod: Option<&Value>| pod.and_then(|pod| pod.pointer("/metadata/labels")).cloned();
            if labels(object).filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
                != labels(request.old).filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
            {
                return refuse(format!("node {node:?} cannot update labels through pod status"));
            }
            Ok(())
        }
        // An eviction is judged when it deletes the pod.
        (Operation::Create, "eviction") => Ok(()),
        (Operation::Connect, _) => Ok(()),
        (_, "") => refuse(format!("unexpected operation UPDATE, node {node:?} can only create and delete mirror pods")),
        (_, other) => refuse(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    }
}

fn create_pod(request: &Request<'_>, pod: Option<&Value>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbidden(&why));
    let Some(pod) = pod else { return Ok(()) };
    if text(pod, "/metadata/annotations/kubernetes.io~1config.mirror").is_empty() {
        return refuse(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        ));
    }
    if text(pod, "/spec/nodeName") != node {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match owners {
        [] => {}
        [owner] => {
            if (text(owner, "/apiVersion"), text(owner, "/kind")) != ("v1", "Node") || text(owner, "/name") != node {
                return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
            }
            if owner["controller"] != true {
                return refuse(format!(
                    "node {node:?} can only create pods with an owner reference set to itself as a controller"
                ));
            }
            if owner["blockOwnerDeletion"] == true {
                return refuse(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
            }
        }
        _ => return refuse(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    }
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return refuse(format!("node {node:?} can not create pods that reference a service account"));
    }
    if let Some((what, _)) = refers(&pod["spec"]) {
        return refuse(format!("node {node:?} can not create pods that reference {what}"));
    }
    Ok(())
}

/// A reference to an object that a mirror pod must not have.
fn refers(value: &Value) -> Option<(&'static str, ())> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, inner)| {
            let what = match name.as_str() {
                "secretKeyRef" | "secretRef" | "secret" | "imagePullSecrets" => Some("secrets"),
                "configMapKeyRef" | "configMapRef" | "configMap" => Some("configmaps"),
                "persistentVolumeClaim" => Some("persistentvolumeclaims"),
                "serviceAccountToken" => Some("serviceaccounts"),
                "resourceClaims" => Some("resourceclaims"),
                _ => None,
            };
            let empty = inner.is_null() || inner.as_array().is_some_and(Vec::is_empty);
            what.filter(|_| !empty).map(|what| (what, ())).or_else(|| refers(inner))
        }),
        Value::Array(items) => items.iter().find_map(refers),
        _ => None,
    }
}

fn nodes(request: &Request<'_>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbidden(&why));
    let object = request.object.as_deref();
    match request.operation {
        Operation::Create => {
            let Some(object) = object else { return Ok(()) };
            let name = text(object, "/metadata/name");
            if name != node {
                return refuse(format!("node {node:?} is not allowed to create node {name:?}"));
            }
            if object.pointer("/spec/configSource").is_some_and(|source| !source.is_null()) {
                return refuse(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
            }
            let labels = restricted(&changed_labels(object, &Value::Null));
            if !labels.is_empty() {
                return refuse(format!(
                    "node {node:?} is not allowed to set the following labels: {}",
                    labels.join(", ")
                ));
            }
            Ok(())
        }
        Operation::Update => {
            if request.name != node {
                return refuse(format!("node {node:?} is not allowed to modify node {:?}", request.name));
            }
            let (Some(new), Some(old)) = (object, request.old) else { return Ok(()) };
            let field = |node: &Value, pointer: &str| node.pointer(pointer).filter(|value| !value.is_null()).cloned();
            if field(new, "/spec/configSource").is_some_and(|new| Some(new) != field(old, "/spec/configSource")) {
                return refuse(format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            let empty =
                |value: Option<Value>| value.filter(|value| value.as_array().is_none_or(|list| !list.is_empty()));
            if empty(field(new, "/spec/taints")) != empty(field(old, "/spec/taints")) {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            if field(new, "/metadata/ownerReferences") != field(old, "/metadata/ownerReferences") {
                return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            let labels = restricted(&changed_labels(new, old));
            if !labels.is_empty() {
                return refuse(format!("is not allowed to modify labels: {}", labels.join(", ")));
            }
            Ok(())
        }
        Operation::Delete if request.name != node => {
            refuse(format!("node {node:?} is not allowed to modify node {:?}", request.name))
        }
        _ => Ok(()),
    }
}

/// Labels that differ between two objects.
fn changed_labels(new: &Value, old: &Value) -> Vec<String> {
    let labels =
        |object: &Value| object.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    let (new, old) = (labels(new), labels(old));
    let mut changed: Vec<String> =
        new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect();
    changed.extend(old.keys().filter(|key| !new.contains_key(*key)).cloned());
    changed.sort();
    changed
}

/// Those of the labels that a node may not set on itself.
fn restricted(labels: &[String]) -> Vec<String> {
    let is_restricted = |label: &&String| {
        let domain = label.split_once('/').map_or("", |(domain, _)| domain);
        let within = |wanted: &str| domain == wanted || domain.ends_with(&format!(".{wanted}"));
        if within("node-restriction.kubernetes.io") {
            return true;
        }
        if !within("kubernetes.io") && !within("k8s.io") {
            return false;
        }
        !LABELS.contains(&label.as_str()) && !within("kubelet.kubernetes.io") && !within("node.kubernetes.io")
    };
    labels.iter().filter(is_restricted).cloned().collect()
}

/// A node asks for tokens of its own pods only.
fn token(request: &Request<'_>, node: &str, reader: &dyn ObjectReader) -> Result<(), Status> {
    let refuse = |why: &str| Err(request.forbidden(why));
    let Some(review) = request.object.as_deref() else { return Ok(()) };
    let bound = review.pointer("/spec/boundObjectRef").filter(|bound| bound.is_object());
    let Some(bound) = bound else { return refuse(&format!("node requested token not bound to a pod: {node:?}")) };
    if (text(bound, "/apiVersion"), text(bound, "/kind")) != ("v1", "Pod") || text(bound, "/name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if text(bound, "/uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let name = text(bound, "/name");
    let Some(pod) = reader.get("", "pods", request.namespace, name) else {
        return Err(Status::not_found(&apimachinery::status::GroupResource::new("", "pods"), name));
    };
    if text(&pod, "/metadata/uid") != text(bound, "/uid") {
        return refuse(
            "the UID in the bound object reference does not match the UID in record. The object might have been deleted and then recreated",
        );
    }
    if text(&pod, "/spec/nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_sets_only_the_labels_that_are_its_own() {
        let labels = [
            "kubernetes.io/hostname",
            "a/b",
            "x.node.kubernetes.io/y",
            "kubernetes.io/evil",
            "node-restriction.kubernetes.io/z",
        ]
        .map(str::to_owned);
        assert_eq!(restricted(&labels), ["kubernetes.io/evil", "node-restriction.kubernetes.io/z"]);
    }
}
