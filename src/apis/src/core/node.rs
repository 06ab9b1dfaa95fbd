//! Nodes.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
    quantity::Quantity,
};
use serde_json::{Value, json};

use crate::{
    checks,
    golang::{Shape, Struct},
    ip,
    json::{entries, field, has, list, take, text, with},
    kind::Kind,
    metadata,
};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

static TAINT: Struct = Struct(&[
    ("Key", "key", Shape::Text),
    ("Value", "value", Shape::Text),
    ("Effect", "effect", Shape::Text),
    ("TimeAdded", "timeAdded", Shape::Any),
]);

pub(crate) struct Node;

impl Kind for Node {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, object: &Value) -> Value {
        object.get("status").cloned().unwrap_or_else(|| json!({}))
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            take(spec, "configSource");
            join_ranges(spec);
        });
        with(object, "status", |status| {
            if !has(status, "allocatable")
                && let Some(capacity) = status.get("capacity").filter(|capacity| !capacity.is_null()).cloned()
            {
                status["allocatable"] = capacity;
            }
        });
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
        if subresource != Some("status") {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, &Value::Null, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            check_change(new, old, errors);
            check_features(field(new, "status"), errors);
        } else {
            validate(new, old, errors);
            check_change(new, old, errors);
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        if has(spec, "configSource") {
            warnings.push("spec.configSource: the feature is no longer supported".into());
        }
        if !text(spec, "externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        for (index, range) in list(spec, "podCIDRs").iter().enumerate() {
            let path = path.child("podCIDRs").index(index);
            ip::warn_range(&path, range.as_str().unwrap_or_default(), warnings);
        }
    }
}

/// `podCIDR` is the first of `podCIDRs`, whichever of them a client gives; where they disagree, the one that is older counts.
fn join_ranges(spec: &mut Value) {
    let one = text(spec, "podCIDR").to_owned();
    let first = list(spec, "podCIDRs").first().and_then(Value::as_str).unwrap_or_default().to_owned();
    if one.is_empty() && !first.is_empty() {
        spec["podCIDR"] = first.into();
    } else if !one.is_empty() && one != first {
        spec["podCIDRs"] = json!([one]);
    }
}

fn validate(node: &Value, old: &Value, errors: &mut ErrorList) {
    let spec = field(node, "spec");
    check_taints(list(spec, "taints"), errors);
    check_amounts(field(node, "status"), errors);
    let path = Path::new("spec").child("podCIDRs");
    let ranges: Vec<&str> = list(spec, "podCIDRs").iter().filter_map(Value::as_str).collect();
    let stored: Vec<&str> = list(field(old, "spec"), "podCIDRs").iter().filter_map(Value::as_str).collect();
    let before = errors.len();
    for (index, range) in ranges.iter().enumerate() {
        ip::check_range_legacy(errors, &path.index(index), range, &stored);
    }
    let families: HashSet<bool> = ranges.iter().map(|range| ip::is_v6(range)).collect();
    if errors.len() == before && ranges.len() > 1 && (ranges.len() > 2 || families.len() < 2) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(&path, list(spec, "podCIDRs").to_vec(), detail));
    }
}

fn check_taints(taints: &[Value], errors: &mut ErrorList) {
    let path = Path::new("metadata").child("taints");
    let mut seen = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        checks::label_name(errors, &path.child("key"), key);
        let problems = names::is_label_value(value);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, problems.join(";")));
        }
        checks::required_one_of(errors, &path.child("effect"), effect, EFFECTS);
        if !seen.insert((effect, key)) {
            let detail = "taints must be unique by key and effect pair";
            errors.push(checks::shown(ErrorKind::Duplicate, &path, &TAINT.show(taint), detail));
        }
    }
}

fn check_amounts(status: &Value, errors: &mut ErrorList) {
    for name in ["capacity", "allocatable"] {
        for (resource, amount) in entries(status, name) {
            let path = Path::new("status").child(name).child(resource);
            if Quantity::from_json(amount).is_ok_and(|amount| amount.sign() < 0) {
                errors.push(FieldError::invalid(&path, amount.clone(), "must be greater than or equal to 0"));
            }
        }
    }
}

/// What of a node stays once it is there.
fn check_change(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (field(new, "spec"), field(old, "spec"));
    let path = Path::new("spec");
    let status = field(new, "status");
    let mut seen = HashSet::new();
    for (index, address) in list(status, "addresses").iter().enumerate() {
        if !seen.insert((text(address, "type"), text(address, "address"))) {
            let path = Path::new("status").child("addresses").index(index);
            let shown = Struct(&[("Type", "type", Shape::Text), ("Address", "address", Shape::Text)]).show(address);
            errors.push(checks::shown(ErrorKind::Duplicate, &path, &shown, ""));
        }
    }
    if !list(before, "podCIDRs").is_empty() && field(spec, "podCIDRs") != field(before, "podCIDRs") {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
    }
    let kept = text(before, "providerID");
    if !kept.is_empty() && kept != text(spec, "providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("providerID"), detail));
    }
    check_taints(list(spec, "taints"), errors);
    if text(spec, "externalID") != text(before, "externalID") {
        errors.push(FieldError::forbidden(&path.child("externalID"), "may not be updated"));
    }
}

/// Features that a kubelet declares are names in order.
fn check_features(status: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("declaredFeatures");
    let features: Vec<&str> =
        list(status, "declaredFeatures").iter().map(|name| name.as_str().unwrap_or_default()).collect();
    for (index, name) in features.iter().enumerate() {
        let path = path.index(index);
        if index > 0 && features[index - 1] > *name {
            errors.push(FieldError::invalid(&path, *name, "list must be sorted alphabetically"));
        }
        if index > 0 && features[index - 1] == *name {
            errors.push(FieldError::duplicate(&path, *name));
        }
        if !is_feature(name) {
            let detail = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., \
                 MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(FieldError::invalid(&path, *name, detail));
        }
    }
}

fn is_feature(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(spec: Value) -> Value {
        let mut node = json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": spec});
        crate::set_defaults("", "v1", "Node", &mut node);
        node
    }

    #[test]
    fn the_older_field_and_the_first_of_the_newer_are_the_same() {
        assert_eq!(node(json!({"podCIDR": "10.0.0.0/8"}))["spec"]["podCIDRs"], json!(["10.0.0.0/8"]));
        assert_eq!(node(json!({"podCIDRs": ["10.0.0.0/8"]}))["spec"]["podCIDR"], "10.0.0.0/8");
    }

    #[test]
    fn what_a_node_was_given_is_kept() {
        let old = node(json!({"podCIDR": "10.0.0.0/8", "providerID": "a"}));
        let new = node(json!({"podCIDR": "10.0.0.0/16", "providerID": "b"}));
        assert_eq!(crate::validate_update("", "Node", None, &new, &old).len(), 2);
        assert!(crate::validate_update("", "Node", None, &old, &old).is_empty());
    }

    #[test]
    fn taints_are_told_apart_by_key_and_effect() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        let errors = crate::validate_create("", "Node", &node(json!({"taints": [taint, taint]})));
        assert_eq!(
            errors.to_string(),
            "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair"
        );
    }
}
