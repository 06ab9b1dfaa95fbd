//! Environment variables and where their values come from.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::volume::Volumes;
use crate::{
    checks,
    json::{field, has, some, text},
};

/// Fields of a pod that a variable may show.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that a file may show.
pub(crate) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields that have a name in `v1` at all.
const FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Resources of a container that a variable or a file may show.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// The variables of a container.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, variables: &[Value], volumes: &Volumes<'_>) {
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        let name = text(variable, "name");
        if checks::required(errors, &path.child("name"), name) {
            checks::invalid(errors, &path.child("name"), name, names::is_relaxed_env_var_name(name));
        }
        if let Some(source) = some(variable, "valueFrom") {
            check_source(errors, &path.child("valueFrom"), source, text(variable, "value"), volumes);
        }
    }
}

fn check_source(errors: &mut ErrorList, path: &Path, source: &Value, value: &str, volumes: &Volumes<'_>) {
    if let Some(reference) = some(source, "fieldRef") {
        check_field(errors, &path.child("fieldRef"), reference, ENV_FIELDS);
    }
    if let Some(reference) = some(source, "resourceFieldRef") {
        check_resource(errors, &path.child("resourceFieldRef"), reference, false);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = some(source, name) {
            let path = path.child(name);
            checks::dns_subdomain(errors, &path.child("name"), text(reference, "name"));
            check_key(errors, &path.child("key"), text(reference, "key"));
        }
    }
    if let Some(reference) = some(source, "fileKeyRef") {
        check_file(errors, &path.child("fileKeyRef"), reference, volumes);
    }
    let why = match SOURCES.iter().filter(|name| has(source, name)).count() {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", why));
}

fn check_key(errors: &mut ErrorList, path: &Path, key: &str) {
    if checks::required(errors, path, key) {
        checks::invalid(errors, path, key, names::is_config_map_key(key));
    }
}

/// A variable out of a file that an earlier container wrote.
fn check_file(errors: &mut ErrorList, path: &Path, reference: &Value, volumes: &Volumes<'_>) {
    if checks::required(errors, &path.child("key"), text(reference, "key")) {
        let key = text(reference, "key");
        checks::invalid(errors, &path.child("key"), key, names::is_relaxed_env_var_name(key));
    }
    let volume = text(reference, "volumeName");
    if checks::required(errors, &path.child("volumeName"), volume) {
        checks::dns_label(errors, &path.child("volumeName"), volume);
    }
    let file = text(reference, "path");
    if checks::required(errors, &path.child("path"), file) {
        super::volume::check_no_backsteps(errors, &path.child("path"), file);
    }
    match volumes.get(volume) {
        None => errors.push(FieldError::not_found(&path.child("volumeName"), volume)),
        Some(source) if !has(source, "emptyDir") => {
            let why = "referenced volume must be of type emptyDir";
            errors.push(FieldError::invalid(&path.child("volumeName"), volume, why));
        }
        Some(_) => {}
    }
}

/// Where whole sets of variables come from.
pub(crate) fn check_from(errors: &mut ErrorList, path: &Path, sources: &[Value]) {
    for (index, source) in sources.iter().enumerate() {
        let at = path.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            checks::invalid(errors, &at.child("prefix"), prefix, names::is_relaxed_env_var_name(prefix));
        }
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            if let Some(reference) = some(source, name) {
                count += 1;
                let path = at.child(name).child("name");
                let name = text(reference, "name");
                if checks::required(errors, &path, name) {
                    checks::dns_subdomain(errors, &path, name);
                }
            }
        }
        if count != 1 {
            let why = if count == 0 {
                "must specify one of: `configMapRef` or `secretRef`"
            } else {
                "may not have more than one field specified at a time"
            };
            errors.push(FieldError::invalid(path, "", why));
        }
    }
}

/// A reference to a field of the pod.
pub(crate) fn check_field(errors: &mut ErrorList, path: &Path, reference: &Value, allowed: &[&str]) {
    let (version, label) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    let place = path.child("fieldPath");
    if !checks::required(errors, &path.child("apiVersion"), version) || !checks::required(errors, &place, label) {
        return;
    }
    let subscripted =
        label.strip_suffix("']").and_then(|rest| rest.split_once("['")).filter(|(name, _)| !name.is_empty());
    let problem = match subscripted {
        _ if version != "v1" => Some(format!("unsupported pod version: {version}")),
        Some(("metadata.annotations" | "metadata.labels", _)) => None,
        Some(_) => Some(format!("field label does not support subscript: {label}")),
        None if FIELDS.contains(&label) || label == "spec.host" => None,
        None => Some(format!("field label not supported: {label}")),
    };
    if let Some(problem) = problem {
        errors.push(FieldError::invalid(&place, label, format!("error converting fieldPath: {problem}")));
        return;
    }
    match subscripted {
        Some((name, key)) => {
            let lower = key.to_lowercase();
            let problems = names::is_qualified_name(if name == "metadata.annotations" { &lower } else { key });
            checks::invalid(errors, path, key, problems);
        }
        None => {
            let label = if label == "spec.host" { "spec.nodeName" } else { label };
            checks::one_of(errors, &place, label, allowed);
        }
    }
}

/// A reference to what a container may use. A file names the container, a variable means its own.
pub(crate) fn check_resource(errors: &mut ErrorList, path: &Path, reference: &Value, of_volume: bool) {
    let resource = text(reference, "resource");
    if of_volume && text(reference, "containerName").is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge_page(resource) {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    let divisor = field(reference, "divisor");
    let Ok(divisor) = Quantity::from_json(divisor) else { return };
    if divisor.is_zero() {
        return;
    }
    const SIZES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (allowed, what): (&[&str], _) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "cpu"),
        "limits.memory" | "requests.memory" => (SIZES, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (SIZES, "local ephemeral storage"),
        other if is_huge_page(other) => (SIZES, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.canonical().as_str()) {
        let list = if what == "cpu" { "1m and 1".to_owned() } else { SIZES.join(", ") };
        let why = format!("only divisor's values {list} are supported with the {what} resource");
        errors.push(FieldError::invalid(&path.child("divisor"), resource, why));
    }
}

fn is_huge_page(resource: &str) -> bool {
    resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-")
}
