//! CustomResourceDefinitions.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use super::{schema, versions};
use crate::{
    checks,
    json::{default, default_text, field, flag, has, list, text, with},
    kind::Kind,
    metadata, url,
};

const APPROVED: &str = "api-approved.kubernetes.io";

pub(super) struct CustomResourceDefinition;

impl Kind for CustomResourceDefinition {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, object: &Value) -> Value {
        let versions = list(field(object, "spec"), "versions").iter();
        let mut stored: Vec<&str> = Vec::new();
        for name in versions.filter(|version| flag(version, "storage")).map(|version| text(version, "name")) {
            if !stored.contains(&name) {
                stored.push(name);
            }
        }
        json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            with(spec, "names", |names| {
                let kind = text(names, "kind").to_owned();
                if !kind.is_empty() {
                    default_text(names, "singular", &kind.to_lowercase());
                    default_text(names, "listKind", &format!("{kind}List"));
                }
            });
            default(spec, "conversion", json!({"strategy": "None"}));
            if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service") {
                default(service, "port", 443);
            }
        });
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, _old: &Value) {
        if subresource.is_none() {
            // A version that is stored from now on is one that was stored.
            let storage: Vec<String> = list(field(new, "spec"), "versions")
                .iter()
                .filter(|version| flag(version, "storage"))
                .map(|version| text(version, "name").to_owned())
                .collect();
            if let Some(stored) = new.pointer_mut("/status/storedVersions").and_then(Value::as_array_mut) {
                for name in storage {
                    if !stored.iter().any(|stored| *stored == name) {
                        stored.push(name.into());
                    }
                }
            }
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check_name(object, errors);
        validate(object, errors);
        check_names(
            field(field(object, "status"), "acceptedNames"),
            &Path::new("status").child("acceptedNames"),
            errors,
        );
        check_stored(object, errors);
        check_approval(object, None, errors);
        if flag(field(object, "spec"), "preserveUnknownFields") {
            let path = Path::new("spec").child("preserveUnknownFields");
            let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
            errors.push(FieldError::invalid(&path, true, detail));
        }
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        let status = field(new, "status");
        let accepted = Path::new("status").child("acceptedNames");
        if subresource == Some("status") {
            check_names(field(status, "acceptedNames"), &accepted, errors);
            return;
        }
        validate(new, errors);
        let (path, spec, before) = (Path::new("spec"), field(new, "spec"), field(old, "spec"));
        let (names_at, names, old_names) = (path.child("names"), field(spec, "names"), field(before, "names"));
        if is_established(old) {
            checks::immutable_text(errors, &path.child("scope"), spec, before, "scope");
            checks::immutable_text(errors, &names_at.child("kind"), names, old_names, "kind");
        }
        checks::immutable_text(errors, &path.child("group"), spec, before, "group");
        checks::immutable_text(errors, &names_at.child("plural"), names, old_names, "plural");
        check_names(field(status, "acceptedNames"), &accepted, errors);
        check_stored(new, errors);
        check_approval(new, Some(old), errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        for version in list(field(object, "spec"), "versions") {
            schema::warn(field(field(version, "schema"), "openAPIV3Schema"), warnings);
        }
    }
}

fn is_established(object: &Value) -> bool {
    list(field(object, "status"), "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True")
}

fn check_name(object: &Value, errors: &mut ErrorList) {
    let spec = field(object, "spec");
    let wanted = format!("{}.{}", text(field(spec, "names"), "plural"), text(spec, "group"));
    let name = meta::name(object);
    if name != wanted {
        let path = Path::new("metadata").child("name");
        errors.push(FieldError::invalid(&path, name, "must be spec.names.plural+\".\"+spec.group"));
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let (at, group) = (path.child("group"), text(spec, "group"));
    if checks::required(errors, &at, group) {
        let problems = names::is_dns1123_subdomain(group);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(&at, group, problems.join(",")));
        } else if !group.contains('.') {
            errors.push(FieldError::invalid(&at, group, "should be a domain with at least one dot"));
        }
    }
    checks::required_one_of(errors, &path.child("scope"), text(spec, "scope"), &["Cluster", "Namespaced"]);
    versions::check(spec, &path, errors);
    let (at, names) = (path.child("names"), field(spec, "names"));
    for name in ["plural", "singular", "kind", "listKind"] {
        checks::required(errors, &at.child(name), text(names, name));
    }
    check_names(names, &at, errors);
    versions::check_shared(spec, &path, errors);
    check_conversion(field(spec, "conversion"), &path.child("conversion"), errors);
}

fn check_names(given: &Value, path: &Path, errors: &mut ErrorList) {
    let mut label = |path: &Path, value: &str, cased: bool| {
        let lower = value.to_lowercase();
        let problems = names::is_dns1035_label(if cased { &lower } else { value });
        if problems.is_empty() {
            return;
        }
        let words = problems.join(",");
        let detail = if cased { format!("may have mixed case, but should otherwise match: {words}") } else { words };
        errors.push(FieldError::invalid(path, value, detail));
    };
    for (name, cased) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        if !text(given, name).is_empty() {
            label(&path.child(name), text(given, name), cased);
        }
    }
    for (index, name) in list(given, "shortNames").iter().enumerate() {
        label(&path.child("shortNames").index(index), name.as_str().unwrap_or_default(), false);
    }
    let (kind, list_kind) = (text(given, "kind"), text(given, "listKind"));
    for (index, name) in list(given, "categories").iter().enumerate() {
        label(&path.child("categories").index(index), name.as_str().unwrap_or_default(), false);
    }
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), list_kind, detail));
    }
}

fn check_conversion(conversion: &Value, path: &Path, errors: &mut ErrorList) {
    if conversion.is_null() {
        return;
    }
    let strategy = text(conversion, "strategy");
    checks::required_one_of(errors, &path.child("strategy"), strategy, &["None", "Webhook"]);
    let webhook = field(conversion, "webhook");
    let (client_at, client) = (path.child("webhookClientConfig"), field(webhook, "clientConfig"));
    let (versions_at, versions) = (path.child("conversionReviewVersions"), list(webhook, "conversionReviewVersions"));
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if !client.is_null() {
            errors.push(FieldError::forbidden(&client_at, detail));
        }
        if !versions.is_empty() {
            errors.push(FieldError::forbidden(&versions_at, detail));
        }
        return;
    }
    match (client.is_null(), has(client, "url"), has(client, "service")) {
        (true, ..) => {
            errors.push(FieldError::required(&client_at, "required when strategy is set to Webhook"));
        }
        (_, true, false) => url::check(text(client, "url"), &client_at.child("url"), errors),
        (_, false, true) => url::check_service(field(client, "service"), &client_at.child("service"), errors),
        _ => errors.push(FieldError::required(&client_at, "exactly one of url or service is required")),
    }
    check_review_versions(versions, &versions_at, errors);
}

fn check_review_versions(versions: &[Value], path: &Path, errors: &mut ErrorList) {
    let known = ["v1", "v1beta1"];
    if versions.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let (path, text) = (path.index(index), version.as_str().unwrap_or_default());
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(&path, text, "duplicate version"));
            continue;
        }
        checks::invalid(errors, &path, text, names::is_dns1035_label(text));
    }
    if !versions.iter().any(|version| known.contains(&version.as_str().unwrap_or_default())) {
        let detail = format!("must include at least one of {}", known.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}

/// What was ever stored is still a version.
fn check_stored(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("storedVersions");
    let stored = list(field(object, "status"), "storedVersions");
    if stored.is_empty() {
        errors.push(FieldError::invalid(&path, stored.to_vec(), "must have at least one stored version"));
    }
    let mut left: Vec<(usize, &str)> =
        stored.iter().enumerate().map(|(index, name)| (index, name.as_str().unwrap_or_default())).collect();
    for version in list(field(object, "spec"), "versions") {
        let name = text(version, "name");
        let known = left.iter().any(|(_, stored)| *stored == name);
        if flag(version, "storage") && !known {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(&path, stored.to_vec(), detail));
        }
        left.retain(|(_, stored)| *stored != name);
    }
    for (index, name) in left {
        let detail = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage \
             migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        errors.push(FieldError::invalid(&path.index(index), name, detail));
    }
}

/// Groups of Kubernetes' own are only for what was agreed on.
fn check_approval(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let group = text(field(object, "spec"), "group");
    let protected = |suffix: &str| group == suffix || group.ends_with(&format!(".{suffix}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return;
    }
    let value = meta::annotation(object, APPROVED);
    if old.is_some_and(|old| meta::annotation(old, APPROVED) == value) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match value {
        None => {
            let detail = format!("protected groups must have approval annotation {APPROVED:?}, {see}");
            errors.push(FieldError::required(&path, detail));
        }
        Some(value) if !value.starts_with("unapproved") && !value.starts_with("https://") => {
            let detail = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {see}"
            );
            errors.push(FieldError::invalid(&path, value, detail));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(change: impl Fn(&mut Value)) -> Value {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let mut object = json!({"metadata": {"name": "things.a.example", "resourceVersion": "1"}, "spec": {
            "group": "a.example", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        }});
        change(&mut object["spec"]);
        crate::set_defaults("apiextensions.k8s.io", "v1", "CustomResourceDefinition", &mut object);
        crate::prepare_for_create("apiextensions.k8s.io", "CustomResourceDefinition", &mut object);
        object
    }

    fn said(change: impl Fn(&mut Value)) -> Vec<String> {
        let object = definition(change);
        let errors = crate::validate_create("apiextensions.k8s.io", "CustomResourceDefinition", &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_definition_is_named_by_what_it_defines() {
        let object = definition(|_| {});
        assert_eq!(object["spec"]["names"]["listKind"], "ThingList");
        assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
        assert!(said(|_| {}).is_empty());
        assert_eq!(said(|spec| spec["group"] = "b.example".into()), ["metadata.name: Invalid value"]);
        assert_eq!(said(|spec| spec["scope"] = "x".into()), ["spec.scope: Unsupported value"]);
        assert_eq!(
            said(|spec| spec["versions"][0]["storage"] = false.into()),
            ["spec.versions: Invalid value", "status.storedVersions: Invalid value"]
        );
        assert_eq!(
            said(|spec| spec["versions"][0]["additionalPrinterColumns"] =
                json!([{"name": "n", "type": "x", "jsonPath": ".a"}])),
            ["spec.additionalPrinterColumns[0].type: Invalid value"]
        );
    }

    #[test]
    fn conversion_by_webhook_says_where() {
        let webhook =
            |webhook: Value| said(|spec| spec["conversion"] = json!({"strategy": "Webhook", "webhook": webhook}));
        let client = json!({"url": "https://a.example"});
        assert!(webhook(json!({"clientConfig": client, "conversionReviewVersions": ["v1"]})).is_empty());
        assert_eq!(webhook(json!({})).len(), 2);
    }

    #[test]
    fn what_is_established_stays_where_it_is() {
        let mut old = definition(|_| {});
        let new = definition(|spec| spec["scope"] = "Cluster".into());
        let check = |old: &Value| {
            crate::validate_update("apiextensions.k8s.io", "CustomResourceDefinition", None, &new, old).len()
        };
        assert_eq!(check(&old), 0);
        old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        assert_eq!(check(&old), 1);
    }
}
