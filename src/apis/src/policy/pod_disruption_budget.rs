//! PodDisruptionBudgets.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks, conditions,
    golang::{LABEL_SELECTOR, Shape, Struct},
    json::{default, field, has, int, list, text},
    kind::Kind,
    labels::{self, Values},
    metadata,
};

static SPEC: Struct = Struct(&[
    ("MinAvailable", "minAvailable", Shape::Any),
    ("Selector", "selector", Shape::Pointer(&LABEL_SELECTOR)),
    ("MaxUnavailable", "maxUnavailable", Shape::Any),
    ("UnhealthyPodEvictionPolicy", "unhealthyPodEvictionPolicy", Shape::Any),
]);

pub(crate) struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
    }

    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(field(object, "spec"), &Value::Null, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            let (path, status) = (Path::new("status"), field(new, "status"));
            conditions::check(errors, &path.child("conditions"), list(status, "conditions"));
            for name in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                checks::non_negative(errors, &path.child(name), int(status, name));
            }
        } else {
            validate(field(new, "spec"), field(old, "spec"), errors);
        }
    }
}

fn validate(spec: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(checks::shown(ErrorKind::Invalid, &path, &SPEC.show(spec), detail));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        if has(spec, name) {
            check_share(field(spec, name), &path.child(name), errors);
        }
    }
    let stored = labels::has_invalid_value(field(old, "selector"));
    let values = if stored { Values::Any } else { Values::Checked };
    labels::check_selector_with(errors, &path.child("selector"), field(spec, "selector"), values);
    if has(spec, "unhealthyPodEvictionPolicy") {
        let policy = text(spec, "unhealthyPodEvictionPolicy");
        checks::one_of(errors, &path.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

/// A number of pods, or their share.
fn check_share(value: &Value, path: &Path, errors: &mut ErrorList) {
    match value.as_str() {
        Some(share) => {
            checks::invalid(errors, path, share, names::is_valid_percent(share));
            let over = share.strip_suffix('%').and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|n| n > 100);
            if over && names::is_valid_percent(share).is_empty() {
                errors.push(FieldError::invalid(path, share, "must not be greater than 100%"));
            }
        }
        None => checks::non_negative(errors, path, value.as_i64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_says_how_many_stay_or_how_many_go() {
        let said = |spec: Value| {
            let object = json!({"metadata": {"name": "p"}, "spec": spec});
            crate::validate_create("policy", "PodDisruptionBudget", &object).to_string()
        };
        assert_eq!(said(json!({"minAvailable": "50%", "selector": {}})), "");
        assert_eq!(
            said(json!({"minAvailable": 1, "maxUnavailable": 2})),
            "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":2,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set"
        );
        assert!(said(json!({"minAvailable": "101%"})).ends_with("must not be greater than 100%"));
        assert!(said(json!({"maxUnavailable": -1})).ends_with("must be greater than or equal to 0"));
    }
}
