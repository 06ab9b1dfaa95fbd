//! Annotations of pods that Kubernetes reads: what was said by them before there were fields.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::volume::check_descending_path;
use crate::json::{field, list, some, text};

const MIRROR: &str = "kubernetes.io/config.mirror";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// Containers in the order in which they are visited.
const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

/// Checks annotations at `path` against the spec that they are about.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, annotations: &Value, spec: &Value) {
    if let Some(value) = some(annotations, MIRROR).and_then(Value::as_str)
        && text(spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value, why));
    }
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if key == SECCOMP || key.starts_with(SECCOMP_CONTAINER) {
            check_seccomp(errors, &path.child(key), value);
        }
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        if !LISTS.iter().any(|name| list(spec, name).iter().any(|one| text(one, "name") == container)) {
            errors.push(FieldError::invalid(&path.key(key), container, "container not found"));
        }
        let fine = matches!(value, "" | "runtime/default" | "unconfined") || value.starts_with("localhost/");
        if !fine {
            let why = format!("invalid AppArmor profile name: {}", apimachinery::gotext::quote(value));
            errors.push(FieldError::invalid(&path.key(key), value, why));
        }
    }
}

fn check_seccomp(errors: &mut ErrorList, path: &Path, profile: &str) {
    match profile.strip_prefix("localhost/") {
        Some(place) => check_descending_path(errors, path, place),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => errors.push(FieldError::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

/// In a new pod an annotation about a profile and the field of the same meaning say the same.
pub(crate) fn check_fields_agree(errors: &mut ErrorList, pod: &Value) {
    let spec = field(pod, "spec");
    let annotations = field(field(pod, "metadata"), "annotations");
    if annotations.is_null() {
        return;
    }
    let path = Path::new("spec");
    let of_pod = |name: &str| field(field(spec, "securityContext"), name);
    let said = text(annotations, SECCOMP);
    check_agreement(
        errors,
        &path.child("securityContext").child("seccompProfile"),
        said,
        of_pod("seccompProfile"),
        "seccomp",
    );
    let each = LISTS.iter().flat_map(|name| list(spec, name).iter().enumerate().map(move |(at, one)| (name, at, one)));
    for (kind, prefix, name) in
        [("seccomp", SECCOMP_CONTAINER, "seccompProfile"), ("apparmor", APP_ARMOR, "appArmorProfile")]
    {
        if kind == "apparmor" && text(field(spec, "os"), "name") == "windows" {
            continue;
        }
        for (list_name, index, container) in each.clone() {
            let own = some(field(container, "securityContext"), name);
            // What a pod says of AppArmor holds for its containers; what it says of seccomp has an annotation of its own.
            let profile = own.unwrap_or(if kind == "apparmor" { of_pod(name) } else { &Value::Null });
            let said = text(annotations, &format!("{prefix}{}", text(container, "name")));
            let path = path.child(list_name).index(index).child("securityContext").child(name);
            check_agreement(errors, &path, said, profile, kind);
        }
    }
}

fn check_agreement(errors: &mut ErrorList, path: &Path, said: &str, profile: &Value, kind: &str) {
    if said.is_empty() || profile.is_null() {
        return;
    }
    let same_type = match text(profile, "type") {
        "Unconfined" => said == "unconfined",
        "RuntimeDefault" => said == "runtime/default" || kind == "seccomp" && said == "docker/default",
        "Localhost" => said.starts_with("localhost/"),
        _ => return,
    };
    if !same_type {
        let why = format!("{kind} type in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("type"), why));
    } else if let Some(place) = said.strip_prefix("localhost/")
        && some(profile, "localhostProfile").and_then(Value::as_str) != Some(place)
    {
        let why = format!("{kind} profile in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("localhostProfile"), why));
    }
}

/// Annotations of a pod that exists may not be changed where a container was started by them.
pub(crate) fn check_update(errors: &mut ErrorList, new: &Value, old: &Value) {
    let path = Path::new("metadata").child("annotations");
    let (new, old) = (field(field(new, "metadata"), "annotations"), field(field(old, "metadata"), "annotations"));
    let all = old.as_object().into_iter().chain(new.as_object()).flat_map(|map| map.keys());
    let mut seen = std::collections::BTreeSet::new();
    for key in all.filter(|key| key.starts_with(APP_ARMOR)) {
        if seen.insert(key) && field(new, key) != field(old, key) {
            let why = "may not remove or update AppArmor annotations";
            errors.push(FieldError::forbidden(&path.key(key), why));
        }
    }
    if field(new, MIRROR) != field(old, MIRROR) {
        errors.push(FieldError::forbidden(&path.key(MIRROR), "may not be added, updated or removed"));
    }
}
