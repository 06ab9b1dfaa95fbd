//! Changes of a running pod through subresources: containers for debugging, and other amounts of CPU and memory.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    gotext,
};
use serde_json::Value;

use super::{annotations, resources::quality, restart_rules, update::is_mirror};
use crate::json::{field, keep, list, some, text};

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
    keep(spec, &sent, "resources");
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

/// Ephemeral containers are only added.
pub(crate) fn check_ephemeral_containers(errors: &mut ErrorList, new: &Value, old: &Value) {
    annotations::check_update(errors, new, old);
    if is_mirror(old) {
        errors.push(nowhere("static pods do not support ephemeral containers"));
    }
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

/// Only CPU and memory change, of containers that run for as long as the pod, and the pod's quality of service does not.
pub(crate) fn check_resize(errors: &mut ErrorList, new: &Value, old: &Value) {
    annotations::check_update(errors, new, old);
    let path = Path::new("spec");
    let (spec, old_spec) = (field(new, "spec"), field(old, "spec"));
    if is_mirror(old) {
        errors.push(nowhere("static pods cannot be resized"));
    }
    if text(field(old_spec, "os"), "name") == "windows" {
        errors.push(nowhere("windows pods cannot be resized"));
    }
    if !is_supported(old) {
        errors.push(nowhere("Pod running on node without support for resize"));
    }
    for name in ["containers", "initContainers"] {
        for (index, (after, before)) in list(spec, name).iter().zip(list(old_spec, name)).enumerate() {
            let (after_resources, before_resources) = (field(after, "resources"), field(before, "resources"));
            let path = path.child(name).index(index).child("resources");
            if name == "initContainers" && !restart_rules::is_sidecar(before) && after_resources != before_resources {
                let why = "only cpu and memory resources for sidecar containers are mutable";
                errors.push(FieldError::forbidden(&path, why));
                continue;
            }
            check_amounts(errors, &path, after_resources, before_resources);
        }
    }
    let (before, after) = (quality(old_spec), quality(spec));
    if before != after {
        let shown = text(field(new, "status"), "qosClass");
        errors.push(FieldError::invalid(&path, shown, "Pod QOS Class may not change as a result of resizing"));
    }
}

fn check_amounts(errors: &mut ErrorList, path: &Path, after: &Value, before: &Value) {
    for (kind, word) in [("requests", "resource requests"), ("limits", "resource limits")] {
        let path = path.child(kind);
        let (now, was) = (field(after, kind), field(before, kind));
        if RESIZABLE.iter().any(|name| some(was, name).is_some() && some(now, name).is_none()) {
            errors.push(FieldError::forbidden(&path, format!("{word} cannot be removed")));
        }
        let others = |amounts: &Value| -> Vec<(String, Value)> {
            let all = amounts.as_object().into_iter().flatten();
            all.filter(|(name, _)| !RESIZABLE.contains(&name.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        if others(now) != others(was) {
            errors.push(FieldError::forbidden(&Path::new("spec"), "only cpu and memory resources are mutable"));
        }
    }
    if field(after, "claims") != field(before, "claims") {
        errors.push(FieldError::forbidden(&Path::new("spec"), "only cpu and memory resources are mutable"));
    }
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
