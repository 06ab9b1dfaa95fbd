//! When a pod's containers are started again.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::{
    checks,
    json::{has, int, list, some, text},
};

/// Rules of a container at most.
const RULES_MAX: usize = 20;
/// Exit codes of a rule at most.
const CODES_MAX: usize = 255;

/// A container's own policy and rules.
pub(crate) fn check_container(errors: &mut ErrorList, path: &Path, container: &Value, is_init: bool) {
    let rules = list(container, "restartPolicyRules");
    let policy = path.child("restartPolicy");
    match some(container, "restartPolicy").and_then(Value::as_str) {
        Some(own) => checks::one_of(errors, &policy, own, &["Always", "Never", "OnFailure"]),
        None if rules.is_empty() => return,
        None => {
            errors.push(FieldError::required(&policy, "must specify restartPolicy when restart rules are used"));
            if is_init {
                return;
            }
        }
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        checks::one_of(errors, &path.child("action"), text(rule, "action"), &["Restart", "RestartAllContainers"]);
        let codes_path = path.child("exitCodes");
        let Some(codes) = some(rule, "exitCodes") else {
            errors.push(FieldError::required(&codes_path, "must be specified"));
            continue;
        };
        checks::one_of(errors, &codes_path.child("operator"), text(codes, "operator"), &["In", "NotIn"]);
        let values = list(codes, "values");
        let values_path = codes_path.child("values");
        if values.len() > CODES_MAX {
            errors.push(FieldError::too_many(&values_path, values.len(), CODES_MAX));
        }
    }
}

/// An init container that is always started again runs beside the others from then on.
pub(crate) fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// A pod's policy.
pub(crate) fn check_pod(errors: &mut ErrorList, path: &Path, policy: &str) {
    checks::required_one_of(errors, path, policy, &["Always", "OnFailure", "Never"]);
}

/// `activeDeadlineSeconds`, where there is one.
pub(crate) fn check_deadline(errors: &mut ErrorList, path: &Path, spec: &Value) {
    if !has(spec, "activeDeadlineSeconds") {
        return;
    }
    let seconds = int(spec, "activeDeadlineSeconds").unwrap_or_default();
    let problems = apimachinery::names::is_in_range(seconds, 1, i64::from(i32::MAX));
    checks::invalid(errors, path, seconds, problems);
}
