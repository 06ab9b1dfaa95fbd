//! Jobs.

use std::borrow::Cow;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    meta,
    selectors::LabelSelector,
};
use serde_json::{Map, Value, json};

use super::{job_spec, job_status};
use crate::{
    apps::workload,
    checks,
    core::{pod, pod_template},
    golang::Struct,
    json::{default, default_text, each, field, flag, has, int, keep, list, object_at, set, some, take, text, with},
    kind::Kind,
    labels, metadata,
};

/// The label that finds a Job's pods, and the one that names the Job; each also under its old name.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

pub(crate) struct Job;

impl Kind for Job {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            if !has(spec, "completions") && !has(spec, "parallelism") {
                default(spec, "completions", 1);
            }
            default(spec, "parallelism", 1);
            // Where each index has a limit of its own, the one of all is none.
            default(spec, "backoffLimit", if has(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 });
            default(spec, "completionMode", "NonIndexed");
            default(spec, "suspend", false);
            default(spec, "manualSelector", false);
            let failed = has(spec, "podFailurePolicy");
            default(spec, "podReplacementPolicy", if failed { "Failed" } else { "TerminatingOrFailed" });
            failure_policy_defaults(spec);
            pod_template::workload_defaults(spec);
        });
        let of_template = template_labels(object).as_object();
        if let Some(labels) = of_template.filter(|labels| !labels.is_empty()).cloned()
            && let Some(metadata) = object_at(object, "metadata")
            && field(metadata, "labels").as_object().is_none_or(Map::is_empty)
        {
            set(metadata, "labels", labels);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
        // Labels that are the template's go on being so.
        let own = field(field(object, "metadata"), "labels");
        let shared = own.as_object().is_none_or(Map::is_empty) || own == template_labels(object);
        with(object, "spec", |spec| {
            pod_template::drop_disabled(spec, None);
            if !flag(spec, "manualSelector") {
                generate_selector(spec, &uid, &name);
            }
        });
        if shared {
            let labels = template_labels(object).clone();
            if labels.is_object() {
                meta::set(object, "labels", labels);
            }
        }
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        with(new, "spec", |spec| pod_template::drop_disabled(spec, Some(field(old, "spec"))));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check_labels(errors, object);
        check(errors, field(object, "spec"));
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if !workload::is_status(subresource) {
            metadata::validate(&|name| self.check_name(name), new, errors);
            check_labels(errors, new);
            check(errors, field(new, "spec"));
        }
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if workload::is_status(subresource) {
            job_status::check(errors, new, old);
            return;
        }
        let (spec, old_spec) = (field(new, "spec"), field(old, "spec"));
        check(errors, spec);
        check_unchanged(errors, spec, old_spec, field(old, "status"));
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        if old.is_none() {
            pod::names_warning(object, warnings);
        }
        if workload::is_news(object, old) {
            spec_warnings(&Path::new("spec"), field(object, "spec"), warnings);
        }
    }
}

fn template_labels(job: &Value) -> &Value {
    field(field(field(field(job, "spec"), "template"), "metadata"), "labels")
}

/// Fills in what a rule about conditions of pods may leave out.
pub(super) fn failure_policy_defaults(spec: &mut Value) {
    with(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| {
            each(rule, "onPodConditions", |condition| default_text(condition, "status", "True"));
        });
    });
}

/// Makes a Job find its own pods, by a label that no other Job has.
fn generate_selector(spec: &mut Value, uid: &str, name: &str) {
    default(spec, "template", json!({}));
    with(spec, "template", |template| {
        if let Some(metadata) = object_at(template, "metadata")
            && let Some(labels) = object_at(metadata, "labels")
        {
            for (keys, value) in [(NAME_LABELS, name), (UID_LABELS, uid)] {
                // What a client has set is left, and refused later if it is wrong.
                keys.iter().for_each(|key| default(labels, key, value));
            }
        }
    });
    if let Some(selector) = object_at(spec, "selector")
        && let Some(labels) = object_at(selector, "matchLabels")
    {
        default(labels, UID_LABELS[1], uid);
    }
}

/// The labels and the selector that a Job without a selector of its own has been given.
fn check_labels(errors: &mut ErrorList, job: &Value) {
    let spec = field(job, "spec");
    if flag(spec, "manualSelector") || !has(spec, "selector") {
        return;
    }
    let (uid, name) = (meta::uid(job), meta::name(job));
    if uid.is_empty() {
        errors.push(FieldError::required(&Path::new("metadata").child("uid"), ""));
    }
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let own = field(field(field(spec, "template"), "metadata"), "labels");
    let expected: Vec<_> =
        [0, 1].iter().flat_map(|form| [(UID_LABELS[*form], uid), (NAME_LABELS[*form], name)]).collect();
    for (key, value) in &expected {
        match some(own, key).and_then(Value::as_str) {
            None => errors.push(FieldError::required(&path.key(key), format!("must be '{value}'"))),
            Some(other) if other != *value => {
                errors.push(FieldError::invalid(&path.key(key), other, format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    let selector = field(spec, "selector");
    if let Ok(read) = LabelSelector::from_value(selector)
        && !read.matches_by(|key| expected.iter().find(|(other, _)| *other == key).map(|(_, value)| *value))
    {
        let path = Path::new("spec").child("selector");
        errors.push(workload::shown_selector(&path, selector, "`selector` not auto-generated"));
    }
}

fn check(errors: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    job_spec::check(errors, &path, spec);
    let selector = field(spec, "selector");
    let selector_path = path.child("selector");
    if selector.is_null() {
        errors.push(FieldError::required(&selector_path, ""));
    }
    labels::check_selector(errors, &selector_path, selector);
    if let Ok(read) = LabelSelector::from_value(selector)
        && !read.is_empty()
    {
        workload::check_match(errors, &path.child("template"), field(spec, "template"), &read);
    }
}

/// What a Job is made of stays as it is.
fn check_unchanged(errors: &mut ErrorList, spec: &Value, old: &Value, status: &Value) {
    let path = Path::new("spec");
    check_completions(errors, &path.child("completions"), spec, old);
    workload::check_selector_unchanged(errors, &path, spec, old);
    check_template(errors, &path.child("template"), spec, old, status);
    checks::immutable(errors, &path.child("completionMode"), spec, old, "completionMode");
    let structure = |errors: &mut ErrorList, name: &str, shape: &Struct| {
        checks::immutable_struct(errors, &path.child(name), field(spec, name), field(old, name), shape);
    };
    structure(errors, "podFailurePolicy", &job_spec::FAILURE_POLICY);
    checks::immutable(errors, &path.child("backoffLimitPerIndex"), spec, old, "backoffLimitPerIndex");
    checks::immutable(errors, &path.child("managedBy"), spec, old, "managedBy");
    structure(errors, "successPolicy", &job_spec::SUCCESS_POLICY);
}

/// An indexed Job can be made larger or smaller, together with how many of its pods run at a time.
fn check_completions(errors: &mut ErrorList, path: &Path, spec: &Value, old: &Value) {
    if text(spec, "completionMode") != "Indexed" {
        checks::immutable(errors, path, spec, old, "completions");
        return;
    }
    let (completions, parallelism) = (int(spec, "completions"), int(spec, "parallelism"));
    if completions == int(old, "completions") || completions.is_none() || parallelism.is_none() {
        return;
    }
    if completions != parallelism {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(path, completions.unwrap_or_default(), why));
    }
}

/// The template, of which a Job that has not begun may still change where its pods go and what they ask for.
fn check_template(errors: &mut ErrorList, path: &Path, spec: &Value, old: &Value, status: &Value) {
    let of = |spec| field(field(spec, "template"), "spec");
    let (new_pod, old_pod) = (of(spec), of(old));
    if new_pod == old_pod {
        return;
    }
    let waiting = flag(old, "suspend") && !has(status, "startTime");
    let expected = if waiting { Cow::Owned(with_directives(old_pod, new_pod)) } else { Cow::Borrowed(old_pod) };
    if *new_pod != *expected {
        let shown = pod::golang::show(new_pod);
        errors.push(checks::shown(ErrorKind::Invalid, &path.child("spec"), &shown, checks::IMMUTABLE));
    }
}

/// The old spec of a pod with what may change taken from the new one.
fn with_directives(old: &Value, new: &Value) -> Value {
    let mut expected = old.clone();
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        keep(&mut expected, new, name);
    }
    let affinity = field(new, "affinity");
    if has(&expected, "affinity") || has(affinity, "nodeAffinity") {
        if let Some(own) = object_at(&mut expected, "affinity") {
            keep(own, affinity, "nodeAffinity");
        }
        if field(&expected, "affinity") == &json!({}) && affinity.is_null() {
            take(&mut expected, "affinity");
        }
    }
    for name in ["containers", "initContainers"] {
        let containers = list(new, name);
        for (index, container) in expected.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            if let Some(wanted) = containers.get(index) {
                keep(container, wanted, "resources");
            }
        }
    }
    expected
}

/// Warnings about the spec at `path`.
pub(super) fn spec_warnings(path: &Path, spec: &Value, warnings: &mut Vec<String>) {
    let large = |name, most| int(spec, name).is_some_and(|value| value > most);
    if text(spec, "completionMode") == "Indexed" && large("completions", 100_000) && large("parallelism", 10_000) {
        warnings.push(
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
                .into(),
        );
    }
    pod::spec_warnings(&path.child("template"), field(spec, "template"), warnings);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Value {
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        let mut job =
            json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"suspend": true, "template": {"spec": pod}}});
        crate::set_defaults("batch", "v1", "Job", &mut job);
        crate::prepare_for_create("batch", "Job", &mut job);
        job
    }

    fn fields(errors: &ErrorList) -> Vec<&str> {
        errors.iter().map(|error| error.field.as_str()).collect()
    }

    #[test]
    fn a_job_finds_its_own_pods() {
        let job = job();
        assert!(crate::validate_create("batch", "Job", &job).is_empty());
        assert_eq!(job["spec"]["selector"]["matchLabels"], json!({"batch.kubernetes.io/controller-uid": "u"}));
        let mut other = job.clone();
        other["spec"]["template"]["metadata"]["labels"]["job-name"] = "k".into();
        let errors = crate::validate_create("batch", "Job", &other);
        assert_eq!(fields(&errors), ["spec.template.metadata.labels[job-name]"]);
    }

    #[test]
    fn only_a_job_that_waits_may_send_its_pods_elsewhere() {
        let old = job();
        let mut new = old.clone();
        new["spec"]["template"]["spec"]["nodeSelector"] = json!({"zone": "a"});
        assert!(crate::validate_update("batch", "Job", None, &new, &old).is_empty());
        let mut running = old.clone();
        running["spec"]["suspend"] = false.into();
        let errors = crate::validate_update("batch", "Job", None, &new, &running);
        assert_eq!(fields(&errors), ["spec.template.spec"]);
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(errors[0].contains("\"NodeSelector\":{\"zone\":\"a\"}"), "{errors:?}");
    }
}
