//! ResourceQuotas.

use std::collections::HashSet;

use apimachinery::field::{ErrorKind, ErrorList, FieldError, Path};
use serde_json::Value;

use super::pod::resources;
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{entries, field, has, keep, list, text},
    kind::Kind,
    metadata,
};

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// Scopes that a pod is in or is not.
const PLAIN_SCOPES: &[&str] =
    &["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
/// Scopes that no object is in both of.
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

static SELECTOR: Struct = Struct(&[("MatchExpressions", "matchExpressions", Shape::List(&EXPRESSION))]);
static EXPRESSION: Struct = Struct(&[
    ("ScopeName", "scopeName", Shape::Text),
    ("Operator", "operator", Shape::Text),
    ("Values", "values", Shape::Any),
]);

pub(crate) struct ResourceQuota;

impl Kind for ResourceQuota {
    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, old: &Value) {
        if subresource == Some("status") {
            keep(new, old, "spec");
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate_spec(field(object, "spec"), errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            for name in ["hard", "used"] {
                check_amounts(field(new, "status"), name, &Path::new("status").child(name), errors);
            }
            return;
        }
        let (spec, before) = (field(new, "spec"), field(old, "spec"));
        validate_spec(spec, errors);
        let set = |spec| list(spec, "scopes").iter().filter_map(Value::as_str).collect::<HashSet<_>>();
        if set(spec) != set(before) {
            let path = Path::new("spec").child("scopes");
            errors.push(FieldError::invalid(&path, field(spec, "scopes").clone(), checks::IMMUTABLE));
        }
    }
}

fn validate_spec(spec: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    check_amounts(spec, "hard", &path.child("hard"), errors);
    check_scopes(spec, &path.child("scopes"), errors);
    if has(spec, "scopeSelector") {
        check_selector(spec, &path.child("scopeSelector").child("matchExpressions"), errors);
    }
}

fn check_amounts(object: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    for (resource, amount) in entries(object, name) {
        let path = path.key(resource);
        resources::check_standard_name(errors, &path, resource);
        if !resource.contains('/') && !is_counted(resource) {
            errors.push(FieldError::invalid(&path, resource.as_str(), "must be a standard resource for quota"));
        }
        resources::check_amount(errors, &path, resource, amount);
    }
}

/// Whether a quota can count a resource of this name.
pub(crate) fn is_counted(resource: &str) -> bool {
    RESOURCES.contains(&resource) || resource.starts_with("hugepages-") || resource.starts_with("requests.hugepages-")
}

/// Whether a scope can be asked of what a resource counts.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => matches!(
            resource,
            "pods" | "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
        ),
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn unfit<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    entries(spec, "hard")
        .map(|(resource, _)| resource)
        .filter(move |resource| is_counted(resource) && !fits(scope, resource))
}

fn check_scopes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let scopes = list(spec, "scopes");
    let names: HashSet<&str> = scopes.iter().filter_map(Value::as_str).collect();
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(path, scopes.to_vec(), detail));
    for scope in scopes.iter().map(|scope| scope.as_str().unwrap_or_default()) {
        if !SCOPES.contains(&scope) {
            refuse("unsupported scope");
        }
        unfit(spec, scope).for_each(|_| refuse("unsupported scope applied to resource"));
    }
    for pair in CONFLICTS {
        if pair.iter().all(|scope| names.contains(scope)) {
            refuse("conflicting scopes");
        }
    }
}

fn check_selector(spec: &Value, path: &Path, errors: &mut ErrorList) {
    const SCOPE_LIST: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let selector = field(spec, "scopeSelector");
    let mut seen = HashSet::new();
    for expression in list(selector, "matchExpressions") {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        let (at, values) = (path.child("operator"), list(expression, "values"));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in unfit(spec, scope) {
            let detail = "unsupported scope applied to resource";
            errors.push(checks::shown(ErrorKind::Invalid, path, &SELECTOR.show(selector), detail));
        }
        if PLAIN_SCOPES.contains(&scope) && operator != "Exists" {
            errors.push(FieldError::invalid(&at, operator, SCOPE_LIST));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&path.child("values"), values.to_vec(), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(&at, other, "not a valid selector operator")),
        }
        seen.insert(scope);
    }
    for pair in CONFLICTS {
        if pair.iter().all(|scope| seen.contains(scope)) {
            errors.push(FieldError::invalid(path, field(spec, "scopes").clone(), "conflicting scopes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    fn said(spec: serde_json::Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "q"}, "spec": spec});
        let errors = crate::validate_create("", "ResourceQuota", &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.detail)).collect()
    }

    #[test]
    fn a_scope_is_asked_only_of_what_can_be_in_it() {
        assert!(
            said(json!({"hard": {"pods": "1", "count/jobs.batch": "2", "requests.nvidia.com/gpu": "1"}})).is_empty()
        );
        assert!(said(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})).is_empty());
        assert_eq!(
            said(json!({"hard": {"services": "1"}, "scopes": ["BestEffort", "NotBestEffort"]})),
            [
                "spec.scopes: unsupported scope applied to resource",
                "spec.scopes: unsupported scope applied to resource",
                "spec.scopes: conflicting scopes",
            ]
        );
        assert_eq!(
            said(json!({"hard": {"storage": "1"}})),
            ["spec.hard[storage]: must be a standard resource for quota"]
        );
    }
}
