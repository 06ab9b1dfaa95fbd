//! Leases.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

use crate::{
    checks,
    json::{self, default, has, int, take, text},
    kind::Kind,
};

pub(crate) struct Lease;

impl Kind for Lease {
    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_coordinated(object, None);
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        drop_coordinated(new, Some(old));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        validate(new, errors);
    }
}

/// Coordinated leader election is not on, so that what it needs is only kept where it is stored.
fn drop_coordinated(object: &mut Value, old: Option<&Value>) {
    for name in ["strategy", "preferredHolder"] {
        if !old.is_some_and(|old| has(json::field(old, "spec"), name))
            && let Some(spec) = object.get_mut("spec")
        {
            take(spec, name);
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), json::field(object, "spec"));
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    checks::non_negative(errors, &path.child("leaseTransitions"), int(spec, "leaseTransitions"));
    if has(spec, "strategy") {
        let path = path.child("strategy");
        let strategy = text(spec, "strategy");
        let known = |strategy: &str| strategy == "OldestEmulationVersion";
        if !strategy.contains('/') && !known(strategy) {
            errors.push(FieldError::not_supported(&path, strategy, &["OldestEmulationVersion"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_and_its_holders_are_counted() {
        let lease = |spec: Value| json!({"metadata": {"name": "l"}, "spec": spec});
        let count = |spec| crate::validate_create("coordination.k8s.io", "Lease", &lease(spec)).len();
        assert_eq!(count(json!({})), 0);
        assert_eq!(count(json!({"leaseDurationSeconds": 0, "leaseTransitions": -1})), 2);
    }
}
