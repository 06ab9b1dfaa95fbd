//! DaemonSets.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    selectors::LabelSelector,
};
use serde_json::{Value, json};

use super::workload;
use crate::{
    checks,
    core::pod_template,
    golang::{Shape, Struct},
    json::{default, field, flag, has, list, some, text, with},
    kind::Kind,
    labels,
};

static ROLLING: Struct =
    Struct(&[("MaxUnavailable", "maxUnavailable", Shape::Any), ("MaxSurge", "maxSurge", Shape::Any)]);
static STRATEGY: Struct =
    Struct(&[("Type", "type", Shape::Text), ("RollingUpdate", "rollingUpdate", Shape::Pointer(&ROLLING))]);

/// Where `apps/v1` keeps the number of the template, for which it has no field.
const GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Value) -> i64 {
    let kept = field(field(object, "metadata"), "annotations").get(GENERATION).and_then(Value::as_str);
    kept.and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn annotate(object: &mut Value, generation: i64) {
    default(object, "metadata", json!({}));
    with(object, "metadata", |metadata| {
        default(metadata, "annotations", json!({}));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.insert(GENERATION.to_owned(), generation.to_string().into());
        }
    });
}

pub(crate) struct DaemonSet;

impl Kind for DaemonSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        let generation = template_generation(object);
        annotate(object, generation);
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            let values = [("maxUnavailable", json!(1)), ("maxSurge", json!(0))];
            workload::rolling_defaults(spec, "updateStrategy", &values);
            default(spec, "revisionHistoryLimit", 10);
            pod_template::workload_defaults(spec);
        });
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", |spec| pod_template::drop_disabled(spec, None));
        annotate(object, 1);
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        let template = |object: &Value| field(field(object, "spec"), "template").clone();
        let changed = template(new) != template(old);
        annotate(new, template_generation(old) + i64::from(changed));
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
        workload::check_selector_unchanged(errors, &Path::new("spec"), field(new, "spec"), field(old, "spec"));
        check(errors, field(new, "spec"));
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        workload::warn_of_template(object, old, warnings);
    }
}

fn check(errors: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    let selector = field(spec, "selector");
    labels::check_selector(errors, &path.child("selector"), selector);
    let template = field(spec, "template");
    let template_path = path.child("template");
    if let Ok(read) = LabelSelector::from_value(selector)
        && !read.is_empty()
    {
        workload::check_match(errors, &template_path, template, &read);
    }
    if !selector.is_null() && workload::is_empty(selector) {
        let why = "empty selector is invalid for daemonset";
        errors.push(workload::shown_selector(&path.child("selector"), selector, why));
    }
    pod_template::check(errors, &template_path, template);
    check_disks(errors, &template_path.child("spec").child("volumes"), list(field(template, "spec"), "volumes"));
    pod_template::check_endless(errors, &template_path, template, "DaemonSet");
    workload::check_counts(errors, &path, spec, &["minReadySeconds"]);
    check_strategy(errors, &path.child("updateStrategy"), field(spec, "updateStrategy"));
    workload::check_counts(errors, &path, spec, &["revisionHistoryLimit"]);
}

/// A disk that one node writes to cannot be on all of them.
fn check_disks(errors: &mut ErrorList, path: &Path, volumes: &[Value]) {
    for (index, volume) in volumes.iter().enumerate() {
        if some(volume, "gcePersistentDisk").is_some_and(|disk| !flag(disk, "readOnly")) {
            let path = path.index(index).child("gcePersistentDisk").child("readOnly");
            let why = "must be true for replicated pods > 1; GCE PD can only be mounted on multiple machines if it is read-only";
            errors.push(FieldError::invalid(&path, false, why));
        }
    }
}

fn check_strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if !has(strategy, "rollingUpdate") => {
            errors.push(FieldError::required(&path.child("rollingUpdate"), ""));
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let rolling = field(strategy, "rollingUpdate");
            for name in ["maxUnavailable", "maxSurge"] {
                workload::check_int_or_percent(errors, &path, rolling, name);
            }
            for name in ["maxUnavailable", "maxSurge"] {
                workload::check_at_most_all(errors, &path, rolling, name);
            }
            let [unavailable, surge] =
                ["maxUnavailable", "maxSurge"].map(|name| workload::number_of(field(rolling, name)) != 0);
            if unavailable && surge {
                let why = "may not be set when maxUnavailable is non-zero";
                errors.push(FieldError::invalid(&path.child("maxSurge"), field(rolling, "maxSurge").clone(), why));
            }
            if !unavailable && !surge {
                errors.push(FieldError::required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
            }
        }
        _ => {
            let shown = format!("{}: supported values: \"RollingUpdate\", \"OnDelete\"", STRATEGY.show(strategy));
            errors.push(checks::shown(ErrorKind::NotSupported, path, &shown, ""));
        }
    }
}

fn check_status(errors: &mut ErrorList, status: &Value, old: &Value) {
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    workload::check_counts(errors, &Path::new("status"), status, &counts);
    workload::check_collisions(errors, status, old);
}
