//! ValidatingAdmissionPolicyBindings and MutatingAdmissionPolicyBindings.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::rules;
use crate::{
    checks,
    json::{field, has, list, text, with},
    kind::Kind,
    labels, metadata,
};

/// `ValidatingAdmissionPolicyBinding`.
pub(super) static VALIDATING: PolicyBinding = PolicyBinding { mutating: false };
/// `MutatingAdmissionPolicyBinding`.
pub(super) static MUTATING: PolicyBinding = PolicyBinding { mutating: true };

pub(super) struct PolicyBinding {
    mutating: bool,
}

impl Kind for PolicyBinding {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| with(spec, "matchResources", rules::match_defaults));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        self.validate(field(object, "spec"), errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        self.validate(field(new, "spec"), errors);
    }
}

impl PolicyBinding {
    fn validate(&self, spec: &Value, errors: &mut ErrorList) {
        let path = Path::new("spec");
        let (at, policy) = (path.child("policyName"), text(spec, "policyName"));
        if checks::required(errors, &at, policy) {
            checks::dns_subdomain(errors, &at, policy);
        }
        if has(spec, "paramRef") {
            check_params(field(spec, "paramRef"), &path.child("paramRef"), errors);
        }
        if has(spec, "matchResources") {
            let (at, resources) = (path.child("matchResources"), field(spec, "matchResources"));
            rules::check_match(resources, &at, errors);
            if self.mutating {
                rules::check_mutable(resources, &at, errors);
            }
        }
        if !self.mutating {
            check_actions(list(spec, "validationActions"), &path.child("validationActions"), errors);
        }
    }
}

fn check_params(params: &Value, path: &Path, errors: &mut ErrorList) {
    let name = text(params, "name");
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        checks::invalid(errors, &path.child("name"), name, names::is_path_segment_name(name));
        if has(params, "selector") {
            errors.push(FieldError::forbidden(&path.child("name"), both));
        }
    }
    if has(params, "selector") {
        labels::check_selector(errors, &path.child("selector"), field(params, "selector"));
        if !name.is_empty() {
            errors.push(FieldError::forbidden(&path.child("selector"), both));
        }
    } else if name.is_empty() {
        errors.push(FieldError::required(path, "one of name or selector must be specified"));
    }
    let action = text(params, "parameterNotFoundAction");
    checks::required_one_of(errors, &path.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

fn check_actions(actions: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        let (path, action) = (path.index(index), action.as_str().unwrap_or_default());
        checks::one_of(errors, &path, action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action) {
            errors.push(FieldError::duplicate(&path, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, actions.to_vec(), detail));
    }
    if actions.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_binding_names_a_policy_and_what_follows() {
        let said = |spec: serde_json::Value| {
            let mut object = json!({"metadata": {"name": "b"}, "spec": spec});
            let (group, kind) = ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding");
            crate::set_defaults(group, "v1", kind, &mut object);
            let errors = crate::validate_create(group, kind, &object);
            errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect::<Vec<_>>()
        };
        assert!(said(json!({"policyName": "p", "validationActions": ["Deny"]})).is_empty());
        assert_eq!(said(json!({})), ["spec.policyName: Required value", "spec.validationActions: Required value"]);
        assert_eq!(
            said(json!({"policyName": "p", "validationActions": ["Deny", "Warn"], "paramRef": {"name": "n"}})),
            ["spec.paramRef.parameterNotFoundAction: Required value", "spec.validationActions: Invalid value"]
        );
    }
}
