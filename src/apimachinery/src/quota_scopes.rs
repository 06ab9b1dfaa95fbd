//! Which objects a `ResourceQuota` is about: what is charged on admission is what is counted anew.

use serde_json::{Value, json};

use crate::{pod_resources, quantity::Quantity};

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether `object`, of the resource `plural` of `group`, lies within all scopes of `quota`.
pub fn in_scope(group: &str, plural: &str, object: &Value, quota: &Value) -> bool {
    let scopes = list(quota, "/spec/scopes").iter().map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
    let selected = list(quota, "/spec/scopeSelector/matchExpressions").iter().cloned();
    scopes.chain(selected).all(|scope| matches_scope(group, plural, object, &scope))
}

fn matches_scope(group: &str, plural: &str, object: &Value, scope: &Value) -> bool {
    let values: Vec<&str> = list(scope, "/values").iter().filter_map(Value::as_str).collect();
    let compare = |value: &str| match text(scope, "/operator") {
        "In" => values.contains(&value),
        "NotIn" => !values.contains(&value),
        "DoesNotExist" => value.is_empty(),
        _ => !value.is_empty(),
    };
    let name = text(scope, "/scopeName");
    if (group, plural) == ("", "persistentvolumeclaims") {
        return name == "VolumeAttributesClass" && compare(text(object, "/spec/volumeAttributesClassName"));
    }
    if (group, plural) != ("", "pods") {
        return false;
    }
    let terminating =
        object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|left| left >= 0);
    let best_effort = || {
        ["requests", "limits"].iter().all(|side| {
            let total = pod_resources::total(object, side);
            ["cpu", "memory"].iter().all(|name| total.get(*name).is_none_or(Quantity::is_zero))
        })
    };
    match name {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => compare(text(object, "/spec/priorityClassName")),
        "CrossNamespacePodAffinity" => crosses_namespaces(object.pointer("/spec/affinity").unwrap_or(&Value::Null)),
        _ => false,
    }
}

/// Whether a term of a pod's affinity names other namespaces.
fn crosses_namespaces(affinity: &Value) -> bool {
    match affinity {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            (name == "namespaces" && value.as_array().is_some_and(|list| !list.is_empty()))
                || (name == "namespaceSelector" && value.is_object())
                || crosses_namespaces(value)
        }),
        Value::Array(items) => items.iter().any(crosses_namespaces),
        _ => false,
    }
}
