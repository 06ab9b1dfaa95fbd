//! Who owns which fields: the bookkeeping of `metadata.managedFields` for creations and updates.
//!
//! A writer owns what it changed, and whoever owned that before no longer does. Which places of an object are one field is
//! said by the kind's schema. What the server itself keeps (names, times, revisions) belongs to nobody, nor does the side of
//! an object that the request cannot change (`status` for most requests, all else for requests about `status`).

mod compare;
mod schema;
mod set;
mod zero;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::{
    compare::{Difference, Node, Shape},
    set::{FieldSet, Step},
};
use crate::{registry::meta, resources::Resource};

/// Entries of writers that updated, beyond which the oldest are merged into one.
const UPDATERS_MAX: usize = 10;
/// The name under which they are merged.
const ANCIENT: &str = "ancient-changes";

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: FieldSet,
}

impl Entry {
    fn read(value: &Value) -> Option<Self> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let operation = text("operation");
        (!operation.is_empty()).then(|| Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::read(value.get("fieldsV1").unwrap_or(&Value::Null)),
        })
    }

    fn write(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version, "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.write(),
        });
        if !self.time.is_empty() {
            value["time"] = self.time.clone().into();
        }
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.clone().into();
        }
        value
    }
}

/// Says of a new object that `manager` owns what it set.
pub fn on_create(resource: &Resource, object: &mut Value, manager: &str, now: Timestamp) {
    meta::remove(object, "managedFields");
    let zero = zero::zero(&resource.group, &resource.version, &resource.kind);
    record(resource, None, object, &zero, Vec::new(), manager, now);
}

/// Says of a changed object that `manager` owns what it changed.
pub fn on_update(
    resource: &Resource,
    side: Option<&str>,
    object: &mut Value,
    old: &Value,
    manager: &str,
    now: Timestamp,
) {
    let given = entries(object);
    let reset = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .is_some_and(|list| list.len() == 1 && list[0].as_object().is_some_and(serde_json::Map::is_empty));
    let present = if reset {
        Vec::new()
    } else if given.is_empty() || side.is_some() {
        entries(old)
    } else {
        given
    };
    meta::remove(object, "managedFields");
    let mut before = old.clone();
    meta::remove(&mut before, "managedFields");
    record(resource, side, object, &before, present, manager, now);
}

fn entries(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Entry::read).collect()
}

fn record(
    resource: &Resource,
    side: Option<&str>,
    object: &mut Value,
    old: &Value,
    mut entries: Vec<Entry>,
    manager: &str,
    now: Timestamp,
) {
    let Some(schema) = schema::of(&resource.group, &resource.version, &resource.kind) else { return };
    let difference = Difference::between(&schema, old, object);
    let changed = difference.added.clone().union(&difference.modified);
    for entry in &mut entries {
        let fields = std::mem::take(&mut entry.fields);
        entry.fields = fields.difference(&changed).difference(&difference.removed);
    }
    entries.retain(|entry| !entry.fields.is_empty());
    let own = changed.without_below(&ignored(side)).difference(&kept_by_server());
    if !own.is_empty() {
        let api_version = resource.api_version();
        let subresource = side.unwrap_or_default();
        let same = |entry: &&mut Entry| {
            entry.manager == manager
                && entry.operation == "Update"
                && entry.api_version == api_version
                && entry.subresource == subresource
        };
        match entries.iter_mut().find(same) {
            Some(entry) => {
                entry.fields = std::mem::take(&mut entry.fields).union(&own);
                entry.time = meta::time(now);
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                operation: "Update".into(),
                api_version,
                subresource: subresource.to_owned(),
                time: meta::time(now),
                fields: own,
            }),
        }
    }
    merge_oldest(&mut entries);
    entries.sort_by(|one, other| {
        (&one.operation, &one.time, &one.manager).cmp(&(&other.operation, &other.time, &other.manager))
    });
    if !entries.is_empty() {
        let list: Vec<Value> = entries.iter().map(Entry::write).collect();
        meta::set(object, "managedFields", list);
    }
}

/// Keeps the number of entries bounded.
fn merge_oldest(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<usize> = (0..entries.len()).filter(|at| entries[*at].operation == "Update").collect();
    if updaters.len() <= UPDATERS_MAX {
        return;
    }
    updaters.sort_by(|one, other| entries[*one].time.cmp(&entries[*other].time));
    let oldest: Vec<usize> = updaters[..=updaters.len() - UPDATERS_MAX].to_vec();
    let mut merged = entries[oldest[0]].clone();
    merged.manager = ANCIENT.into();
    merged.subresource.clear();
    for at in &oldest {
        merged.fields = std::mem::take(&mut merged.fields).union(&entries[*at].fields);
        merged.time = merged.time.max(entries[*at].time.clone());
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !oldest.contains(&(at - 1))
    });
    entries.push(merged);
}

/// What a request about this side of an object cannot own.
fn ignored(side: Option<&str>) -> FieldSet {
    match side {
        Some("status") => {
            FieldSet::of_fields(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        Some("approval" | "finalize" | "scale" | "ephemeralcontainers" | "resize" | "binding") => FieldSet::default(),
        _ => FieldSet::of_fields(&[&["status"]]),
    }
}

/// What belongs to nobody.
fn kept_by_server() -> FieldSet {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

/// Removes when fields were taken, so that two objects can be compared for what they are.
pub fn forget_times(object: &mut Value) {
    if let Some(list) = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
        for entry in list.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Table;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn config_map() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "uid": "u", "labels": {"a": "b"}}, "data": {"k": "v"}})
    }

    #[test]
    fn a_creator_owns_what_it_set_and_not_what_the_server_keeps() {
        let table = Table::builtin();
        let resource = table.find("", "v1", "configmaps").unwrap();
        let mut object = config_map();
        on_create(resource, &mut object, "me", now());
        assert_eq!(
            object["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:a": {}}}})
        );
    }

    #[test]
    fn who_changes_a_field_takes_it_over() {
        let table = Table::builtin();
        let resource = table.find("", "v1", "configmaps").unwrap();
        let mut old = config_map();
        on_create(resource, &mut old, "one", now());
        let mut new = old.clone();
        new["data"]["k"] = "changed".into();
        on_update(resource, None, &mut new, &old, "two", now());
        let entries = entries(&new);
        assert_eq!(entries.len(), 2);
        let two = entries.iter().find(|entry| entry.manager == "two").unwrap();
        assert_eq!(two.fields.write(), json!({"f:data": {"f:k": {}}}));
        let one = entries.iter().find(|entry| entry.manager == "one").unwrap();
        assert_eq!(one.fields.write(), json!({"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:a": {}}}}));
    }

    #[test]
    fn many_writers_are_merged() {
        let mut entries: Vec<Entry> = (0..15)
            .map(|number| Entry {
                manager: format!("m{number}"),
                operation: "Update".into(),
                api_version: "v1".into(),
                subresource: String::new(),
                time: format!("2026-01-01T00:00:{number:02}Z"),
                fields: FieldSet::of_fields(&[&["data"]]),
            })
            .collect();
        merge_oldest(&mut entries);
        assert_eq!(entries.len(), UPDATERS_MAX);
        assert!(entries.iter().any(|entry| entry.manager == ANCIENT));
        assert!(entries.iter().any(|entry| entry.manager == "m14"));
    }
}
