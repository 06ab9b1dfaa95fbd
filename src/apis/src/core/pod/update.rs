//! What may change of a pod that exists: little, since its containers run as they were described.

use std::{collections::BTreeSet, fmt::Write as _};

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    gotext, names,
};
use serde_json::Value;

use super::{affinity::REQUIRED, annotations, scheduling};
use crate::json::{field, has, int, list, text};

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a change of a pod, apart from what is wrong with any pod.
pub(crate) fn check(errors: &mut ErrorList, new: &Value, old: &Value) {
    annotations::check_update(errors, new, old);
    let path = Path::new("spec");
    let (new, old) = (field(new, "spec"), field(old, "spec"));
    for name in ["containers", "initContainers"] {
        let path = path.child(name);
        if list(new, name).len() != list(old, name).len() {
            errors.push(FieldError::forbidden(&path, "pod updates may not add or remove containers"));
            return;
        }
        for (index, container) in list(new, name).iter().enumerate() {
            let path = path.index(index).child("image");
            let image = text(container, "image");
            if image.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            if image.trim() != image {
                errors.push(FieldError::invalid(&path, image, "must not have leading or trailing whitespace"));
            }
        }
    }
    if !check_deadline(errors, &path.child("activeDeadlineSeconds"), new, old) {
        return;
    }
    check_tolerations(errors, &path.child("tolerations"), list(new, "tolerations"), list(old, "tolerations"));
    check_gates(errors, &path.child("schedulingGates"), list(new, "schedulingGates"), list(old, "schedulingGates"));
    if new == old {
        return;
    }
    let mut ignored = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let grace = |spec| int(spec, "terminationGracePeriodSeconds");
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(new) == Some(1) {
        ignored.push("terminationGracePeriodSeconds");
    }
    if !list(old, "schedulingGates").is_empty() {
        check_node_selector(
            errors,
            &path.child("nodeSelector"),
            field(new, "nodeSelector"),
            field(old, "nodeSelector"),
        );
        ignored.push("nodeSelector");
        check_node_affinity(errors, &path.child("affinity").child("nodeAffinity"), new, old);
    }
    let gated = ignored.contains(&"nodeSelector");
    let changes = changes(new, old, &ignored, gated);
    if !changes.is_empty() {
        errors.push(FieldError::forbidden(&path, format!("{MUTABLE}\n{changes}")));
    }
}

/// The time that a pod may run can be set, and made shorter.
fn check_deadline(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) -> bool {
    let (new, old) = (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds"));
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.push(FieldError::invalid(path, new, names::range_message(0, i64::from(i32::MAX))));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.push(FieldError::invalid(path, new, "must be less than or equal to previous value"));
            false
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, Value::Null, why));
            true
        }
        _ => true,
    }
}

fn check_tolerations(errors: &mut ErrorList, path: &Path, new: &[Value], old: &[Value]) {
    let same = |one: &Value, other: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|name| text(one, name) == text(other, name))
    };
    if old.iter().any(|before| !new.iter().any(|after| same(before, after))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, why));
        return;
    }
    scheduling::check_tolerations(errors, path, new);
}

fn check_gates(errors: &mut ErrorList, path: &Path, new: &[Value], old: &[Value]) {
    for (index, gate) in new.iter().enumerate() {
        let name = text(gate, "name");
        let again = new[index + 1..].iter().any(|other| text(other, "name") == name);
        if !again && !old.iter().any(|other| text(other, "name") == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(&path.index(index).child("name"), why));
        }
    }
}

/// A pod that waits at a gate may still be narrowed to fewer nodes.
fn check_node_selector(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    if old.as_object().into_iter().flatten().any(|(key, value)| field(new, key) != value) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(path, new.clone(), why));
    }
}

fn check_node_affinity(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let required = |spec| field(field(field(spec, "affinity"), "nodeAffinity"), REQUIRED);
    let (new, old) = (required(new), required(old));
    if old.is_null() || new == old {
        return;
    }
    let path = path.child(REQUIRED);
    let path = path.child("nodeSelectorTerms");
    let (terms, before) = (list(new, "nodeSelectorTerms"), list(old, "nodeSelectorTerms"));
    if !before.is_empty() && terms.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&path, terms.to_vec(), why));
        return;
    }
    for (index, (term, before)) in terms.iter().zip(before).enumerate() {
        let empty = |term: &Value| ["matchExpressions", "matchFields"].iter().all(|name| list(term, name).is_empty());
        let kept = (!empty(before) || empty(term))
            && ["matchExpressions", "matchFields"].into_iter().all(|name| {
                let (now, before) = (list(term, name), list(before, name));
                now.len() >= before.len() && now[..before.len()] == *before
            });
        if !kept {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&path.index(index), term.clone(), why));
        }
    }
}

/// The fields that differ, one a line, as they were and as they would be; nothing when only what may change does.
fn changes(new: &Value, old: &Value, ignored: &[&str], gated: bool) -> String {
    let mut out = String::new();
    for name in names_of(old, new).into_iter().filter(|name| !ignored.contains(name)) {
        let (before, after) = (field(old, name), field(new, name));
        match name {
            "containers" | "initContainers" => {
                for (index, (before, after)) in list(old, name).iter().zip(list(new, name)).enumerate() {
                    container_changes(&mut out, &format!("spec.{name}[{index}]"), before, after);
                }
            }
            "affinity" if gated => {
                for kind in ["podAffinity", "podAntiAffinity"] {
                    say(&mut out, &format!("spec.affinity.{kind}"), field(before, kind), field(after, kind));
                }
            }
            _ => say(&mut out, &format!("spec.{name}"), before, after),
        }
    }
    out
}

fn container_changes(out: &mut String, path: &str, before: &Value, after: &Value) {
    for name in names_of(before, after).into_iter().filter(|name| *name != "image") {
        say(out, &format!("{path}.{name}"), field(before, name), field(after, name));
    }
}

/// The names of the fields of two objects.
fn names_of<'a>(one: &'a Value, other: &'a Value) -> BTreeSet<&'a str> {
    [one, other].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys().map(String::as_str)).collect()
}

fn say(out: &mut String, path: &str, before: &Value, after: &Value) {
    if before != after {
        let _ = writeln!(out, "- {path}: {}\n+ {path}: {}", gotext::json(before), gotext::json(after));
    }
}

/// Whether a pod is a static one's image in the API.
pub(crate) fn is_mirror(pod: &Value) -> bool {
    has(field(field(pod, "metadata"), "annotations"), "kubernetes.io/config.mirror")
}
