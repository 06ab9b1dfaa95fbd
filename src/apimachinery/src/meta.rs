//! An object's metadata, read and written where it stands: in plain JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The metadata of an object.
pub fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

/// The metadata of an object, made when it is missing. `None` when the object is none.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let entry = object.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut()
}

/// A text of the metadata; empty when missing.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object).and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// The name.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// The namespace; empty when there is none.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// The uid.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// The revision it was read at.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// The generation; 0 when there is none.
pub fn generation(object: &Value) -> i64 {
    metadata(object).and_then(|meta| meta.get("generation")).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether its deletion has begun.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// Sets a field of the metadata.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(meta) = metadata_mut(object) {
        meta.insert(field.to_owned(), value.into());
    }
}

/// Removes a field of the metadata.
pub fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(field)
}

fn texts(object: &Value, field: &str) -> BTreeMap<String, String> {
    let map = metadata(object).and_then(|meta| meta.get(field)).and_then(Value::as_object);
    let pairs = map.into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The labels.
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    texts(object, "labels")
}

/// The annotations.
pub fn annotations(object: &Value) -> BTreeMap<String, String> {
    texts(object, "annotations")
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    metadata(object)?.get("annotations")?.get(key)?.as_str()
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    metadata(object)?.get("labels")?.get(key)?.as_str()
}

/// What has to be done before it may go.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = metadata(object).and_then(|meta| meta.get("finalizers")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// One owner of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    /// Group and version of its kind.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Whether it is the one that controls the object.
    pub controller: bool,
    /// Whether its deletion in the foreground waits for the object.
    pub block_owner_deletion: bool,
}

/// The owners of an object.
pub fn owner_references(object: &Value) -> Vec<OwnerReference<'_>> {
    let list = metadata(object).and_then(|meta| meta.get("ownerReferences")).and_then(Value::as_array);
    let field = |entry: &'_ Value, name: &str| -> bool { entry.get(name).and_then(Value::as_bool).unwrap_or_default() };
    list.into_iter()
        .flatten()
        .map(|entry| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            OwnerReference {
                api_version: text("apiVersion"),
                kind: text("kind"),
                name: text("name"),
                uid: text("uid"),
                controller: field(entry, "controller"),
                block_owner_deletion: field(entry, "blockOwnerDeletion"),
            }
        })
        .collect()
}

/// The owner that controls an object.
pub fn controller_of(object: &Value) -> Option<OwnerReference<'_>> {
    owner_references(object).into_iter().find(|owner| owner.controller)
}

/// A moment as objects carry it: RFC 3339 in whole seconds.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment as leases and events carry it: RFC 3339 in microseconds.
pub fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// `apiVersion` and `kind` of an object; empty when missing.
pub fn type_of(object: &Value) -> (&str, &str) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    (text("apiVersion"), text("kind"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_read_and_written_in_place() {
        let mut object = json!({"kind": "Pod", "apiVersion": "v1"});
        assert_eq!(name(&object), "");
        set(&mut object, "name", "a");
        set(&mut object, "generation", 3);
        assert_eq!((name(&object), generation(&object), type_of(&object)), ("a", 3, ("v1", "Pod")));
        assert_eq!(remove(&mut object, "name"), Some(json!("a")));
    }

    #[test]
    fn the_controlling_owner_is_found() {
        let owners = json!([{"kind": "Node", "uid": "1"}, {"kind": "ReplicaSet", "uid": "2", "controller": true}]);
        let object = json!({"metadata": {"ownerReferences": owners}});
        assert_eq!(controller_of(&object).expect("a controller").kind, "ReplicaSet");
        assert_eq!(owner_references(&object).len(), 2);
    }

    #[test]
    fn moments_have_the_precision_of_their_field() {
        let at: Timestamp = "2026-11-24T02:03:04.567891Z".parse().expect("a moment");
        assert_eq!(time(at), "2026-11-24T02:03:04Z");
        assert_eq!(micro_time(at), "2026-11-24T02:03:04.567891Z");
    }
}
