//! CSIDrivers.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use super::check_driver_name;
use crate::{
    checks,
    json::{default, field, has, int, list, take, text, with},
    kind::Kind,
    metadata,
};

const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;
const PERIOD_MIN: i64 = 10;

pub(crate) struct CsiDriver;

impl Kind for CsiDriver {
    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            for (name, value) in [
                ("attachRequired", json!(true)),
                ("podInfoOnMount", json!(false)),
                ("storageCapacity", json!(false)),
                ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
                ("requiresRepublish", json!(false)),
                ("seLinuxMount", json!(false)),
            ] {
                default(spec, name, value);
            }
            if list(spec, "volumeLifecycleModes").is_empty() {
                spec["volumeLifecycleModes"] = json!(["Persistent"]);
            }
            // Not on in this version.
            take(spec, "preventPodSchedulingIfMissing");
        });
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        // Its generation begins with its first change.
        if field(new, "spec") != field(old, "spec") {
            let generation = meta::generation(old) + 1;
            meta::set(new, "generation", generation);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check_driver_name(errors, &Path::new("name"), meta::name(object));
        validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate(new, errors);
        let (path, spec, before) = (Path::new("spec"), field(new, "spec"), field(old, "spec"));
        checks::immutable(errors, &path.child("attachedRequired"), spec, before, "attachRequired");
        checks::immutable(errors, &path.child("volumeLifecycleModes"), spec, before, "volumeLifecycleModes");
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        let spec = field(object, "spec");
        if !list(spec, "tokenRequests").is_empty() && !has(spec, "serviceAccountTokenInSecrets") {
            warnings.push(
                "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of \
                 tokens in volume attributes"
                    .into(),
            );
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    for (name, told) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !has(spec, name) {
            errors.push(FieldError::required(&path.child(told), ""));
        }
    }
    let policy = text(spec, "fsGroupPolicy");
    if has(spec, "fsGroupPolicy") {
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        checks::one_of(errors, &path.child("fsGroupPolicy"), policy, &known);
    } else {
        errors.push(FieldError::required(&path.child("fsGroupPolicy"), ""));
    }
    check_tokens(list(spec, "tokenRequests"), &path.child("tokenRequests"), errors);
    for mode in list(spec, "volumeLifecycleModes") {
        let mode = mode.as_str().unwrap_or_default();
        checks::one_of(errors, &path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
    }
    if let Some(seconds) = int(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|seconds| *seconds < PERIOD_MIN) {
        let detail = format!("must be greater than or equal to {PERIOD_MIN} seconds");
        errors.push(FieldError::invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), seconds, detail));
    }
    let secret = field(spec, "serviceAccountTokenInSecrets");
    if !secret.is_null() && list(spec, "tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(FieldError::invalid(&path.child("serviceAccountTokenInSecrets"), secret.clone(), detail));
    }
}

fn check_tokens(requests: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        let audience = text(request, "audience");
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
        }
        let Some(seconds) = int(request, "expirationSeconds") else { continue };
        let mut refuse =
            |detail: &str| errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
        if seconds < SECONDS_MIN {
            refuse("may not specify a duration less than 10 minutes");
        }
        if seconds > SECONDS_MAX {
            refuse("may not specify a duration larger than 2^32 seconds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "a.example", "resourceVersion": "1"}, "spec": spec});
        crate::set_defaults("storage.k8s.io", "v1", "CSIDriver", &mut object);
        object
    }

    #[test]
    fn a_driver_says_how_it_is_used() {
        let count = |spec| crate::validate_create("storage.k8s.io", "CSIDriver", &driver(spec)).len();
        assert_eq!(count(json!({})), 0);
        assert_eq!(count(json!({"fsGroupPolicy": "x", "volumeLifecycleModes": ["y"]})), 2);
        assert_eq!(count(json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]})), 2);
    }

    #[test]
    fn its_generation_begins_with_its_first_change() {
        let old = driver(json!({}));
        let mut new = driver(json!({"seLinuxMount": true}));
        crate::prepare_for_update("storage.k8s.io", "CSIDriver", None, &mut new, &old);
        assert_eq!(new["metadata"]["generation"], 1);
    }
}
