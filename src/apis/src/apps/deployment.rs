//! Deployments.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    meta,
};
use serde_json::{Value, json};

use super::workload;
use crate::{
    checks,
    core::pod_template,
    golang::{Shape, Struct},
    json::{default, field, has, int, keep, text, with},
    kind::Kind,
    metadata,
};

static ROLLING: Struct =
    Struct(&[("MaxUnavailable", "maxUnavailable", Shape::Any), ("MaxSurge", "maxSurge", Shape::Any)]);
static STRATEGY: Struct =
    Struct(&[("Type", "type", Shape::Text), ("RollingUpdate", "rollingUpdate", Shape::Pointer(&ROLLING))]);

pub(crate) struct Deployment;

impl Kind for Deployment {
    fn has_generation(&self) -> bool {
        true
    }

    fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        metadata::is_changed(new, old) || meta::annotations(new) != meta::annotations(old)
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            let share = json!("25%");
            workload::rolling_defaults(spec, "strategy", &[("maxUnavailable", share.clone()), ("maxSurge", share)]);
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            pod_template::workload_defaults(spec);
        });
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", |spec| pod_template::drop_disabled(spec, None));
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, old: &Value) {
        if workload::is_status(subresource) {
            with(new, "metadata", |metadata| keep(metadata, field(old, "metadata"), "labels"));
            return;
        }
        with(new, "spec", |spec| pod_template::drop_disabled(spec, Some(field(old, "spec"))));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check(errors, field(object, "spec"));
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if workload::is_status(subresource) {
            check_status(errors, field(new, "status"), field(old, "status"));
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
    workload::check_counts(errors, &path, spec, &["replicas"]);
    let empty = "empty selector is invalid for deployment";
    if let Some(selector) = workload::check_selector(errors, &path, spec, empty, "invalid label selector") {
        workload::check_replicated(errors, &path.child("template"), field(spec, "template"), &selector);
    }
    check_strategy(errors, &path.child("strategy"), field(spec, "strategy"));
    workload::check_counts(
        errors,
        &path,
        spec,
        &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"],
    );
    if let Some(deadline) = int(spec, "progressDeadlineSeconds")
        && deadline <= int(spec, "minReadySeconds").unwrap_or_default()
    {
        let path = path.child("progressDeadlineSeconds");
        errors.push(FieldError::invalid(&path, deadline, "must be greater than minReadySeconds"));
    }
}

fn check_strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    let rolling_path = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if has(strategy, "rollingUpdate") => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&rolling_path, why));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let rolling = field(strategy, "rollingUpdate");
            workload::check_int_or_percent(errors, &rolling_path, rolling, "maxUnavailable");
            workload::check_int_or_percent(errors, &rolling_path, rolling, "maxSurge");
            let unavailable = field(rolling, "maxUnavailable");
            if workload::number_of(unavailable) == 0 && workload::number_of(field(rolling, "maxSurge")) == 0 {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&rolling_path.child("maxUnavailable"), unavailable.clone(), why));
            }
            workload::check_at_most_all(errors, &rolling_path, rolling, "maxUnavailable");
        }
        _ => {
            let shown = format!("{}: supported values: \"Recreate\", \"RollingUpdate\"", STRATEGY.show(strategy));
            errors.push(checks::shown(ErrorKind::NotSupported, path, &shown, ""));
        }
    }
}

fn check_status(errors: &mut ErrorList, status: &Value, old: &Value) {
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    workload::check_counts(errors, &Path::new("status"), status, &counts);
    workload::check_replica_counts(errors, status, &counts[2..5], "readyReplicas");
    workload::check_collisions(errors, status, old);
}
