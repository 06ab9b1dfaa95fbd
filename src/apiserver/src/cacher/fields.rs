//! The fields by which a resource's objects can be selected besides `metadata.name` and `metadata.namespace`.

use serde_json::Value;

/// Path in the object for each selectable field of a resource; `true` for the value of an absent boolean being `false`.
type Selectable = &'static [(&'static str, &'static str)];

const PODS: Selectable = &[
    ("spec.nodeName", "/spec/nodeName"),
    ("spec.restartPolicy", "/spec/restartPolicy"),
    ("spec.schedulerName", "/spec/schedulerName"),
    ("spec.serviceAccountName", "/spec/serviceAccountName"),
    ("spec.hostNetwork", "/spec/hostNetwork"),
    ("status.phase", "/status/phase"),
    ("status.podIP", "/status/podIP"),
    ("status.nominatedNodeName", "/status/nominatedNodeName"),
];

const EVENTS: Selectable = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("type", "/type"),
];

/// Resources whose selectable booleans read `false` when they are absent.
const BOOLEANS: &[&str] = &["spec.hostNetwork", "spec.unschedulable"];
/// Numbers read `0` when they are absent.
const NUMBERS: &[&str] = &["status.replicas", "status.successful"];

fn table(group: &str, resource: &str) -> Selectable {
    match (group, resource) {
        ("", "pods") => PODS,
        ("", "events") => EVENTS,
        ("", "secrets") => &[("type", "/type")],
        ("", "namespaces") => &[("status.phase", "/status/phase"), ("name", "/metadata/name")],
        ("", "nodes") => &[("spec.unschedulable", "/spec/unschedulable")],
        ("", "replicationcontrollers") => &[("status.replicas", "/status/replicas")],
        ("", "services") => &[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")],
        ("", "persistentvolumes" | "persistentvolumeclaims") => &[("name", "/metadata/name")],
        ("batch", "jobs") => &[("status.successful", "/status/succeeded")],
        ("certificates.k8s.io", "certificatesigningrequests") => &[("spec.signerName", "/spec/signerName")],
        ("resource.k8s.io", "resourceslices") => {
            &[("spec.nodeName", "/spec/nodeName"), ("spec.driver", "/spec/driver")]
        }
        ("apps", "replicasets") => &[("status.replicas", "/status/replicas")],
        _ => &[],
    }
}

/// What a field selector sees of `object`.
pub fn selectable(group: &str, resource: &str, object: &Value) -> Vec<(&'static str, String)> {
    table(group, resource).iter().map(|(field, pointer)| (*field, text(field, object.pointer(pointer)))).collect()
}

/// Whether `field` selects objects of the resource.
pub fn is_selectable(group: &str, resource: &str, field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
        || table(group, resource).iter().any(|(name, _)| *name == field)
}

/// Why `field` does not select objects of the resource, as kube-apiserver words it.
pub fn unsupported(group: &str, resource: &str, field: &str) -> String {
    if table(group, resource).is_empty() {
        format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {field}")
    }
}

fn text(field: &str, value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ if BOOLEANS.contains(&field) => "false".into(),
        _ if NUMBERS.contains(&field) => "0".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_selected_by_their_node_and_absent_booleans_are_false() {
        let fields = selectable("", "pods", &json!({"spec":{"nodeName":"n"},"status":{"phase":"Running"}}));
        assert!(fields.contains(&("spec.nodeName", "n".into())));
        assert!(fields.contains(&("spec.hostNetwork", "false".into())));
        assert!(fields.contains(&("status.podIP", String::new())));
    }

    #[test]
    fn unknown_fields_are_named_as_kubernetes_names_them() {
        assert!(!is_selectable("", "configmaps", "data.n"));
        assert_eq!(unsupported("", "pods", "spec.containers"), "field label not supported: spec.containers");
        assert!(unsupported("", "configmaps", "data.n").starts_with("\"data.n\" is not a known field selector"));
    }
}
