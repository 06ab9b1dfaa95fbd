//! HorizontalPodAutoscalers, checked in the form of `autoscaling/v2`.

mod metrics;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
    quantity::Quantity,
};
use serde_json::{Value, json};

use crate::{
    checks,
    json::{default, field, has, int, list, text, with},
    kind::Kind,
    metadata,
};

const REPLICAS_MIN: i64 = 1;
const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

pub(crate) struct HorizontalPodAutoscaler;

impl Kind for HorizontalPodAutoscaler {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"currentMetrics": null, "desiredReplicas": 0})
    }

    fn defaults(&self, version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default(spec, "minReplicas", 1);
            if version == "v1" {
                return;
            }
            if list(spec, "metrics").is_empty() {
                let target = json!({"type": "Utilization", "averageUtilization": 80});
                spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
            }
            with(spec, "behavior", behavior_defaults);
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(field(object, "spec"), errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            let (path, status) = (Path::new("status"), field(new, "status"));
            for name in ["currentReplicas", "desiredReplicas"] {
                checks::non_negative(errors, &path.child(name), int(status, name));
            }
        } else {
            validate(field(new, "spec"), errors);
        }
    }
}

/// Who says how to scale in one direction says something about both.
fn behavior_defaults(behavior: &mut Value) {
    let policy = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    for (name, policies) in [
        ("scaleUp", json!([policy("Pods", 4), policy("Percent", 100)])),
        ("scaleDown", json!([policy("Percent", 100)])),
    ] {
        default(behavior, name, json!({}));
        with(behavior, name, |rules| {
            default(rules, "selectPolicy", "Max");
            if rules.get("policies").is_none_or(Value::is_null) {
                rules["policies"] = policies;
            }
            if name == "scaleUp" {
                default(rules, "stabilizationWindowSeconds", 0);
            }
        });
    }
}

fn validate(spec: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let (min, max) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or_default());
    if let Some(min) = min.filter(|min| *min < REPLICAS_MIN) {
        let detail = format!("must be greater than or equal to {REPLICAS_MIN}");
        errors.push(FieldError::invalid(&path.child("minReplicas"), min, detail));
    }
    let at = path.child("maxReplicas");
    if max < 1 {
        errors.push(FieldError::required(&at, "must be set and greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        errors.push(FieldError::invalid(&at, max, "must be greater than or equal to `minReplicas`"));
    }
    let (at, target) = (path.child("scaleTargetRef"), field(spec, "scaleTargetRef"));
    check_reference(target, &at, errors);
    check_version(text(target, "apiVersion"), &at.child("apiVersion"), errors);
    metrics::check(spec, min, &path.child("metrics"), errors);
    let (path, behavior) = (path.child("behavior"), field(spec, "behavior"));
    for name in ["scaleUp", "scaleDown"] {
        if has(behavior, name) {
            check_rules(field(behavior, name), &path.child(name), errors);
        }
    }
}

/// A reference to an object of some kind.
fn check_reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    for name in ["kind", "name"] {
        let (path, value) = (path.child(name), text(reference, name));
        if checks::required(errors, &path, value) {
            checks::invalid(errors, &path, value, names::is_path_segment_name(value));
        }
    }
}

/// What is scaled has a group, except that ReplicationControllers never had one.
fn check_version(version: &str, path: &Path, errors: &mut ErrorList) {
    if version.matches('/').count() > 1 {
        errors.push(FieldError::invalid(path, version, format!("unexpected GroupVersion string: {version}")));
    } else if version != "v1" && version.split_once('/').is_none_or(|(group, _)| group.is_empty()) {
        errors.push(FieldError::invalid(path, version, "apiVersion must specify API group"));
    }
}

fn check_rules(rules: &Value, path: &Path, errors: &mut ErrorList) {
    let within = |errors: &mut ErrorList, path: &Path, value: i64, low: (i64, &str), high: i64| {
        if value < low.0 {
            errors.push(FieldError::invalid(path, value, format!("must be {}", low.1)));
        } else if value > high {
            errors.push(FieldError::invalid(path, value, format!("must be less than or equal to {high}")));
        }
    };
    if let Some(seconds) = int(rules, "stabilizationWindowSeconds") {
        let at = path.child("stabilizationWindowSeconds");
        within(errors, &at, seconds, (0, "greater than or equal to zero"), WINDOW_SECONDS_MAX);
    }
    if has(rules, "selectPolicy") {
        let policy = text(rules, "selectPolicy");
        checks::one_of(errors, &path.child("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let at = path.child("policies");
    let policies = list(rules, "policies");
    if policies.is_empty() {
        errors.push(FieldError::required(&at, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = at.index(index);
        checks::one_of(errors, &path.child("type"), text(policy, "type"), &["Percent", "Pods"]);
        let value = int(policy, "value").unwrap_or_default();
        within(errors, &path.child("value"), value, (1, "greater than zero"), i64::MAX);
        let seconds = int(policy, "periodSeconds").unwrap_or_default();
        within(errors, &path.child("periodSeconds"), seconds, (1, "greater than zero"), PERIOD_SECONDS_MAX);
    }
    if has(rules, "tolerance")
        && let Ok(amount) = Quantity::from_json(field(rules, "tolerance"))
        && amount.sign() < 0
    {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("tolerance"), amount.to_string(), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(change: impl Fn(&mut Value)) -> Value {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
        let mut object = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target}});
        change(&mut object["spec"]);
        crate::set_defaults("autoscaling", "v2", "HorizontalPodAutoscaler", &mut object);
        object
    }

    fn said(change: impl Fn(&mut Value)) -> Vec<String> {
        let errors = crate::validate_create("autoscaling", "HorizontalPodAutoscaler", &scaler(change));
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn what_is_left_out_is_cpu_and_careful() {
        let object = scaler(|spec| spec["behavior"] = json!({"scaleUp": {"selectPolicy": "Min"}}));
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(object["spec"]["behavior"]["scaleUp"]["selectPolicy"], "Min");
        assert_eq!(object["spec"]["behavior"]["scaleUp"]["policies"][0]["type"], "Pods");
        assert_eq!(object["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Max");
    }

    #[test]
    fn bounds_target_and_metrics_are_checked() {
        assert!(said(|_| {}).is_empty());
        assert_eq!(said(|spec| spec["maxReplicas"] = 0.into()).len(), 2);
        assert_eq!(
            said(|spec| spec["scaleTargetRef"]["apiVersion"] = "apps".into()),
            ["spec.scaleTargetRef.apiVersion: Invalid value"]
        );
        assert_eq!(
            said(|spec| spec["behavior"] = json!({"scaleUp": {"policies": []}})),
            ["spec.behavior.scaleUp.policies: Required value"]
        );
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue"}}});
        assert_eq!(
            said(|spec| spec["metrics"] = json!([pods])),
            ["spec.metrics[0].pods.target.averageValue: Required value"]
        );
        let two = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 1}}, "pods": {}});
        assert!(said(|spec| spec["metrics"] = json!([two])).contains(&"spec.metrics[0].pods: Forbidden".to_owned()));
    }
}
