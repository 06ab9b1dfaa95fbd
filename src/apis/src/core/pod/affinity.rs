//! Which nodes and which neighbours a pod wants.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    json::{field, int, list, some, text},
    labels,
};

/// All of a pod's affinity.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, affinity: &Value) {
    if let Some(node) = some(affinity, "nodeAffinity") {
        let path = path.child("nodeAffinity");
        if let Some(selector) = some(node, REQUIRED) {
            check_node_selector(errors, &path.child(REQUIRED), selector);
        }
        for (index, term) in list(node, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            check_weight(errors, &path, term);
            check_node_term(errors, &path.child("preference"), field(term, "preference"), false);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = some(affinity, kind) else { continue };
        let path = path.child(kind);
        for (index, term) in list(pods, REQUIRED).iter().enumerate() {
            check_pod_term(errors, &path.child(REQUIRED).index(index), term);
        }
        for (index, term) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            check_weight(errors, &path, term);
            check_pod_term(errors, &path.child("podAffinityTerm"), field(term, "podAffinityTerm"));
        }
    }
}

/// What must hold.
pub(crate) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// What would be good.
pub(crate) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn check_weight(errors: &mut ErrorList, path: &Path, term: &Value) {
    let weight = int(term, "weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// A `NodeSelector`: terms of which one has to match.
pub(crate) fn check_node_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    let terms = list(selector, "nodeSelectorTerms");
    let path = path.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
        return;
    }
    for (index, term) in terms.iter().enumerate() {
        check_node_term(errors, &path.index(index), term, true);
    }
}

fn check_node_term(errors: &mut ErrorList, path: &Path, term: &Value, with_values: bool) {
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        check_node_expression(errors, &path.child("matchExpressions").index(index), expression, with_values);
    }
    for (index, expression) in list(term, "matchFields").iter().enumerate() {
        check_node_field(errors, &path.child("matchFields").index(index), expression);
    }
}

fn check_node_expression(errors: &mut ErrorList, path: &Path, expression: &Value, with_values: bool) {
    let values = list(expression, "values");
    let values_path = path.child("values");
    match text(expression, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&values_path, why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&values_path, why));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&values_path, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    checks::label_name(errors, &path.child("key"), text(expression, "key"));
    if with_values {
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            checks::invalid(errors, &values_path.index(index), value, names::is_label_value(value));
        }
    }
}

fn check_node_field(errors: &mut ErrorList, path: &Path, expression: &Value) {
    let values = list(expression, "values");
    let values_path = path.child("values");
    match text(expression, "operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(&values_path, why));
        }
        "In" | "NotIn" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = text(expression, "key");
    if key != "metadata.name" {
        errors.push(FieldError::invalid(&path.child("key"), key, "not a valid field selector key"));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        checks::dns_subdomain(errors, &values_path.index(index), value.as_str().unwrap_or_default());
    }
}

fn check_pod_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    let selector = field(term, "labelSelector");
    labels::check_selector(errors, &path.child("labelSelector"), selector);
    labels::check_selector(errors, &path.child("namespaceSelector"), field(term, "namespaceSelector"));
    for name in list(term, "namespaces") {
        checks::dns_label(errors, &path.child("namespace"), name.as_str().unwrap_or_default());
    }
    let keys = ["matchLabelKeys", "mismatchLabelKeys"];
    for name in keys {
        check_label_keys(errors, &path.child(name), list(term, name), selector);
    }
    let mismatched = list(term, keys[1]);
    for (index, key) in list(term, keys[0]).iter().enumerate() {
        for _ in mismatched.iter().filter(|other| *other == key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(&path.child(keys[0]).index(index), key.clone(), why));
        }
    }
    let topology = text(term, "topologyKey");
    if topology.is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    checks::label_name(errors, &path.child("topologyKey"), topology);
}

/// Keys of the pod's own labels that go into a selector.
pub(crate) fn check_label_keys(errors: &mut ErrorList, path: &Path, keys: &[Value], selector: &Value) {
    if keys.is_empty() {
        return;
    }
    if selector.is_null() {
        errors.push(FieldError::forbidden(path, "must not be specified when labelSelector is not set"));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        checks::label_name(errors, &path.index(index), key.as_str().unwrap_or_default());
    }
}
