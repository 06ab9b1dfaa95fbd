//! FlowSchemas.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    meta,
};
use serde_json::{Value, json};

use super::check_status;
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{default, default_int, field, flag, has, int, list, text, with},
    kind::Kind,
    metadata,
};

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects, and the field of each.
const SUBJECTS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

static DISTINGUISHER: Struct = Struct(&[("Type", "type", Shape::Text)]);

pub(crate) struct FlowSchema;

impl Kind for FlowSchema {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| default_int(spec, "matchingPrecedence", 1000));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource.is_none() {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            check_status(new, errors);
        } else {
            validate(new, errors);
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let (at, precedence) = (path.child("matchingPrecedence"), int(spec, "matchingPrecedence").unwrap_or_default());
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(&at, precedence, detail));
    if precedence <= 0 {
        refuse("must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        refuse(&format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && meta::name(object) != "exempt" {
        refuse("only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if has(spec, "distinguisherMethod") {
        let method = field(spec, "distinguisherMethod");
        if !matches!(text(method, "type"), "ByNamespace" | "ByUser") {
            let words = "supported values: \"ByNamespace\", \"ByUser\"";
            let shown = DISTINGUISHER.show(method);
            errors.push(checks::shown(ErrorKind::NotSupported, &path.child("distinguisherMethod"), &shown, words));
        }
    }
    let (at, level) = (
        path.child("priorityLevelConfiguration").child("name"),
        text(field(spec, "priorityLevelConfiguration"), "name"),
    );
    if level.is_empty() {
        errors.push(FieldError::required(&at, "must reference a priority level"));
    } else {
        checks::dns_subdomain(errors, &at, level);
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        check_rule(rule, &path.child("rules").index(index), errors);
    }
    check_status(object, errors);
}

fn check_rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("subjects");
    let subjects = list(rule, "subjects");
    if subjects.is_empty() {
        errors.push(FieldError::required(&at, "subjects must contain at least one value"));
    }
    for (index, subject) in subjects.iter().enumerate() {
        check_subject(subject, &at.index(index), errors);
    }
    let (resources, urls) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, rule) in resources.iter().enumerate() {
        check_resources(rule, &path.child("resourceRules").index(index), errors);
    }
    for (index, rule) in urls.iter().enumerate() {
        check_urls(rule, &path.child("nonResourceRules").index(index), errors);
    }
}

fn check_subject(subject: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = text(subject, "kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        let kinds = SUBJECTS.map(|(kind, _)| kind);
        errors.push(FieldError::not_supported(&path.child("kind"), kind, &kinds));
        return;
    };
    let (at, who) = (path.child(own), field(subject, own));
    if who.is_null() {
        errors.push(FieldError::required(&at, format!("{own} is required when subject kind is '{kind}'")));
    } else {
        let (at, name) = (at.child("name"), text(who, "name"));
        if checks::required(errors, &at, name) && kind == "ServiceAccount" && name != "*" {
            checks::dns_subdomain(errors, &at, name);
        }
        if kind == "ServiceAccount" {
            let (at, namespace) = (path.child(own).child("namespace"), text(who, "namespace"));
            if namespace.is_empty() {
                errors.push(FieldError::required(&at, "must specify namespace for service account"));
            } else {
                checks::dns_label(errors, &at, namespace);
            }
        }
    }
    for (other, name) in SUBJECTS.iter().rev().filter(|(other, name)| *other != kind && has(subject, name)) {
        let detail = format!("{name} is forbidden when subject kind is not '{other}'");
        errors.push(FieldError::forbidden(&path.child(name), detail));
    }
}

/// A list that has at least one value, and no other beside `*`.
fn check_list(rule: &Value, name: &str, none: &str, many: &str, path: &Path, errors: &mut ErrorList) {
    let values = list(rule, name);
    let path = path.child(name);
    if values.is_empty() {
        errors.push(FieldError::required(&path, none));
    } else if values.len() > 1 && values.iter().any(|value| value == "*") {
        let detail = format!("if '*' is present, must not specify other {many}");
        errors.push(FieldError::invalid(&path, values.to_vec(), detail));
    }
}

fn check_verbs(rule: &Value, known: &[&str], path: &Path, errors: &mut ErrorList) {
    check_list(rule, "verbs", "verbs must contain at least one value", "verbs", path, errors);
    let verbs = list(rule, "verbs");
    let is_known = |verb: &Value| verb == "*" || known.contains(&verb.as_str().unwrap_or_default());
    if !verbs.iter().all(is_known) {
        errors.push(FieldError::not_supported(&path.child("verbs"), verbs.to_vec(), known));
    }
}

fn check_resources(rule: &Value, path: &Path, errors: &mut ErrorList) {
    check_verbs(rule, VERBS, path, errors);
    let none = "resource rules must supply at least one api group";
    check_list(rule, "apiGroups", none, "api groups", path, errors);
    let none = "resource rules must supply at least one resource";
    check_list(rule, "resources", none, "resources", path, errors);
    let namespaces = list(rule, "namespaces");
    if namespaces.is_empty() && flag(rule, "clusterScope") {
        return;
    }
    let none = "resource rules that are not cluster scoped must supply at least one namespace";
    check_list(rule, "namespaces", none, "namespaces", path, errors);
    let path = path.child("namespaces");
    let named = namespaces.iter().enumerate().filter(|(_, namespace)| *namespace != "*");
    for (index, namespace) in named {
        checks::dns_label(errors, &path.index(index), namespace.as_str().unwrap_or_default());
    }
}

fn check_urls(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let known = ["delete", "get", "head", "options", "patch", "post", "put"];
    check_verbs(rule, &known, path, errors);
    let none = "nonResourceURLs must contain at least one value";
    check_list(rule, "nonResourceURLs", none, "non-resource URLs", path, errors);
    let path = path.child("nonResourceURLs");
    let urls = list(rule, "nonResourceURLs");
    if matches!(urls, [only] if only == "*") {
        return;
    }
    for (index, url) in urls.iter().enumerate() {
        let url = url.as_str().unwrap_or_default();
        if let Some(detail) = url_problem(url) {
            errors.push(FieldError::invalid(&path.index(index), url, detail));
        }
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    if url.is_empty() {
        return Some("must not be empty");
    }
    if url == "/" {
        return None;
    }
    let stars = url.matches('*').count();
    if !url.starts_with('/') {
        Some("must start with slash")
    } else if url.contains(' ') {
        Some("must not contain white-space")
    } else if url.contains("//") {
        Some("must not contain double slash")
    } else if stars > 1 || (stars == 1 && !url.ends_with("/*")) {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "f"}, "spec": spec});
        crate::set_defaults("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", &mut object);
        let errors = crate::validate_create("flowcontrol.apiserver.k8s.io", "FlowSchema", &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.detail)).collect()
    }

    #[test]
    fn a_rule_says_who_and_what() {
        let schema = |rule: Value| said(json!({"priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}));
        let who = json!([{"kind": "User", "user": {"name": "u"}}]);
        let what = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]);
        assert!(schema(json!({"subjects": who, "resourceRules": what})).is_empty());
        assert!(
            schema(json!({"subjects": who, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a/*"]}]}))
                .is_empty()
        );
        assert_eq!(
            schema(json!({"subjects": [{"kind": "Group", "user": {"name": "u"}}], "resourceRules": what})),
            [
                "spec.rules[0].subjects[0].group: group is required when subject kind is 'Group'",
                "spec.rules[0].subjects[0].user: user is forbidden when subject kind is not 'User'",
            ]
        );
        let urls = json!([{"verbs": ["get"], "nonResourceURLs": ["/a*/b"]}]);
        assert_eq!(schema(json!({"subjects": who, "nonResourceRules": urls})).len(), 1);
    }
}
