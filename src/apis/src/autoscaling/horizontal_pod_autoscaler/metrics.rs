//! What an autoscaler goes by.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::check_reference;
use crate::{
    checks,
    core::pod::resources::check_container_name,
    json::{field, has, int, list, text},
};

const SOURCES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Where each source stands, in the order in which they are looked at.
const FIELDS: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// What is wrong with the metrics of a spec that may not scale below `min`.
pub(super) fn check(spec: &Value, min: Option<i64>, path: &Path, errors: &mut ErrorList) {
    let metrics = list(spec, "metrics");
    for (index, metric) in metrics.iter().enumerate() {
        check_metric(metric, &path.index(index), errors);
    }
    let outside = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if min == Some(0) && !metrics.iter().any(outside) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn check_metric(metric: &Value, path: &Path, errors: &mut ErrorList) {
    let (at, kind) = (path.child("type"), text(metric, "type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&at, "must specify a metric source type"));
    }
    checks::one_of(errors, &at, kind, SOURCES);
    let mut present: Vec<&str> = Vec::new();
    for (_, name) in FIELDS.iter().filter(|(_, name)| has(metric, name)) {
        present.push(name);
        if present.len() == 1 {
            check_source(name, field(metric, name), &path.child(name), errors);
        }
    }
    let wanted = FIELDS.iter().find(|(source, _)| *source == kind).map(|(_, name)| *name);
    match wanted {
        None => errors.push(FieldError::not_supported(&at, kind, SOURCES)),
        Some(name) if !present.contains(&name) => {
            errors
                .push(FieldError::required(&path.child(name), "must populate information for the given metric source"));
        }
        Some(_) => {}
    }
    if present.len() != 1 {
        present.sort_unstable();
        for name in present.into_iter().filter(|name| wanted != Some(name)) {
            errors.push(FieldError::forbidden(&path.child(name), "must populate the given metric source only"));
        }
    }
}

fn check_source(name: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    match name {
        "object" => {
            check_reference(field(source, "describedObject"), &path.child("describedObject"), errors);
            check_identifier(source, path, errors);
        }
        "external" | "pods" => check_identifier(source, path, errors),
        _ => check_resource(name, source, path, errors),
    }
    let (path, target) = (path.child("target"), field(source, "target"));
    check_target(target, &path, errors);
    let mut require = |name: &str, detail: &str| errors.push(FieldError::required(&path.child(name), detail));
    let (value, average, share) =
        (has(target, "value"), has(target, "averageValue"), has(target, "averageUtilization"));
    match name {
        "object" if !value && !average => require("averageValue", "must set either a target value or averageValue"),
        "external" if !value && !average => {
            require("averageValue", "must set either a target value for metric or a per-pod target");
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(&path.child("value"), detail));
        }
        "pods" if !is_positive(field(target, "averageValue")) => {
            require("averageValue", "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if !share && !average => {
            require("averageUtilization", "must set either a target raw value or a target utilization");
        }
        "resource" | "containerResource" if share && average => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(&path.child("averageValue"), detail));
        }
        _ => {}
    }
}

fn check_identifier(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (path, name) = (path.child("metric").child("name"), text(field(source, "metric"), "name"));
    if name.is_empty() {
        errors.push(FieldError::required(&path, "must specify a metric name"));
    } else {
        checks::invalid(errors, &path, name, names::is_path_segment_name(name));
    }
}

fn check_resource(kind: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    let name = text(source, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
    } else if kind == "containerResource" {
        check_container_name(errors, &path.child("name"), name);
    }
    if kind == "containerResource" {
        let (path, container) = (path.child("container"), text(source, "container"));
        if container.is_empty() {
            errors.push(FieldError::required(&path, "must specify a container"));
        } else {
            checks::dns_label(errors, &path, container);
        }
    }
}

fn check_target(target: &Value, path: &Path, errors: &mut ErrorList) {
    let (at, kind) = (path.child("type"), text(target, "type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&at, "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.push(FieldError::invalid(&at, kind, "must be either Utilization, Value, or AverageValue"));
    }
    for name in ["value", "averageValue"] {
        let amount = field(target, name);
        if !amount.is_null() && !is_positive(amount) {
            let shown = Quantity::from_json(amount).map_or_else(|_| amount.to_string(), |amount| amount.to_string());
            errors.push(FieldError::invalid(&path.child(name), shown, "must be positive"));
        }
    }
    if let Some(share) = int(target, "averageUtilization").filter(|share| *share < 1) {
        errors.push(FieldError::invalid(&path.child("averageUtilization"), share, "must be greater than 0"));
    }
}

fn is_positive(amount: &Value) -> bool {
    !amount.is_null() && Quantity::from_json(amount).is_ok_and(|amount| amount.sign() > 0)
}
