//! ReplicaSets.

use apimachinery::field::{ErrorList, Path};
use serde_json::{Value, json};

use super::workload;
use crate::{
    core::pod_template,
    json::{default, field, with},
    kind::Kind,
};

pub(crate) struct ReplicaSet;

impl Kind for ReplicaSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"replicas": 0})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            pod_template::workload_defaults(spec);
        });
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", |spec| pod_template::drop_disabled(spec, None));
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        with(new, "spec", |spec| pod_template::drop_disabled(spec, Some(field(old, "spec"))));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check(errors, field(object, "spec"));
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if workload::is_status(subresource) {
            let status = field(new, "status");
            let counts =
                ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
            workload::check_counts(errors, &Path::new("status"), status, &counts);
            workload::check_replica_counts(errors, status, &counts[1..4], "readyReplicas");
            return;
        }
        check(errors, field(new, "spec"));
        workload::check_selector_unchanged(errors, &Path::new("spec"), field(new, "spec"), field(old, "spec"));
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        workload::warn(object, old, warnings);
    }
}

fn check(errors: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    workload::check_counts(errors, &path, spec, &["replicas", "minReadySeconds"]);
    let empty = "empty selector is invalid for deployment";
    if let Some(selector) = workload::check_selector(errors, &path, spec, empty, "invalid label selector") {
        workload::check_replicated(errors, &path.child("template"), field(spec, "template"), &selector);
    }
}
