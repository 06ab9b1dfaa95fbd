//! Patches of three kinds, and the shape of what they bring in.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    endpoints::{Failure, body::Target},
    facts::{self, List},
    fail,
};

/// Refuses what has the wrong type; what is not known would be named in the answer.
///
/// # Errors
/// In the words of Go's decoder.
pub fn check(
    _group: &str,
    version: &str,
    kind: &str,
    _json: &Bytes,
    object: &mut Value,
) -> Result<Vec<String>, String> {
    for (field, type_name) in
        [("metadata", "ObjectMeta".to_owned()), ("spec", format!("{kind}Spec")), ("status", format!("{kind}Status"))]
    {
        let found = match object.get(field) {
            None | Some(Value::Null | Value::Object(_)) => continue,
            Some(Value::String(_)) => "string",
            Some(Value::Number(_)) => "number",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Array(_)) => "array",
        };
        return Err(format!(
            "json: cannot unmarshal {found} into Go struct field {kind}.{field} of type {version}.{type_name}"
        ));
    }
    Ok(Vec::new())
}

/// A JSON patch (RFC 6902) applied.
///
/// # Errors
/// When it is none, or one of its operations does not apply.
pub fn json_patch(object: &Value, patch: &Value) -> Result<Value, String> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|error| error.to_string())?;
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| error.to_string())?;
    Ok(patched)
}

/// A merge patch (RFC 7386) applied.
pub fn merge_patch(object: &Value, patch: &Value) -> Value {
    let mut patched = object.clone();
    json_patch::merge(&mut patched, patch);
    patched
}

/// A strategic merge patch applied.
///
/// # Errors
/// 500 in Kubernetes' words when a directive is unknown or an item has no key.
pub fn strategic_merge_patch(target: &Target, object: &Value, patch: &Value) -> Result<Value, Failure> {
    let (Some(fields), Some(changes)) = (object.as_object(), patch.as_object()) else { return Ok(object.clone()) };
    Ok(Value::Object(merge_map(&target.kind, "", fields.clone(), changes)?))
}

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

fn merge_map(
    kind: &str,
    parent: &str,
    mut fields: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    match patch.get("$patch").and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            return Ok(patch
                .iter()
                .filter(|(name, _)| !name.starts_with('$'))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect());
        }
        Some("delete") => return Ok(Map::new()),
        Some(other) => return Err(unknown_directive(other, patch)),
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|name, _| kept.iter().any(|kept| kept == name));
    }
    for (name, change) in patch {
        if let Some(list) = name.strip_prefix(DELETE) {
            if let (Some(items), Some(gone)) = (fields.get_mut(list).and_then(Value::as_array_mut), change.as_array()) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        let order = patch.get(&format!("{ORDER}{name}")).and_then(Value::as_array);
        match (fields.get(name), change) {
            (_, Value::Null) => {
                fields.remove(name);
            }
            (Some(Value::Object(present)), Value::Object(changes)) => {
                let merged = merge_map(kind, name, present.clone(), changes)?;
                fields.insert(name.clone(), Value::Object(merged));
            }
            (_, Value::Object(changes)) => {
                let merged = merge_map(kind, name, Map::new(), changes)?;
                fields.insert(name.clone(), Value::Object(merged));
            }
            (present, Value::Array(changes)) => {
                let present = present.and_then(Value::as_array).cloned().unwrap_or_default();
                let merged = merge_list(kind, parent, name, present, changes, order)?;
                fields.insert(name.clone(), Value::Array(merged));
            }
            (_, scalar) => {
                fields.insert(name.clone(), scalar.clone());
            }
        }
    }
    Ok(fields)
}

fn merge_list(
    kind: &str,
    parent: &str,
    field: &str,
    mut items: Vec<Value>,
    changes: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, Failure> {
    let key = match facts::list(kind, parent, field) {
        List::Atomic => return Ok(changes.to_vec()),
        List::Set => {
            items.extend(changes.iter().filter(|change| !items.contains(change)).cloned().collect::<Vec<_>>());
            return Ok(items);
        }
        List::Keyed(key, _) => key,
    };
    if changes
        .iter()
        .any(|change| change["$patch"] == "replace" && change.as_object().is_some_and(|fields| fields.len() == 1))
    {
        return Ok(changes.iter().filter(|change| change.get("$patch").is_none()).cloned().collect());
    }
    let mut added = Vec::new();
    for change in changes {
        let Some(patch) = change.as_object() else { continue };
        let directive = patch.get("$patch").and_then(Value::as_str);
        if !matches!(directive, None | Some("delete" | "merge" | "replace")) {
            return Err(unknown_directive(directive.unwrap_or_default(), patch));
        }
        let Some(value) = patch.get(key) else {
            return Err(
                fail::unknown(format!("map: {} does not contain declared merge key: {key}", go_map(patch))).into()
            );
        };
        let at = items.iter().position(|item| item.get(key) == Some(value));
        match (directive, at) {
            (Some("delete"), Some(at)) => {
                items.remove(at);
            }
            (Some("delete"), None) => {}
            (_, Some(at)) => {
                let present = items[at].as_object().cloned().unwrap_or_default();
                items[at] = Value::Object(merge_map(kind, field, present, patch)?);
            }
            (_, None) => added.push(Value::Object(merge_map(kind, field, Map::new(), patch)?)),
        }
    }
    // New items come first, as kube-apiserver puts them where no order is given.
    let mut merged = added;
    if order.is_some() {
        items.append(&mut merged);
        merged = items;
    } else {
        merged.append(&mut items);
    }
    if let Some(order) = order {
        let place =
            |item: &Value| order.iter().position(|wanted| wanted.get(key) == item.get(key)).unwrap_or(usize::MAX);
        merged.sort_by_key(place);
    }
    Ok(merged)
}

fn unknown_directive(directive: &str, patch: &Map<String, Value>) -> Failure {
    fail::unknown(format!("unknown patch type: {directive} in map: {}", go_map(patch))).into()
}

/// A map as Go prints it.
fn go_map(map: &Map<String, Value>) -> String {
    let fields: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
    format!("map[{}]", fields.join(" "))
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Object(map) => go_map(map),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(object: Value, patch: Value) -> Result<Value, Failure> {
        let target = Target { group: "apps".into(), version: "v1".into(), kind: "Deployment".into() };
        strategic_merge_patch(&target, &object, &patch)
    }

    #[test]
    fn containers_merge_by_name_and_arguments_as_a_whole() {
        let object = json!({"spec": {"containers": [{"name": "a", "image": "a:1", "args": ["x"], "ports": [{"containerPort": 80}]}, {"name": "b"}]}});
        let patch = json!({"spec": {"containers": [{"name": "a", "image": "a:2", "args": ["y", "z"], "ports": [{"containerPort": 81}]}]}});
        let merged = patched(object.clone(), patch).unwrap();
        assert_eq!(
            merged["spec"]["containers"][0],
            json!({"name": "a", "image": "a:2", "args": ["y", "z"], "ports": [{"containerPort": 81}, {"containerPort": 80}]})
        );
        assert_eq!(merged["spec"]["containers"][1], json!({"name": "b"}));
        let deleted = patched(object, json!({"spec": {"containers": [{"$patch": "delete", "name": "a"}]}})).unwrap();
        assert_eq!(deleted["spec"]["containers"], json!([{"name": "b"}]));
    }

    #[test]
    fn directives_keep_order_and_replace() {
        let object = json!({"spec": {"containers": [{"name": "a"}], "strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}, "metadata": {"finalizers": ["f", "g"]}});
        let patch = json!({
            "spec": {
                "$setElementOrder/containers": [{"name": "n"}, {"name": "a"}], "containers": [{"name": "n"}],
                "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            },
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["f"]},
        });
        let merged = patched(object, patch).unwrap();
        assert_eq!(merged["spec"]["containers"], json!([{"name": "n"}, {"name": "a"}]));
        assert_eq!(merged["spec"]["strategy"], json!({"type": "Recreate"}));
        assert_eq!(merged["metadata"]["finalizers"], json!(["g"]));
    }

    #[test]
    fn a_patch_that_makes_no_sense_is_refused_in_kubernetes_words() {
        let object = json!({"spec": {"containers": [{"name": "a"}]}});
        let failure = patched(object.clone(), json!({"spec": {"containers": [{"image": "x"}]}})).unwrap_err();
        assert_eq!(failure.message, "map: map[image:x] does not contain declared merge key: name");
        let failure =
            patched(object, json!({"spec": {"containers": [{"$patch": "explode", "name": "a"}]}})).unwrap_err();
        assert_eq!(failure.message, "unknown patch type: explode in map: map[$patch:explode name:a]");
    }
}
