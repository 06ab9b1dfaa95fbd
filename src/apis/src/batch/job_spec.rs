//! The specs of Jobs: those of Jobs themselves, and of the templates in CronJobs.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::indexes;
use crate::{
    apps::workload::check_counts,
    checks,
    core::pod_template,
    golang::{Shape, Struct},
    json::{field, has, int, list, some, text},
};

/// Rules of a policy at most.
const RULES_MAX: usize = 20;
/// Values and patterns of a rule at most.
const VALUES_MAX: usize = 255;
/// Bytes of a set of indexes.
const INDEXES_MAX: usize = 64 * 1024;
/// Pods of an indexed Job at a time.
const PARALLELISM_MAX: i64 = 100_000;
/// The same where failures are counted by index.
const PARALLELISM_BY_INDEX_MAX: i64 = 10_000;
/// Characters of the name of who manages a Job.
const MANAGED_BY_MAX: usize = 63;

static SUCCESS_RULE: Struct =
    Struct(&[("SucceededIndexes", "succeededIndexes", Shape::Any), ("SucceededCount", "succeededCount", Shape::Any)]);
pub(super) static SUCCESS_POLICY: Struct = Struct(&[("Rules", "rules", Shape::List(&SUCCESS_RULE))]);
static ON_EXIT_CODES: Struct = Struct(&[
    ("ContainerName", "containerName", Shape::Any),
    ("Operator", "operator", Shape::Text),
    ("Values", "values", Shape::Any),
]);
static ON_CONDITION: Struct = Struct(&[("Type", "type", Shape::Text), ("Status", "status", Shape::Text)]);
static FAILURE_RULE: Struct = Struct(&[
    ("Action", "action", Shape::Text),
    ("OnExitCodes", "onExitCodes", Shape::Pointer(&ON_EXIT_CODES)),
    ("OnPodConditions", "onPodConditions", Shape::List(&ON_CONDITION)),
]);
pub(super) static FAILURE_POLICY: Struct = Struct(&[("Rules", "rules", Shape::List(&FAILURE_RULE))]);

/// Checks all but the selector of the spec at `path`.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    check_counts(errors, path, spec, &counts);
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        let path = path.child("backoffLimitPerIndex");
        errors.push(FieldError::required(&path, "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = some(spec, "managedBy").and_then(Value::as_str) {
        let path = path.child("managedBy");
        checks::invalid(errors, &path, manager, names::is_domain_prefixed_path(manager));
        if manager.len() > MANAGED_BY_MAX {
            errors.push(FieldError::too_long(&path, MANAGED_BY_MAX));
        }
    }
    check_mode(errors, path, spec);
    if let Some(policy) = some(spec, "podFailurePolicy") {
        check_failure_policy(errors, &path.child("podFailurePolicy"), spec, policy);
    }
    if let Some(policy) = some(spec, "successPolicy") {
        let path = path.child("successPolicy");
        if text(spec, "completionMode") == "Indexed" {
            check_success_policy(errors, &path, spec, policy);
        } else {
            let why = "requires indexed completion mode";
            errors.push(checks::shown(ErrorKind::Invalid, &path, &SUCCESS_POLICY.show(policy), why));
        }
    }
    if let Some(policy) = some(spec, "podReplacementPolicy").and_then(Value::as_str) {
        let failed_only = has(spec, "podFailurePolicy");
        let supported: &[_] = if failed_only { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        checks::one_of(errors, &path.child("podReplacementPolicy"), policy, supported);
    }
    let template_path = path.child("template");
    pod_template::check(errors, &template_path, field(spec, "template"));
    let path = template_path.child("spec").child("restartPolicy");
    let policy = text(field(field(spec, "template"), "spec"), "restartPolicy");
    if policy == "Always" {
        errors.push(FieldError::required(&path, "valid values: \"OnFailure\", \"Never\""));
    } else {
        checks::one_of(errors, &path, policy, &["OnFailure", "Never"]);
    }
    if has(spec, "podFailurePolicy") && policy != "Never" {
        let why = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(FieldError::invalid(&path, policy, why));
    }
}

/// What only one of the modes of completion takes.
fn check_mode(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let mode = some(spec, "completionMode").and_then(Value::as_str);
    if let Some(mode) = mode {
        checks::one_of(errors, &path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    match mode {
        Some("Indexed") => check_indexed(errors, path, spec),
        None | Some("NonIndexed") => {
            for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(value) = int(spec, name) {
                    errors.push(FieldError::invalid(&path.child(name), value, "requires indexed completion mode"));
                }
            }
        }
        Some(_) => {}
    }
}

fn check_indexed(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let [completions, parallelism, failed] =
        ["completions", "parallelism", "maxFailedIndexes"].map(|name| int(spec, name));
    if completions.is_none() {
        errors.push(FieldError::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    if let Some(pods) = parallelism.filter(|pods| *pods > PARALLELISM_MAX) {
        let why = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
        errors.push(FieldError::invalid(&path.child("parallelism"), pods, why));
    }
    if let Some(failed) = failed.filter(|failed| *failed > PARALLELISM_MAX) {
        let why = format!("must be less than or equal to {PARALLELISM_MAX}");
        errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, why));
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        let why = "must be less than or equal to completions";
        errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, why));
    }
    if completions.is_some_and(|count| count > PARALLELISM_MAX) && has(spec, "backoffLimitPerIndex") {
        let name = path.child("maxFailedIndexes");
        let above = format!("when completions are above {PARALLELISM_MAX} and used with backoff limit per index");
        let most = format!("must be less than or equal to {PARALLELISM_BY_INDEX_MAX} {above}");
        match failed {
            None => {
                let why = format!("must be specified when completions is above {PARALLELISM_MAX}");
                errors.push(FieldError::required(&name, why));
            }
            Some(failed) if failed > PARALLELISM_BY_INDEX_MAX => {
                errors.push(FieldError::invalid(&name, failed, most.clone()));
            }
            Some(_) => {}
        }
        if let Some(pods) = parallelism.filter(|pods| *pods > PARALLELISM_BY_INDEX_MAX) {
            errors.push(FieldError::invalid(&path.child("parallelism"), pods, most));
        }
    }
}

fn check_failure_policy(errors: &mut ErrorList, path: &Path, spec: &Value, policy: &Value) {
    let path = path.child("rules");
    let rules = list(policy, "rules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        check_failure_rule(errors, &path.index(index), spec, rule);
    }
}

fn check_failure_rule(errors: &mut ErrorList, path: &Path, spec: &Value, rule: &Value) {
    let action_path = path.child("action");
    match text(rule, "action") {
        "" => {
            let why = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
            errors.push(FieldError::required(&action_path, why));
        }
        "FailIndex" if !has(spec, "backoffLimitPerIndex") => {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(&action_path, "FailIndex", why));
        }
        action => checks::one_of(errors, &action_path, action, &["Count", "FailIndex", "FailJob", "Ignore"]),
    }
    let codes = some(rule, "onExitCodes");
    if let Some(codes) = codes {
        check_exit_codes(errors, &path.child("onExitCodes"), spec, codes);
    }
    let conditions = list(rule, "onPodConditions");
    let conditions_path = path.child("onPodConditions");
    if conditions.len() > RULES_MAX {
        errors.push(FieldError::too_many(&conditions_path, conditions.len(), RULES_MAX));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = conditions_path.index(index);
        checks::label_name(errors, &path.child("type"), text(condition, "type"));
        let path = path.child("status");
        match text(condition, "status") {
            "" => errors.push(FieldError::required(&path, "valid values: [\"False\" \"True\" \"Unknown\"]")),
            status => checks::one_of(errors, &path, status, &["False", "True", "Unknown"]),
        }
    }
    let why = match (codes.is_some(), !conditions.is_empty()) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(FieldError::new(ErrorKind::Invalid, path, None, why));
}

fn check_exit_codes(errors: &mut ErrorList, path: &Path, spec: &Value, codes: &Value) {
    let operator = text(codes, "operator");
    match operator {
        "" => errors.push(FieldError::required(&path.child("operator"), "valid values: [\"In\" \"NotIn\"]")),
        other => checks::one_of(errors, &path.child("operator"), other, &["In", "NotIn"]),
    }
    if let Some(name) = some(codes, "containerName").and_then(Value::as_str) {
        let pod = field(field(spec, "template"), "spec");
        let mut all = ["containers", "initContainers"].into_iter().flat_map(|name| list(pod, name));
        if !all.any(|container| text(container, "name") == name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(&path.child("containerName"), name, why));
        }
    }
    let values = list(codes, "values");
    let path = path.child("values");
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, field(codes, "values").clone(), "at least one value is required"));
    } else if values.len() > VALUES_MAX {
        errors.push(FieldError::too_many(&path, values.len(), VALUES_MAX));
    }
    let mut seen = HashSet::new();
    let numbers: Vec<_> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    for (index, number) in numbers.iter().enumerate() {
        let path = path.index(index);
        if operator == "In" && *number == 0 {
            errors.push(FieldError::invalid(&path, 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(number) {
            errors.push(FieldError::duplicate(&path, *number));
        }
    }
    if numbers.windows(2).any(|pair| pair[0] > pair[1]) {
        errors.push(FieldError::invalid(&path, values.to_vec(), "must be ordered"));
    }
}

fn check_success_policy(errors: &mut ErrorList, path: &Path, spec: &Value, policy: &Value) {
    let path = path.child("rules");
    let rules = list(policy, "rules");
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, why));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    let completions = int(spec, "completions");
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let named = some(rule, "succeededIndexes").and_then(Value::as_str);
        let count = int(rule, "succeededCount");
        if named.is_none() && count.is_none() {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(&path, why));
        }
        let mut total = None;
        if let Some(text) = named {
            let path = path.child("succeededIndexes");
            if text.len() > INDEXES_MAX {
                errors.push(FieldError::too_long(&path, INDEXES_MAX));
            }
            match indexes::count(text, completions.unwrap_or_default()) {
                Ok(count) => total = Some(count),
                Err(why) => {
                    let why = format!("error parsing succeededIndexes: {why}");
                    errors.push(FieldError::invalid(&path, text, why));
                }
            }
        }
        let Some(count) = count else { continue };
        let path = path.child("succeededCount");
        checks::non_negative(errors, &path, Some(count));
        if let Some(all) = completions.filter(|all| count > *all) {
            let why = format!("must be less than or equal to {all} (the number of specified completions)");
            errors.push(FieldError::invalid(&path, count, why));
        }
        if let Some(all) = total.filter(|all| count > *all) {
            let why = format!(
                "must be less than or equal to {all} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.push(FieldError::invalid(&path, count, why));
        }
    }
}
