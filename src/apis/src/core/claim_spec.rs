//! The specs of PersistentVolumeClaims: those of claims themselves, and of the templates in pods.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::pod::resources::quantity;
use crate::{
    checks,
    json::{field, list, some, text},
    labels,
};

/// How a volume may be used.
pub(crate) const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Checks a spec.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let modes_path = path.child("accessModes");
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&modes_path, "at least 1 access mode is required"));
    }
    labels::check_selector(errors, &path.child("selector"), field(spec, "selector"));
    for mode in modes {
        checks::one_of(errors, &modes_path, mode.as_str().unwrap_or_default(), ACCESS_MODES);
    }
    let alone = |mode: &Value| mode == "ReadWriteOncePod";
    if modes.iter().any(alone) && !modes.iter().all(alone) {
        errors.push(FieldError::forbidden(&modes_path, "may not use ReadWriteOncePod with other access modes"));
    }
    let storage_path = path.child("resources").key("storage");
    match some(field(field(spec, "resources"), "requests"), "storage").and_then(quantity) {
        None => errors.push(FieldError::required(&storage_path, "")),
        Some(amount) if amount.sign() <= 0 => {
            errors.push(FieldError::invalid(&storage_path, amount.canonical(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    check_class(errors, &path.child("storageClassName"), text(spec, "storageClassName"));
    if let Some(mode) = some(spec, "volumeMode").and_then(Value::as_str) {
        checks::one_of(errors, &path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    check_sources(errors, path, spec);
    check_class(errors, &path.child("volumeAttributesClassName"), text(spec, "volumeAttributesClassName"));
}

fn check_class(errors: &mut ErrorList, path: &Path, name: &str) {
    if !name.is_empty() {
        checks::dns_subdomain(errors, path, name);
    }
}

/// What a claim's volume begins as.
fn check_sources(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let sources = ["dataSource", "dataSourceRef"].map(|name| some(spec, name));
    for (name, source) in ["dataSource", "dataSourceRef"].into_iter().zip(sources) {
        if let Some(source) = source {
            check_source(errors, &path.child(name), source);
        }
    }
    let [Some(source), reference] = sources else { return };
    let Some(reference) = reference else { return };
    let same = ["apiGroup", "kind", "name"].iter().all(|name| text(source, name) == text(reference, name));
    let shown = path.child("dataSource").to_string();
    if !text(reference, "namespace").is_empty() {
        let why = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(FieldError::invalid(path, shown, why));
    } else if !same {
        errors.push(FieldError::invalid(path, shown, "must match dataSourceRef"));
    }
}

fn check_source(errors: &mut ErrorList, path: &Path, source: &Value) {
    checks::required(errors, &path.child("name"), text(source, "name"));
    let kind = text(source, "kind");
    checks::required(errors, &path.child("kind"), kind);
    let group = text(source, "apiGroup");
    if group.is_empty() {
        if kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(path, kind, why));
        }
    } else {
        checks::dns_subdomain(errors, &path.child("apiGroup"), group);
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        checks::dns_label(errors, &path.child("namespace"), namespace);
    }
}
