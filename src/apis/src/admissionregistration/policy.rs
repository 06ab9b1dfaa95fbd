//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use cel::{Environment, Extension};
use serde_json::Value;

use super::{
    expressions::{self, Wanted},
    rules,
};
use crate::{
    checks, conditions,
    json::{default, field, has, list, text, with},
    kind::Kind,
    metadata,
};

const ANNOTATIONS_MAX: usize = 20;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

/// `ValidatingAdmissionPolicy`.
pub(super) static VALIDATING: AdmissionPolicy = AdmissionPolicy { mutating: false };
/// `MutatingAdmissionPolicy`.
pub(super) static MUTATING: AdmissionPolicy = AdmissionPolicy { mutating: true };

pub(super) struct AdmissionPolicy {
    mutating: bool,
}

impl Kind for AdmissionPolicy {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        !self.mutating
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default(spec, "failurePolicy", "Fail");
            with(spec, "matchConstraints", rules::match_defaults);
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        self.validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            check_status(field(new, "status"), &Path::new("status"), errors);
        } else {
            self.validate(new, errors);
        }
    }
}

fn check_status(status: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("typeChecking").child("expressionWarnings");
    for (index, warning) in list(field(status, "typeChecking"), "expressionWarnings").iter().enumerate() {
        for name in ["warning", "fieldRef"] {
            checks::required(errors, &at.index(index).child(name), text(warning, name));
        }
    }
    conditions::check(errors, &path.child("conditions"), list(status, "conditions"));
}

impl AdmissionPolicy {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        let at = path.child("failurePolicy");
        if has(spec, "failurePolicy") {
            checks::one_of(errors, &at, text(spec, "failurePolicy"), &["Fail", "Ignore"]);
        } else {
            errors.push(FieldError::required(&at, ""));
        }
        if has(spec, "paramKind") {
            check_param_kind(field(spec, "paramKind"), &path.child("paramKind"), errors);
        }
        let at = path.child("matchConstraints");
        if has(spec, "matchConstraints") {
            let constraints = field(spec, "matchConstraints");
            rules::check_match(constraints, &at, errors);
            if self.mutating {
                rules::check_mutable(constraints, &at, errors);
            }
            if list(constraints, "resourceRules").is_empty() {
                errors.push(FieldError::required(&at.child("resourceRules"), ""));
            }
        } else {
            errors.push(FieldError::required(&at, ""));
        }
        let env = expressions::environment(true, has(spec, "paramKind"));
        expressions::check_conditions(spec, &env, &path, errors);
        let variables = list(spec, "variables");
        check_variables(variables, &env, &path.child("variables"), errors);
        let env = expressions::with_variables(&env, variables);
        if self.mutating {
            check_mutations(spec, &env.extended(Extension::Mutation), &path, errors);
        } else {
            check_validations(object, spec, &env, &path, errors);
        }
    }
}

fn check_param_kind(kind: &Value, path: &Path, errors: &mut ErrorList) {
    let (at, given) = (path.child("apiVersion"), text(kind, "apiVersion"));
    if checks::required(errors, &at, given) {
        let parts: Vec<&str> = given.split('/').collect();
        let (group, version) = match parts.as_slice() {
            [version] => ("", *version),
            [group, version] => (*group, *version),
            _ => {
                errors.push(FieldError::invalid(&at, given, format!("unexpected GroupVersion string: {given}")));
                ("", "v1")
            }
        };
        let mut refuse = |value: &str, problems: Vec<String>| {
            if !problems.is_empty() {
                errors.push(FieldError::invalid(&at, value, problems.join(",")));
            }
        };
        if !group.is_empty() {
            refuse(group, names::is_dns1123_subdomain(group));
        }
        if version.is_empty() {
            refuse(given, vec!["version must be specified".into()]);
        } else {
            refuse(version, names::is_dns1035_label(version));
        }
    }
    let (at, kind) = (path.child("kind"), text(kind, "kind"));
    if checks::required(errors, &at, kind) {
        let problems = names::is_dns1035_label(&kind.to_lowercase());
        if !problems.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
            errors.push(FieldError::invalid(&at, kind, detail));
        }
    }
}

/// An expression that has to be given; `said` is what it is called when it is not.
fn check_expression(
    object: &Value,
    name: &str,
    env: &Environment,
    wanted: Wanted,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (at, expression) = (path.child(name), text(object, name));
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&at, format!("{name} is not specified")));
    } else {
        expressions::check(expression, env, wanted, &at, errors);
    }
}

fn check_variables(variables: &[Value], env: &Environment, path: &Path, errors: &mut ErrorList) {
    for (index, variable) in variables.iter().enumerate() {
        let env = &expressions::with_variables(env, &variables[..index]);
        let path = path.index(index);
        let (at, name) = (path.child("name"), text(variable, "name"));
        if name.is_empty() {
            errors.push(FieldError::required(&at, "name is not specified"));
        } else if !cel::is_identifier(name) {
            errors.push(FieldError::invalid(&at, name, "must be a valid CEL identifier"));
        }
        check_expression(variable, "expression", env, Wanted::Free, &path, errors);
    }
}

fn check_validations(object: &Value, spec: &Value, env: &Environment, path: &Path, errors: &mut ErrorList) {
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for name in ["validations", "auditAnnotations"] {
            let detail = "validations or auditAnnotations must contain at least one item";
            errors.push(FieldError::required(&path.child(name), detail));
        }
        return;
    }
    for (index, validation) in validations.iter().enumerate() {
        check_validation(validation, env, &path.child("validations").index(index), errors);
    }
    let path = path.child("auditAnnotations");
    if annotations.len() > ANNOTATIONS_MAX {
        let detail = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(FieldError::invalid(&path, annotations.to_vec(), detail));
    }
    let mut seen = HashSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.index(index);
        let key = text(annotation, "key");
        let whole = format!("{}/{key}", meta::name(object));
        checks::invalid(errors, &path.child("key"), whole.as_str(), names::is_qualified_name(&whole));
        let wanted = Wanted::Any(&["string", "null_type"]);
        check_expression(annotation, "valueExpression", env, wanted, &path, errors);
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&path.child("key"), key));
        }
    }
}

fn check_validation(validation: &Value, env: &Environment, path: &Path, errors: &mut ErrorList) {
    check_expression(validation, "expression", env, Wanted::One("bool"), path, errors);
    let (at, message) = (path.child("message"), text(validation, "message"));
    let breaks = |text: &str| text.contains(['\n', '\r']);
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&at, message, "message must be non-empty if specified"));
    } else if breaks(message.trim()) {
        errors.push(FieldError::invalid(&at, message, "message must not contain line breaks"));
    } else if breaks(text(validation, "expression").trim()) && message.trim().is_empty() {
        errors.push(FieldError::required(&at, "message must be specified if expression contains line breaks"));
    }
    let expression = text(validation, "messageExpression");
    if !expression.is_empty() {
        let at = path.child("messageExpression");
        if expression.trim().is_empty() {
            errors.push(FieldError::invalid(&at, expression, "must be non-empty if specified"));
        } else {
            expressions::check(expression, env, Wanted::One("string"), &at, errors);
        }
    }
    if has(validation, "reason") {
        checks::one_of(errors, &path.child("reason"), text(validation, "reason"), REASONS);
    }
}

fn check_mutations(spec: &Value, env: &Environment, path: &Path, errors: &mut ErrorList) {
    let at = path.child("mutations");
    let mutations = list(spec, "mutations");
    if mutations.is_empty() {
        errors.push(FieldError::required(&at, "mutations must contain at least one item"));
    }
    for (index, mutation) in mutations.iter().enumerate() {
        check_mutation(mutation, env, &at.index(index), errors);
    }
    let policy = text(spec, "reinvocationPolicy");
    checks::required_one_of(errors, &path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
}

fn check_mutation(mutation: &Value, env: &Environment, path: &Path, errors: &mut ErrorList) {
    let kind = text(mutation, "patchType");
    checks::required_one_of(errors, &path.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]);
    let (own, other, wanted) = match kind {
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Wanted::One("Object")),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Wanted::Any(&["list(JSONPatch)", "list(dyn)"])),
        _ => return,
    };
    if has(mutation, own) {
        let (at, expression) = (path.child(own).child("expression"), text(field(mutation, own), "expression"));
        if checks::required(errors, &at, expression.trim()) {
            expressions::check(expression, env, wanted, &at, errors);
        }
    } else {
        let detail = format!("must be specified when patchType is {kind}");
        errors.push(FieldError::required(&path.child(own), detail));
    }
    if has(mutation, other) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.push(FieldError::invalid(&path.child(other), format!("{{{other}}}"), detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(kind: &str, change: impl Fn(&mut Value)) -> Vec<String> {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let mut spec = json!({"matchConstraints": {"resourceRules": [rule]}});
        change(&mut spec);
        let mut object = json!({"metadata": {"name": "p"}, "spec": spec});
        crate::set_defaults("admissionregistration.k8s.io", "v1", kind, &mut object);
        let errors = crate::validate_create("admissionregistration.k8s.io", kind, &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_validating_policy_has_something_to_say() {
        let kind = "ValidatingAdmissionPolicy";
        assert_eq!(said(kind, |_| {}).len(), 2);
        let validation = |expression: &str| {
            let validations = json!([{"expression": expression}]);
            said(kind, |spec| {
                spec["validations"] = validations.clone();
                spec["variables"] = json!([{"name": "a", "expression": "1"}]);
            })
        };
        assert!(validation("object.spec.replicas < 5 && variables.a == 1").is_empty());
        assert_eq!(validation("variables.b == 1"), ["spec.validations[0].expression: Invalid value"]);
        assert_eq!(validation("variables.a == 'x'"), ["spec.validations[0].expression: Invalid value"]);
        assert_eq!(validation("object.x"), ["spec.validations[0].expression: Invalid value"]);
        assert_eq!(
            validation("params.x > 1"),
            ["spec.validations[0].expression: Invalid value"],
            "it has no parameters"
        );
        assert_eq!(validation("true ||\ntrue"), ["spec.validations[0].message: Required value"]);
        assert_eq!(
            said(kind, |spec| spec["auditAnnotations"] = json!([{"key": "k", "valueExpression": "true"}])),
            ["spec.auditAnnotations[0].valueExpression: Invalid value"]
        );
    }

    #[test]
    fn a_mutating_policy_changes_objects() {
        let kind = "MutatingAdmissionPolicy";
        let mutation = |mutation: Value| {
            said(kind, |spec| {
                spec["mutations"] = json!([mutation]);
                spec["reinvocationPolicy"] = "Never".into();
            })
        };
        let apply = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}});
        assert!(mutation(apply.clone()).is_empty());
        assert_eq!(mutation(json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}})).len(), 0);
        assert_eq!(mutation(json!({"patchType": "JSONPatch"})), ["spec.mutations[0].jsonPatch: Required value"]);
        assert_eq!(said(kind, |_| {}), ["spec.mutations: Required value", "spec.reinvocationPolicy: Required value"]);
    }
}
