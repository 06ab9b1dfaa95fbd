//! Changes of a running pod through subresources: containers for debugging, and other amounts of CPU and memory.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    gotext,
};
use serde_json::Value;

use super::{annotations, resources::quality, restart_rules, update::is_mirror};
use crate::json::{entries, field, keep, list, some, text};

/// What can be resized.
const RESIZABLE: &[&str] = &["cpu", "memory"];

/// Takes only the ephemeral containers from what is sent.
pub(crate) fn keep_all_but_ephemeral_containers(new: &mut Value, old: &Value) {
    let sent = new.get_mut("spec").and_then(|spec| spec.get_mut("ephemeralContainers")).map(Value::take);
    keep_pod(new, old);
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
        match sent {
            Some(containers) => spec.insert("ephemeralContainers".into(), containers),
            None => spec.remove("ephemeralContainers"),
        };
    }
}

/// Takes only resources and resize policies from what is sent, container by container.
pub(crate) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let sent = new.get_mut("spec").map(Value::take).unwrap_or_default();
    keep_pod(new, old);
    let Some(spec) = new.get_mut("spec") else { return };
    if some(&sent, "resources").is_some() {
        // Of a pod as a whole, which is refused and not left out.
        keep(spec, &sent, "resources");
    }
    for name in ["containers", "initContainers"] {
        for container in spec.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            let this = text(container, "name").to_owned();
            let Some(wanted) = list(&sent, name).iter().find(|other| text(other, "name") == this) else { continue };
            keep(container, wanted, "resources");
            keep(container, wanted, "resizePolicy");
        }
    }
}

/// Everything as it is stored, but for the name and the version that the client saw.
fn keep_pod(new: &mut Value, old: &Value) {
    let metadata = new.get_mut("metadata").map(Value::take);
    *new = old.clone();
    if let Some(metadata) = metadata {
        for name in ["resourceVersion", "managedFields"] {
            keep(&mut new["metadata"], &metadata, name);
        }
    }
}

/// Why a pod takes no ephemeral containers at all.
pub(crate) fn refuses_ephemeral_containers(old: &Value) -> Option<FieldError> {
    is_mirror(old).then(|| nowhere("static pods do not support ephemeral containers"))
}

/// Ephemeral containers are only added.
pub(crate) fn check_ephemeral_containers(errors: &mut ErrorList, new: &Value, old: &Value) {
    annotations::check_update(errors, new, old);
    let path = Path::new("spec").child("ephemeralContainers");
    let containers = list(field(new, "spec"), "ephemeralContainers");
    for before in list(field(old, "spec"), "ephemeralContainers") {
        let name = text(before, "name");
        let why = match containers.iter().find(|container| text(container, "name") == name) {
            None => "may not be removed\n",
            Some(after) if after != before => "may not be changed\n",
            Some(_) => continue,
        };
        let why = format!("existing ephemeral containers {} {why}", gotext::quote(name));
        errors.push(FieldError::forbidden(&path, why));
    }
}

/// Why a pod is not resized at all.
pub(crate) fn refuses_resize(new: &Value, old: &Value) -> Option<FieldError> {
    let as_a_whole = |pod: &Value| {
        let resources = field(field(pod, "spec"), "resources");
        ["requests", "limits"].iter().any(|kind| entries(resources, kind).next().is_some())
    };
    let why = if as_a_whole(old) || as_a_whole(new) {
        "pods with pod-level resources cannot be resized"
    } else if is_mirror(old) {
        "static pods cannot be resized"
    } else if text(field(field(old, "spec"), "os"), "name") == "windows" {
        "windows pods cannot be resized"
    } else {
        return None;
    };
    Some(nowhere(why))
}

/// Only CPU and memory change, of containers that run for as long as the pod, and the pod's quality of service does not.
pub(crate) fn check_resize(errors: &mut ErrorList, new: &Value, old: &Value) {
    let path = Path::new("spec");
    let (spec, old_spec) = (field(new, "spec"), field(old, "spec"));
    let (before, after) = (quality(old_spec), quality(spec));
    if before != after {
        let shown = text(field(new, "status"), "qosClass");
        errors.push(FieldError::invalid(&path, shown, "Pod QOS Class may not change as a result of resizing"));
    }
    if !is_supported(old) {
        errors.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    let pairs = |name| list(spec, name).iter().zip(list(old_spec, name)).enumerate();
    for name in ["initContainers", "containers"] {
        for (index, (after, before)) in pairs(name) {
            if name == "containers" || restart_rules::is_sidecar(before) {
                let path = path.child(name).index(index).child("resources");
                check_removed(errors, &path, field(after, "resources"), field(before, "resources"));
            }
        }
    }
    let mut refuse = |why| errors.push(FieldError::forbidden(&path, why));
    for (_, (after, before)) in pairs("containers") {
        if !differs_in_amounts_only(field(after, "resources"), field(before, "resources")) {
            refuse("only cpu and memory resources are mutable");
        }
    }
    for (_, (after, before)) in pairs("initContainers") {
        if !restart_rules::is_sidecar(before) {
            if after != before {
                refuse("resources for non-sidecar init containers are immutable");
            }
        } else if !differs_in_amounts_only(field(after, "resources"), field(before, "resources")) {
            refuse("only cpu and memory resources for sidecar containers are mutable");
        }
    }
}

/// What is asked for or limited stays so, if by another amount.
fn check_removed(errors: &mut ErrorList, path: &Path, after: &Value, before: &Value) {
    for (kind, word) in [("requests", "resource requests"), ("limits", "resource limits")] {
        if entries(before, kind).any(|(name, _)| some(field(after, kind), name).is_none()) {
            errors.push(FieldError::forbidden(&path.child(kind), format!("{word} cannot be removed")));
        }
    }
}

/// Whether two sets of resources are the same apart from CPU and memory.
fn differs_in_amounts_only(after: &Value, before: &Value) -> bool {
    let others = |resources, kind| entries(resources, kind).filter(|(name, _)| !RESIZABLE.contains(&name.as_str()));
    field(after, "claims") == field(before, "claims")
        && ["requests", "limits"].iter().all(|kind| others(after, kind).eq(others(before, kind)))
}

/// Whether the pod's kubelet says what its containers have; one that runs none yet is not asked.
fn is_supported(pod: &Value) -> bool {
    let statuses = list(field(pod, "status"), "containerStatuses");
    let running = statuses.iter().find(|status| some(field(status, "state"), "running").is_some());
    running.is_none_or(|status| some(status, "resources").is_some())
}

/// An error about the object as such.
fn nowhere(why: &str) -> FieldError {
    let mut error = FieldError::forbidden(&Path::root(), why);
    error.field.clear();
    error
}
