//! ValidatingWebhookConfigurations and MutatingWebhookConfigurations.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use super::{expressions, rules};
use crate::{
    checks,
    json::{default, each, field, has, int, list, text, with},
    kind::Kind,
    labels, metadata, url,
};

const VERSIONS: &[&str] = &["v1", "v1beta1"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];

/// `ValidatingWebhookConfiguration`.
pub(super) static VALIDATING: WebhookConfiguration = WebhookConfiguration { mutating: false };
/// `MutatingWebhookConfiguration`.
pub(super) static MUTATING: WebhookConfiguration = WebhookConfiguration { mutating: true };

pub(super) struct WebhookConfiguration {
    mutating: bool,
}

impl Kind for WebhookConfiguration {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        each(object, "webhooks", |hook| {
            default(hook, "failurePolicy", "Fail");
            default(hook, "matchPolicy", "Equivalent");
            default(hook, "namespaceSelector", json!({}));
            default(hook, "objectSelector", json!({}));
            default(hook, "timeoutSeconds", 10);
            if self.mutating {
                default(hook, "reinvocationPolicy", "Never");
            }
            rules::rules_defaults(hook, "rules");
            with(hook, "clientConfig", |config| with(config, "service", |service| default(service, "port", 443)));
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        self.validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
    }
}

impl WebhookConfiguration {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let path = Path::new("webhooks");
        let mut seen = HashSet::new();
        for (index, hook) in list(object, "webhooks").iter().enumerate() {
            let path = path.index(index);
            self.check_hook(hook, &path, errors);
            check_versions(list(hook, "admissionReviewVersions"), &path.child("admissionReviewVersions"), errors);
            let name = text(hook, "name");
            if !name.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
    }

    fn check_hook(&self, hook: &Value, path: &Path, errors: &mut ErrorList) {
        check_hook_name(text(hook, "name"), &path.child("name"), errors);
        for (index, rule) in list(hook, "rules").iter().enumerate() {
            rules::check(rule, &path.child("rules").index(index), errors);
        }
        for (name, known) in [("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"])] {
            if has(hook, name) {
                checks::one_of(errors, &path.child(name), text(hook, name), &known);
            }
        }
        if has(hook, "sideEffects") {
            checks::one_of(errors, &path.child("sideEffects"), text(hook, "sideEffects"), SIDE_EFFECTS);
        } else {
            let detail = format!("must specify one of {}", SIDE_EFFECTS.join(", "));
            errors.push(FieldError::required(&path.child("sideEffects"), detail));
        }
        if let Some(seconds) = int(hook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, detail));
        }
        for name in ["namespaceSelector", "objectSelector"] {
            labels::check_selector(errors, &path.child(name), field(hook, name));
        }
        if self.mutating && has(hook, "reinvocationPolicy") {
            let policy = text(hook, "reinvocationPolicy");
            checks::one_of(errors, &path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
        }
        check_client(field(hook, "clientConfig"), &path.child("clientConfig"), errors);
        expressions::check_conditions(hook, &expressions::environment(false, false), path, errors);
    }
}

fn check_hook_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if !checks::required(errors, path, name) {
        return;
    }
    let problems = names::is_dns1123_subdomain(name);
    if !problems.is_empty() {
        errors.push(FieldError::invalid(path, name, problems.join(",")));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

fn check_versions(versions: &[Value], path: &Path, errors: &mut ErrorList) {
    if versions.is_empty() {
        errors.push(FieldError::required(path, format!("must specify one of {}", VERSIONS.join(", "))));
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let (path, version) = (path.index(index), version.as_str().unwrap_or_default());
        if !seen.insert(version) {
            errors.push(FieldError::duplicate(&path, version));
            continue;
        }
        checks::invalid(errors, &path, version, names::is_dns1035_label(version));
    }
    if !VERSIONS.iter().any(|version| seen.contains(version)) {
        let detail = format!("must include at least one of {}", VERSIONS.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}

fn check_client(config: &Value, path: &Path, errors: &mut ErrorList) {
    match (has(config, "url"), has(config, "service")) {
        (true, false) => url::check(text(config, "url"), &path.child("url"), errors),
        (false, true) => url::check_service(field(config, "service"), &path.child("service"), errors),
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "w"}, "webhooks": [{
            "name": "a.b.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://a.example/b"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        }]});
        change(&mut object["webhooks"][0]);
        crate::set_defaults("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", &mut object);
        let errors = crate::validate_create("admissionregistration.k8s.io", "MutatingWebhookConfiguration", &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_hook_is_called_by_url_or_as_a_service() {
        assert!(said(|_| {}).is_empty());
        assert_eq!(said(|hook| hook["clientConfig"] = json!({})), ["webhooks[0].clientConfig: Required value"]);
        let service = json!({"service": {"name": "s", "namespace": "n", "path": "/a"}});
        assert!(said(|hook| hook["clientConfig"] = service.clone()).is_empty());
        assert_eq!(said(|hook| hook["clientConfig"]["url"] = "http://a.example".into()).len(), 1);
        assert_eq!(said(|hook| hook["name"] = "a.b".into()), ["webhooks[0].name: Invalid value"]);
        assert_eq!(said(|hook| hook["admissionReviewVersions"] = json!(["v3"])).len(), 1);
        assert_eq!(said(|hook| hook["matchConditions"] = json!([{"name": "n", "expression": "1 +"}])).len(), 1);
    }
}
