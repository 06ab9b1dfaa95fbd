//! What workloads that keep pods running have in common: a selector, a template of pods, and counts.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    meta, names,
    selectors::LabelSelector,
};
use serde_json::Value;

use crate::{
    checks,
    core::{pod, pod_template},
    golang::LABEL_SELECTOR,
    json::{default, field, int, object_at, text},
    labels,
};

/// What is said of a template that its own workload would not find.
const MISMATCH: &str = "`selector` does not match template `labels`";

/// Numbers of a spec or status that may not be negative.
pub(crate) fn check_counts(errors: &mut ErrorList, path: &Path, holder: &Value, names: &[&str]) {
    for name in names {
        checks::non_negative(errors, &path.child(name), int(holder, name));
    }
}

/// The selector of the spec at `path`, with the words for one that is empty and for one that cannot be read.
/// Gives how it reads.
pub(crate) fn check_selector(
    errors: &mut ErrorList,
    path: &Path,
    spec: &Value,
    empty: &str,
    unreadable: &str,
) -> Option<LabelSelector> {
    let path = path.child("selector");
    let selector = field(spec, "selector");
    if selector.is_null() {
        errors.push(FieldError::required(&path, ""));
    } else {
        labels::check_selector(errors, &path, selector);
        if is_empty(selector) {
            errors.push(shown_selector(&path, selector, empty));
        }
    }
    let read = LabelSelector::from_value(selector).ok();
    if read.is_none() {
        errors.push(shown_selector(&path, selector, unreadable));
    }
    read
}

/// Whether a selector has no conditions.
pub(crate) fn is_empty(selector: &Value) -> bool {
    field(selector, "matchLabels").as_object().is_none_or(serde_json::Map::is_empty)
        && field(selector, "matchExpressions").as_array().is_none_or(Vec::is_empty)
}

/// An error about a selector.
pub(crate) fn shown_selector(path: &Path, selector: &Value, why: &str) -> FieldError {
    checks::shown(ErrorKind::Invalid, path, &LABEL_SELECTOR.show_pointer(selector), why)
}

/// A selector that may not change; `path` is that of the spec.
pub(crate) fn check_selector_unchanged(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let selector = field(new, "selector");
    if selector != field(old, "selector") {
        errors.push(shown_selector(&path.child("selector"), selector, checks::IMMUTABLE));
    }
}

/// The labels of a template are those that its selector selects. An empty selector is wrong already.
pub(crate) fn check_match(errors: &mut ErrorList, path: &Path, template: &Value, selector: &LabelSelector) {
    let own = field(field(template, "metadata"), "labels");
    if !selector.is_empty() && !selector.matches_by(|key| field(own, key).as_str()) {
        errors.push(FieldError::invalid(&path.child("metadata").child("labels"), own.clone(), MISMATCH));
    }
}

/// The template of a ReplicaSet or Deployment at `path`.
pub(crate) fn check_replicated(errors: &mut ErrorList, path: &Path, template: &Value, selector: &LabelSelector) {
    check_match(errors, path, template, selector);
    pod_template::check(errors, path, template);
    pod_template::check_endless(errors, path, template, "ReplicaSet");
}

/// A number or a percentage.
pub(crate) fn check_int_or_percent(errors: &mut ErrorList, path: &Path, holder: &Value, name: &str) {
    let path = path.child(name);
    match field(holder, name) {
        Value::String(value) => checks::invalid(errors, &path, value.as_str(), names::is_valid_percent(value)),
        value => checks::non_negative(errors, &path, value.as_i64()),
    }
}

/// The number in a number or percentage; 0 for what is neither.
pub(crate) fn number_of(value: &Value) -> i64 {
    match value {
        Value::String(text) => percent(text).unwrap_or_default(),
        value => value.as_i64().unwrap_or_default(),
    }
}

fn percent(text: &str) -> Option<i64> {
    if names::is_valid_percent(text).is_empty() { text.trim_end_matches('%').parse().ok() } else { None }
}

/// A share of at most everything.
pub(crate) fn check_at_most_all(errors: &mut ErrorList, path: &Path, holder: &Value, name: &str) {
    let value = field(holder, name);
    if value.as_str().and_then(percent).is_some_and(|share| share > 100) {
        errors.push(FieldError::invalid(&path.child(name), value.clone(), "must not be greater than 100%"));
    }
}

/// Counts of pods in a status that are at most all of them; `ready` is how the count of ready pods is called.
pub(crate) fn check_replica_counts(errors: &mut ErrorList, status: &Value, parts: &[&str], ready: &str) {
    let path = Path::new("status");
    let count = |name| int(status, name).unwrap_or_default();
    for name in parts.iter().filter(|name| count(name) > count("replicas")) {
        errors.push(FieldError::invalid(&path.child(name), count(name), "cannot be greater than status.replicas"));
    }
    if count("availableReplicas") > count("readyReplicas") {
        let why = format!("cannot be greater than {ready}");
        errors.push(FieldError::invalid(&path.child("availableReplicas"), count("availableReplicas"), why));
    }
}

/// Collisions of names are never forgotten.
pub(crate) fn check_collisions(errors: &mut ErrorList, new: &Value, old: &Value) {
    let (Some(before), after) = (int(old, "collisionCount"), int(new, "collisionCount")) else { return };
    if after.is_none_or(|after| after < before) {
        let path = Path::new("status").child("collisionCount");
        errors.push(FieldError::invalid(&path, after.unwrap_or_default(), "cannot be decremented"));
    }
}

/// A rolling update with these defaults, unless the strategy in `field` is another.
pub(crate) fn rolling_defaults(spec: &mut Value, name: &str, values: &[(&str, Value)]) {
    let Some(strategy) = object_at(spec, name) else { return };
    crate::json::default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") != "RollingUpdate" {
        return;
    }
    if let Some(rolling) = object_at(strategy, "rollingUpdate") {
        for (name, value) in values {
            default(rolling, name, value.clone());
        }
    }
}

/// Warnings about a workload's name, when it is new, and about its template, when that or anything else that is wanted is.
pub(crate) fn warn(object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if old.is_none() {
        pod::names_warning(object, warnings);
    }
    warn_of_template(object, old, warnings);
}

/// Whether anything that is wanted is new.
pub(crate) fn is_news(object: &Value, old: Option<&Value>) -> bool {
    old.is_none_or(|old| meta::generation(old) != meta::generation(object))
}

/// Warnings about the template of a workload.
pub(crate) fn warn_of_template(object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if is_news(object, old) {
        let template = field(field(object, "spec"), "template");
        pod::spec_warnings(&Path::new("spec").child("template"), template, warnings);
    }
}

/// Whether a status update.
pub(crate) fn is_status(subresource: Option<&str>) -> bool {
    subresource == Some("status")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is wrong with a workload of a kind whose spec is changed in one place.
    fn wrong(kind: &str, place: &str, value: Value) -> Vec<String> {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
        let mut object = json!({"metadata": {"name": "w"}, "spec": spec});
        crate::set_defaults("apps", "v1", kind, &mut object);
        crate::prepare_for_create("apps", kind, &mut object);
        if let Some(at) = object.pointer_mut(place) {
            *at = value;
        }
        let errors = crate::validate_create("apps", kind, &object);
        errors.iter().map(|error| error.to_string().chars().take(110).collect()).collect()
    }

    #[test]
    fn workloads_are_refused_in_kubernetes_words() {
        for kind in ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"] {
            assert!(wrong(kind, "/nowhere", Value::Null).is_empty(), "{kind}");
            let errors = wrong(kind, "/spec/template/metadata/labels", json!({"a": "c"}));
            let why = "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`";
            assert_eq!(errors, [why], "{kind}");
            let errors = wrong(kind, "/spec/template/spec/restartPolicy", json!("Never"));
            let why = "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"";
            assert_eq!(errors, [why], "{kind}");
        }
        let cases = [
            (
                "Deployment",
                "/spec/strategy/rollingUpdate",
                json!({"maxSurge": 0, "maxUnavailable": "0%"}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ),
            (
                "Deployment",
                "/spec/progressDeadlineSeconds",
                json!(0),
                "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
            ),
            (
                "DaemonSet",
                "/spec/updateStrategy/type",
                json!("x"),
                "spec.updateStrategy: Unsupported value: {\"Type\":\"x\",\"RollingUpdate\":{\"MaxUnavailable\":1,\"MaxSurge\":0}}: suppor",
            ),
            (
                "StatefulSet",
                "/spec/podManagementPolicy",
                json!("x"),
                "spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'",
            ),
        ];
        for (kind, place, value, why) in cases {
            assert_eq!(wrong(kind, place, value), [why], "{kind} {place}");
        }
    }

    #[test]
    fn what_selects_a_workloads_pods_does_not_change() {
        let mut old = json!({"metadata": {"name": "w"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        }});
        crate::set_defaults("apps", "v1", "Deployment", &mut old);
        let mut new = old.clone();
        new["spec"]["replicas"] = 3.into();
        assert!(crate::validate_update("apps", "Deployment", None, &new, &old).is_empty());
        new["spec"]["selector"] = json!({"matchLabels": {"c": "d"}});
        let errors = crate::validate_update("apps", "Deployment", None, &new, &old);
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable"]);
    }
}
