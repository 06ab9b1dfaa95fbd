//! What the scheduler reads of a pod beside affinity: tolerations, spreading, gates.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use super::affinity::{PREFERRED, REQUIRED, check_label_keys};
use crate::{
    checks,
    json::{default, each, field, has, int, list, some, text, with},
    labels,
};

/// Taints that a pod tolerates.
pub(crate) fn check_tolerations(errors: &mut ErrorList, path: &Path, tolerations: &[Value]) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let [key, operator, value, effect] = ["key", "operator", "value", "effect"].map(|name| text(toleration, name));
        let operator_path = path.child("operator");
        if !key.is_empty() {
            checks::label_name(errors, &path.child("key"), key);
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&operator_path, operator, why));
        }
        if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&path.child("effect"), effect, why));
        }
        match operator {
            "Equal" | "" => {
                let problems = names::is_label_value(value);
                if !problems.is_empty() {
                    errors.push(FieldError::invalid(&operator_path, value, problems.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.push(FieldError::invalid(
                    &operator_path,
                    value,
                    "value must be empty when `operator` is 'Exists'",
                ));
            }
            "Exists" => {}
            other => errors.push(FieldError::not_supported(&operator_path, other, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            checks::one_of(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

/// How evenly pods are spread.
pub(crate) fn check_spread(errors: &mut ErrorList, path: &Path, constraints: &[Value]) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let skew = int(constraint, "maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.push(FieldError::invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
        }
        let topology = text(constraint, "topologyKey");
        if topology.is_empty() {
            errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        } else {
            checks::label_name(errors, &path.child("topologyKey"), topology);
        }
        let action = text(constraint, "whenUnsatisfiable");
        checks::one_of(errors, &path.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let again =
            |other: &&Value| text(other, "topologyKey") == topology && text(other, "whenUnsatisfiable") == action;
        if constraints[index + 1..].iter().any(|other| again(&other)) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&path, format!("{{{topology}, {action}}}")));
        }
        if let Some(domains) = int(constraint, "minDomains") {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(FieldError::invalid(&path, domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(&path, domains, why));
            }
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = some(constraint, name).and_then(Value::as_str) {
                checks::one_of(errors, &path.child(name), policy, &["Honor", "Ignore"]);
            }
        }
        let selector = field(constraint, "labelSelector");
        check_label_keys(errors, &path.child("matchLabelKeys"), list(constraint, "matchLabelKeys"), selector);
        labels::check_selector(errors, &path.child("labelSelector"), selector);
    }
}

/// What a pod waits for before it is scheduled.
pub(crate) fn check_gates(errors: &mut ErrorList, path: &Path, gates: &[Value]) {
    let mut seen = HashSet::new();
    for (index, gate) in gates.iter().enumerate() {
        let path = path.index(index);
        let name = text(gate, "name");
        checks::label_name(errors, &path, name);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

/// Conditions of its own that a pod's readiness also needs.
pub(crate) fn check_readiness_gates(errors: &mut ErrorList, path: &Path, gates: &[Value]) {
    for (index, gate) in gates.iter().enumerate() {
        checks::label_name(errors, &path.index(index).child("conditionType"), text(gate, "conditionType"));
    }
}

/// The condition of a new pod that has gates; it became true when the pod was created.
pub(crate) fn gated(pod: &Value) -> Value {
    json!({
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": null,
        "lastTransitionTime": field(field(pod, "metadata"), "creationTimestamp"),
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    })
}

/// Writes the values of a new pod's own labels into the selectors that ask for them by key.
pub(crate) fn merge_match_label_keys(pod: &mut Value) {
    let spec = field(pod, "spec");
    if !has(spec, "affinity") && !has(spec, "topologySpreadConstraints") {
        return;
    }
    let own = meta::labels(pod);
    let merge = |term: &mut Value| {
        for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            let found: Vec<Value> = list(term, keys)
                .iter()
                .filter_map(|key| {
                    let key = key.as_str()?;
                    Some(json!({"key": key, "operator": operator, "values": [own.get(key)?]}))
                })
                .collect();
            if found.is_empty() {
                continue;
            }
            with(term, "labelSelector", |selector| {
                default(selector, "matchExpressions", json!([]));
                if let Some(all) = selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
                    all.extend(found);
                }
            });
        }
    };
    with(pod, "spec", |spec| {
        each(spec, "topologySpreadConstraints", merge);
        with(spec, "affinity", |affinity| {
            for kind in ["podAffinity", "podAntiAffinity"] {
                with(affinity, kind, |pods| {
                    each(pods, REQUIRED, merge);
                    each(pods, PREFERRED, |term| with(term, "podAffinityTerm", merge));
                });
            }
        });
    });
}
