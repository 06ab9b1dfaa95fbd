//! What holds for every kind: names, generations, and which side of an object a request may change.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

/// Kinds whose `metadata.generation` counts changes of what is wanted.
fn has_generation(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(kind, "Pod" | "ReplicationController"),
        "apps" => kind != "ControllerRevision",
        "batch"
        | "policy"
        | "networking.k8s.io"
        | "autoscaling"
        | "flowcontrol.apiserver.k8s.io"
        | "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "resource.k8s.io" => !matches!(kind, "HorizontalPodAutoscaler" | "IPAddress" | "ServiceCIDR"),
        "scheduling.k8s.io" => true,
        "storage.k8s.io" => false,
        _ => false,
    }
}

/// Whether a client that writes the whole object leaves `status` alone.
fn has_status(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "Pod"
                | "Service"
                | "Node"
                | "Namespace"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "ReplicationController"
                | "ResourceQuota"
        ),
        "apps" => kind != "ControllerRevision",
        "batch"
        | "autoscaling"
        | "policy"
        | "flowcontrol.apiserver.k8s.io"
        | "certificates.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io" => true,
        "networking.k8s.io" => matches!(kind, "Ingress" | "ServiceCIDR"),
        "admissionregistration.k8s.io" => kind == "ValidatingAdmissionPolicy",
        "storage.k8s.io" => kind == "VolumeAttachment",
        "resource.k8s.io" => kind == "ResourceClaim",
        _ => false,
    }
}

fn take(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// The status that a new object begins with.
fn first_status(group: &str, kind: &str, object: &Value) -> Value {
    match (group, kind) {
        ("", "Pod") => json!({"phase": "Pending", "qosClass": quality(object)}),
        ("", "Namespace") => json!({"phase": "Active"}),
        ("", "Service") | ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => json!({"replicas": 0}),
        ("apps", "StatefulSet") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }),
        ("policy", "PodDisruptionBudget") => {
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
        }
        ("storage.k8s.io", "VolumeAttachment") => json!({"attached": false}),
        ("autoscaling", _) => json!({"currentMetrics": null, "desiredReplicas": 0}),
        ("", "Node") => object.get("status").cloned().unwrap_or_else(|| json!({})),
        _ => json!({}),
    }
}

/// A pod's quality of service: what it asks for against what it may use.
fn quality(pod: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers =
        lists.iter().filter_map(|list| pod.pointer(&format!("/spec/{list}"))).filter_map(Value::as_array).flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let request = container.pointer(&format!("/resources/requests/{resource}"));
            let limit = container.pointer(&format!("/resources/limits/{resource}"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

pub(crate) fn prepare_for_create(group: &str, kind: &str, object: &mut Value) {
    if has_generation(group, kind) {
        meta::set(object, "generation", 1);
    }
    if has_status(group, kind) {
        let status = first_status(group, kind, object);
        object["status"] = status;
    }
    if (group, kind) == ("", "Namespace") {
        let finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            if !object["spec"].is_object() {
                object["spec"] = json!({});
            }
            object["spec"]["finalizers"] = json!(["kubernetes"]);
        }
    }
}

pub(crate) fn prepare_for_update(group: &str, kind: &str, subresource: Option<&str>, new: &mut Value, old: &Value) {
    match subresource {
        Some("status") => {
            // Only the status changes, and labels and annotations with it.
            let status = new.get("status").cloned();
            let metadata = new.get("metadata").cloned();
            let mut kept = old.clone();
            match status {
                Some(status) => kept["status"] = status,
                None => take(&mut kept, "status"),
            }
            if let Some(metadata) = metadata {
                kept["metadata"] = metadata;
            }
            *new = kept;
        }
        Some("approval" | "binding" | "finalize") => {}
        _ if has_status(group, kind) => match old.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => take(new, "status"),
        },
        _ => {}
    }
    if !matches!(subresource, Some("status" | "approval" | "binding" | "finalize")) && has_generation(group, kind) {
        let wanted = |object: &Value| {
            let mut object = object.clone();
            take(&mut object, "status");
            take(&mut object, "metadata");
            object
        };
        let generation = meta::generation(old);
        let changed = wanted(new) != wanted(old);
        meta::set(new, "generation", if changed { generation + 1 } else { generation });
    }
}

pub(crate) fn validate_create(group: &str, kind: &str, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata");
    let name = meta::name(object);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name or generateName is required"));
    } else if group != "rbac.authorization.k8s.io" {
        let problems = match (group, kind) {
            ("", "Namespace" | "Service") => names::is_dns1123_label(name),
            _ => names::is_dns1123_subdomain(name),
        };
        for problem in problems {
            errors.push(FieldError::invalid(&path.child("name"), name, problem));
        }
    }
    labels(object, &path, &mut errors);
    errors
}

fn labels(object: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("labels");
    for (key, value) in object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
        for problem in names::is_qualified_name(key) {
            errors.push(FieldError::invalid(&path, key.as_str(), problem));
        }
        for problem in value.as_str().map(names::is_label_value).unwrap_or_default() {
            errors.push(FieldError::invalid(&path, value.clone(), problem));
        }
    }
}

pub(crate) fn validate_update(
    _group: &str,
    _kind: &str,
    _subresource: Option<&str>,
    new: &Value,
    _old: &Value,
) -> ErrorList {
    let mut errors = ErrorList::new();
    labels(new, &Path::new("metadata"), &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_what_is_wanted_counts_as_a_generation() {
        let old =
            json!({"metadata": {"name": "d", "generation": 1}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let mut new = old.clone();
        new["status"]["replicas"] = 5.into();
        prepare_for_update("apps", "Deployment", None, &mut new, &old);
        assert_eq!(new, old, "the status is not the client's to set");
        new["spec"]["replicas"] = 2.into();
        prepare_for_update("apps", "Deployment", None, &mut new, &old);
        assert_eq!(new["metadata"]["generation"], 2);
        let mut status = old.clone();
        status["spec"]["replicas"] = 9.into();
        status["status"]["replicas"] = 3.into();
        prepare_for_update("apps", "Deployment", Some("status"), &mut status, &old);
        assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(1), &json!(3)));
    }

    #[test]
    fn a_new_object_has_a_name_and_a_first_status() {
        let mut pod =
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running"}});
        prepare_for_create("", "Pod", &mut pod);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
        assert!(validate_create("", "Pod", &pod).is_empty());
        assert_eq!(validate_create("", "Pod", &json!({"metadata": {}})).len(), 1);
        assert_eq!(validate_create("", "Pod", &json!({"metadata": {"name": "A_b"}})).len(), 1);
    }
}
