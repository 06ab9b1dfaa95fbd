//! Which requests a hook or policy is about.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks,
    json::{default, each, field, has, list, text},
    labels,
};

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// Fills in the rules of the list `name`.
pub(super) fn rules_defaults(object: &mut Value, name: &str) {
    each(object, name, |rule| default(rule, "scope", "*"));
}

/// Fills in `matchConstraints` or `matchResources`.
pub(super) fn match_defaults(resources: &mut Value) {
    default(resources, "matchPolicy", "Equivalent");
    default(resources, "namespaceSelector", json!({}));
    default(resources, "objectSelector", json!({}));
    rules_defaults(resources, "resourceRules");
    rules_defaults(resources, "excludeResourceRules");
}

/// What is wrong with `matchConstraints` or `matchResources`.
pub(super) fn check_match(resources: &Value, path: &Path, errors: &mut ErrorList) {
    if has(resources, "matchPolicy") {
        let policy = text(resources, "matchPolicy");
        checks::one_of(errors, &path.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    } else {
        errors.push(FieldError::required(&path.child("matchPolicy"), ""));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        if has(resources, name) {
            labels::check_selector(errors, &path.child(name), field(resources, name));
        } else {
            errors.push(FieldError::required(&path.child(name), ""));
        }
    }
    for name in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(resources, name).iter().enumerate() {
            let path = path.child(name).index(index);
            check_names(rule, &path.child("resourceNames"), errors);
            check(rule, &path, errors);
        }
    }
}

/// Operations that can change an object are the only ones that a mutating policy can be about.
pub(super) fn check_mutable(resources: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("resourceRules").child("operations");
    for rule in list(resources, "resourceRules") {
        for operation in list(rule, "operations").iter().map(|operation| operation.as_str().unwrap_or_default()) {
            checks::one_of(errors, &path, operation, &["*", "CONNECT", "CREATE", "UPDATE"]);
        }
    }
}

fn check_names(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, name) in list(rule, "resourceNames").iter().enumerate() {
        let (path, name) = (path.index(index), name.as_str().unwrap_or_default());
        checks::invalid(errors, &path, name, names::is_path_segment_name(name));
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

/// What is wrong with a rule.
pub(super) fn check(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("operations");
    check_list(rule, "operations", "operations", path, errors);
    for (index, operation) in list(rule, "operations").iter().enumerate() {
        checks::one_of(errors, &at.index(index), operation.as_str().unwrap_or_default(), OPERATIONS);
    }
    check_list(rule, "apiGroups", "API groups", path, errors);
    check_list(rule, "apiVersions", "API versions", path, errors);
    for (index, version) in list(rule, "apiVersions").iter().enumerate() {
        checks::required(errors, &path.child("apiVersions").index(index), version.as_str().unwrap_or_default());
    }
    check_resources(list(rule, "resources"), &path.child("resources"), errors);
    if has(rule, "scope") {
        checks::one_of(errors, &path.child("scope"), text(rule, "scope"), &["*", "Cluster", "Namespaced"]);
    }
}

/// A list that has at least one value, and no other beside `*`.
fn check_list(rule: &Value, name: &str, many: &str, path: &Path, errors: &mut ErrorList) {
    let (path, values) = (path.child(name), list(rule, name));
    if values.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    if values.len() > 1 && values.iter().any(|value| value == "*") {
        let detail = format!("if '*' is present, must not specify other {many}");
        errors.push(FieldError::invalid(&path, values.to_vec(), detail));
    }
}

fn check_resources(resources: &[Value], path: &Path, errors: &mut ErrorList) {
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_of, mut of_all) = (HashSet::new(), HashSet::new());
    let mut plain = false;
    for (index, resource) in resources.iter().enumerate() {
        let (path, whole) = (path.index(index), resource.as_str().unwrap_or_default());
        if !checks::required(errors, &path, whole) || whole == "*/*" {
            continue;
        }
        let Some((resource, part)) = whole.split_once('/') else {
            plain |= whole != "*";
            continue;
        };
        if all_of.contains(resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {whole}");
            errors.push(FieldError::invalid(&path, whole, detail));
        }
        if of_all.contains(part) {
            let detail = format!("if '*/{part}' is present, must not specify {whole}");
            errors.push(FieldError::invalid(&path, whole, detail));
        }
        if part == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            of_all.insert(part);
        }
    }
    let has = |name: &str| resources.iter().any(|resource| resource == name);
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(path, resources.to_vec(), detail));
    if resources.len() > 1 && has("*/*") {
        refuse("if '*/*' is present, must not specify other resources");
    }
    if has("*") && plain {
        refuse("if '*' is present, must not specify other resources without subresources");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_alone() {
        let said = |resources: &[&str]| {
            let rule =
                json!({"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["v1"], "resources": resources});
            let mut errors = ErrorList::new();
            check(&rule, &Path::new("r"), &mut errors);
            errors.into_iter().map(|error| error.detail).collect::<Vec<_>>()
        };
        assert!(said(&["pods", "pods/status", "*/scale"]).is_empty());
        assert_eq!(said(&["*/*", "pods"]), ["if '*/*' is present, must not specify other resources"]);
        assert_eq!(said(&["pods/*", "pods/status"]), ["if 'pods/*' is present, must not specify pods/status"]);
        assert_eq!(said(&["*", "pods"]).len(), 1);
    }
}
