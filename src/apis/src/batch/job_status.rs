//! Updates of a Job's status, which its controller sends.

use std::collections::HashSet;

use apimachinery::field::{ErrorKind, ErrorList, FieldError, Path};
use serde_json::Value;

use super::indexes;
use crate::{
    apps::workload::check_counts,
    json::{field, has, int, list, some, text},
};

/// Checks the status of `new`.
pub(super) fn check(errors: &mut ErrorList, new: &Value, old: &Value) {
    let path = Path::new("status");
    let (spec, status, before) = (field(new, "spec"), field(new, "status"), field(old, "status"));
    check_counts(errors, &path, status, &["active", "succeeded", "failed", "ready", "terminating"]);
    check_uncounted(errors, &path.child("uncountedTerminatedPods"), field(status, "uncountedTerminatedPods"));
    let is = |kind: &str| {
        let mut all = list(status, "conditions").iter();
        all.any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
    };
    let was = |kind: &str| {
        let mut all = list(before, "conditions").iter();
        all.any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
    };
    let (complete, failed) = (is("Complete"), is("Failed"));
    let mut refuse = |why: &str| {
        errors.push(FieldError::new(ErrorKind::Invalid, &path.child("conditions"), None, why));
    };
    if complete && failed {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if complete && is("FailureTarget") {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    for (kind, why) in [
        ("Failed", "cannot disable Failed=True condition"),
        ("Complete", "cannot disable Complete=True condition"),
        ("FailureTarget", "cannot disable FailureTarget=True condition"),
        ("SuccessCriteriaMet", "cannot disable SuccessCriteriaMet=True condition"),
    ] {
        if was(kind) && !is(kind) {
            refuse(why);
        }
    }
    if failed && !was("Failed") && !is("FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !was("Complete") && !is("SuccessCriteriaMet") {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    let finished = complete || failed;
    check_times(errors, &path, status, before, complete, finished);
    check_finished(errors, &path, status, finished);
    check_indexes(errors, &path, spec, status);
    let (ready, active) = (int(status, "ready").unwrap_or_default(), int(status, "active").unwrap_or_default());
    if ready > active {
        errors.push(FieldError::invalid(&path.child("ready"), ready, "cannot set more ready pods than active"));
    }
}

fn check_uncounted(errors: &mut ErrorList, path: &Path, pods: &Value) {
    let mut seen = HashSet::new();
    for name in ["succeeded", "failed"] {
        for (index, uid) in list(pods, name).iter().enumerate() {
            let path = path.child(name).index(index);
            let uid = uid.as_str().unwrap_or_default();
            if uid.is_empty() {
                errors.push(FieldError::invalid(&path, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(FieldError::duplicate(&path, uid));
            }
        }
    }
}

fn check_times(errors: &mut ErrorList, path: &Path, status: &Value, before: &Value, complete: bool, finished: bool) {
    let (end, start) = (text(status, "completionTime"), text(status, "startTime"));
    let end_path = path.child("completionTime");
    if has(status, "completionTime") && !complete {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&end_path, end, why));
    }
    if complete && end.is_empty() {
        errors.push(FieldError::required(&end_path, "completionTime is required for Complete jobs"));
    }
    // Moments are written alike, so that their order is that of the texts.
    if !end.is_empty() && !start.is_empty() && end < start {
        errors.push(FieldError::invalid(&end_path, end, "completionTime cannot be set before startTime"));
    }
    if finished && start.is_empty() {
        errors.push(FieldError::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let was = text(before, "completionTime");
    if !was.is_empty() && was != end {
        errors.push(FieldError::invalid(&end_path, end, "completionTime cannot be mutated"));
    }
}

fn check_finished(errors: &mut ErrorList, path: &Path, status: &Value, finished: bool) {
    if !finished {
        return;
    }
    for name in ["active", "terminating"] {
        if let Some(count) = int(status, name).filter(|count| *count > 0) {
            let why = format!("{name}>0 is invalid for finished job");
            errors.push(FieldError::invalid(&path.child(name), count, why));
        }
    }
    let uncounted = field(status, "uncountedTerminatedPods");
    if ["succeeded", "failed"].iter().any(|name| !list(uncounted, name).is_empty()) {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        errors.push(FieldError::invalid(&path.child("uncountedTerminatedPods"), uncounted.clone(), why));
    }
}

fn check_indexes(errors: &mut ErrorList, path: &Path, spec: &Value, status: &Value) {
    let completions = int(spec, "completions");
    for name in ["completedIndexes", "failedIndexes"] {
        let indexes = text(status, name);
        if let Some(Err(why)) = completions.map(|completions| indexes::count(indexes, completions)) {
            errors.push(FieldError::invalid(&path.child(name), indexes, format!("error parsing {name}: {why}")));
        }
    }
    let completed = text(status, "completedIndexes");
    if !completed.is_empty() && text(spec, "completionMode") != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&path.child("completedIndexes"), completed, why));
    }
    if let Some(failed) = some(status, "failedIndexes").and_then(Value::as_str)
        && !has(spec, "backoffLimitPerIndex")
    {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&path.child("failedIndexes"), failed, why));
    }
}
