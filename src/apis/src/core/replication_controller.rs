//! ReplicationControllers.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    selectors::LabelSelector,
};
use serde_json::{Value, json};

use crate::{
    apps::workload,
    core::pod_template,
    json::{default, field, has, map, set, with},
    kind::Kind,
};

pub(crate) struct ReplicationController;

impl Kind for ReplicationController {
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
        let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()).cloned() {
            let absent = |holder: &Value, name| map(holder, name).is_none_or(serde_json::Map::is_empty);
            with(object, "spec", |spec| {
                if absent(spec, "selector") {
                    set(spec, "selector", labels.clone());
                }
            });
            with(object, "metadata", |metadata| {
                if absent(metadata, "labels") {
                    set(metadata, "labels", labels);
                }
            });
        }
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            with(spec, "template", pod_template::template_defaults);
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

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if workload::is_status(subresource) {
            let status = field(new, "status");
            let counts =
                ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
            workload::check_counts(errors, &Path::new("status"), status, &counts);
            workload::check_replica_counts(errors, status, &counts[1..4], "readyReplicas");
            return;
        }
        check(errors, field(new, "spec"));
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        workload::warn(object, old, warnings);
    }
}

fn check(errors: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    workload::check_counts(errors, &path, spec, &["minReadySeconds"]);
    if map(spec, "selector").is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required(&path.child("selector"), ""));
    }
    workload::check_counts(errors, &path, spec, &["replicas"]);
    let template_path = path.child("template");
    if !has(spec, "template") {
        errors.push(FieldError::required(&template_path, ""));
        return;
    }
    let template = field(spec, "template");
    workload::check_match(errors, &template_path, template, &LabelSelector::from_map(field(spec, "selector")));
    pod_template::check(errors, &template_path, template);
    pod_template::check_endless(errors, &template_path, template, "ReplicationController");
}
