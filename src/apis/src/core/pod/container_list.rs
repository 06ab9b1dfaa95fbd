//! The three lists of a pod's containers.

use std::collections::HashSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::{container, ports, probe, restart_rules, spec::Scope};
use crate::json::{list, some, text};

/// Fields that ephemeral containers have in common with others and may not use, in Go's order.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// The containers that a pod is there for.
pub(crate) fn check_regular(errors: &mut ErrorList, path: &Path, containers: &[Value], scope: &Scope<'_>) {
    if containers.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let mut names = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        container::check(errors, &path, container, scope);
        let name = text(container, "name");
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        check_service(errors, &path, container, scope);
        restart_rules::check_container(errors, &path, container, false);
    }
    ports::check_conflicts(errors, path, containers.iter().enumerate());
}

/// The containers that run before.
pub(crate) fn check_init(errors: &mut ErrorList, path: &Path, spec: &Value, scope: &Scope<'_>) {
    let mut names: HashSet<_> = list(spec, "containers").iter().map(|container| text(container, "name")).collect();
    for (index, container) in list(spec, "initContainers").iter().enumerate() {
        let at = path.index(index);
        container::check(errors, &at, container, scope);
        restart_rules::check_container(errors, &at, container, true);
        let name = text(container, "name");
        if names.contains(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        } else if !name.is_empty() {
            names.insert(name);
        }
        // They run one after the other, so that ports only conflict within each.
        ports::check_conflicts(errors, path, [(index, container)]);
        if restart_rules::is_sidecar(container) {
            check_service(errors, &at, container, scope);
            continue;
        }
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if some(container, name).is_some() {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(&at.child(name), why));
            }
        }
    }
}

/// What only containers have that serve for as long as the pod does.
fn check_service(errors: &mut ErrorList, path: &Path, container: &Value, scope: &Scope<'_>) {
    probe::check_lifecycle(errors, path, container, scope.grace_seconds);
    for name in probe::PROBES {
        probe::check(errors, path, container, name);
    }
}

/// The containers that were added to a running pod.
pub(crate) fn check_ephemeral(errors: &mut ErrorList, path: &Path, spec: &Value, scope: &Scope<'_>) {
    let names = |list_name| list(spec, list_name).iter().map(|container| text(container, "name"));
    let others: HashSet<_> = names("containers").chain(names("initContainers")).collect();
    let mut all = others.clone();
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let at = path.index(index);
        container::check(errors, &at, container, scope);
        check_image(errors, &at, container);
        let name = text(container, "name");
        if !all.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&at.child("targetContainerName"), target));
        }
        for name in NOT_EPHEMERAL {
            // An empty struct is nothing to Go, an empty list is something.
            let given =
                some(container, name).is_some_and(|value| *name != "resources" || *value != serde_json::json!({}));
            if given {
                errors.push(FieldError::forbidden(&at.child(name), "cannot be set for an Ephemeral Container"));
            }
        }
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for name in ["subPath", "subPathExpr"] {
                if !text(mount, name).is_empty() {
                    let path = at.child("volumeMounts").index(index).child(name);
                    errors.push(FieldError::forbidden(&path, "cannot be set for an Ephemeral Container"));
                }
            }
        }
    }
}

/// What is checked of images in pods and not in templates.
pub(crate) fn check_images(errors: &mut ErrorList, path: &Path, containers: &[Value]) {
    for (index, container) in containers.iter().enumerate() {
        check_image(errors, &path.index(index), container);
    }
}

fn check_image(errors: &mut ErrorList, path: &Path, container: &Value) {
    let image = text(container, "image");
    if image.trim() != image {
        errors.push(FieldError::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
}
