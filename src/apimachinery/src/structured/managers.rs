//! `metadata.managedFields`: whoever writes a field owns it. Creations and updates take fields over; an apply says which fields it wants to own,
//! gives up those that it no longer names, and is refused where it would change what somebody else owns.
//!
//! What the server itself keeps (names, times, revisions) belongs to nobody, nor does the side of an object that the request cannot change
//! (`status` for most requests, all else for requests about `status`).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    compare::Difference,
    merge::{merge, paths_of, without},
    set::FieldSet,
    validate::validate,
};
use crate::{
    gotext, meta,
    schema::{Schema, decode::zero},
};

/// Entries of writers that updated, beyond which the oldest are merged into one.
const UPDATERS_MAX: usize = 10;
/// The name under which they are merged.
const ANCIENT: &str = "ancient-changes";
/// Who owns what was there before ownership was kept.
const BEFORE: &str = "before-first-apply";

/// Who writes what.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What the object looks like.
    pub schema: &'a Schema,
    /// The version in which it is written.
    pub api_version: &'a str,
    /// The subresource that it is written to.
    pub side: Option<&'a str>,
    /// The writer.
    pub manager: &'a str,
    /// When.
    pub now: Timestamp,
}

/// What an apply came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The new object.
    pub object: Value,
    /// Whether it differs from the present one in more than its owners.
    pub changed: bool,
}

/// A field that the apply would change and somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Who owns it, as messages say it: `"one"`, `"two" using apps/v1`.
    pub manager: String,
    /// The path: `.spec.replicas`.
    pub path: String,
}

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It would change what others own.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// What is applied must not name owners.
    #[error("metadata.managedFields must be nil")]
    NamesOwners,
    /// What is applied does not fit the schema.
    #[error("{0}")]
    Unfit(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", conflict.manager, conflict.path);
    }
    let mut lines: Vec<String> = Vec::new();
    let mut manager = "";
    for conflict in conflicts {
        if conflict.manager != manager {
            manager = &conflict.manager;
            lines.push(format!("conflicts with {manager}:"));
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

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
    fn new(request: &Request<'_>, manager: &str, operation: &str, fields: FieldSet) -> Self {
        Self {
            manager: manager.to_owned(),
            operation: operation.to_owned(),
            api_version: request.api_version.to_owned(),
            subresource: request.side.unwrap_or_default().to_owned(),
            time: meta::time(request.now),
            fields,
        }
    }

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

    fn is_of(&self, request: &Request<'_>, operation: &str) -> bool {
        self.manager == request.manager
            && self.operation == operation
            && self.subresource == request.side.unwrap_or_default()
            // Who applies is the same in every version.
            && (operation == "Apply" || self.api_version == request.api_version)
    }

    /// Who this is, as conflicts say it.
    fn shown(&self) -> String {
        let mut shown = gotext::quote(&self.manager);
        if !self.subresource.is_empty() {
            shown.push_str(&format!(" with subresource {}", gotext::quote(&self.subresource)));
        }
        if self.operation == "Update" {
            shown.push_str(&format!(" using {}", self.api_version));
        }
        shown
    }
}

/// Says of a new object that the writer owns what it set.
pub fn create(request: &Request<'_>, object: &mut Value) {
    meta::remove(object, "managedFields");
    let entries = taken_over(request, Vec::new(), &zero(request.schema), object, request.manager);
    write(object, entries);
}

/// Says of a changed object that the writer owns what it changed. An object whose ownership was never kept, or was cleared, stays so.
pub fn update(request: &Request<'_>, object: &mut Value, old: &Value) {
    let given = read(object);
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_blank = |entry: &Value| entry.as_object().is_some_and(Map::is_empty);
    let clears = list.is_some_and(|list| !list.is_empty() && list.iter().all(is_blank));
    let present = if clears {
        Vec::new()
    } else if given.is_empty() || request.side.is_some() {
        read(old)
    } else {
        given
    };
    meta::remove(object, "managedFields");
    if present.is_empty() {
        return;
    }
    let mut before = old.clone();
    meta::remove(&mut before, "managedFields");
    let mut entries = taken_over(request, present, &before, object, request.manager);
    if request.side == Some("scale") && object.pointer("/spec/replicas") == Some(&json!(0)) {
        // In a Scale, no replicas is an empty field, which belongs to nobody.
        let replicas = FieldSet::of_fields(&[&["spec", "replicas"]]);
        for entry in &mut entries {
            entry.fields = std::mem::take(&mut entry.fields).difference(&replicas);
        }
        entries.retain(|entry| !entry.fields.is_empty());
    }
    write(object, entries);
}

/// The object that applying `config` makes of `live`, and who owns what then. `live` is `None` when there is no object yet.
///
/// # Errors
/// When it does not fit the schema, and, unless it is forced, when it changes what others own.
pub(super) fn apply_once(
    request: &Request<'_>,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Applied, ApplyError> {
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApplyError::NamesOwners);
    }
    validate(request.schema, config).map_err(ApplyError::Unfit)?;
    let empty = zero(request.schema);
    let mut entries = live.map(read).unwrap_or_default();
    let mut before = live.cloned().unwrap_or_else(|| empty.clone());
    meta::remove(&mut before, "managedFields");
    if entries.is_empty() && live.is_some() {
        entries = taken_over(request, entries, &empty, &before, BEFORE);
    }

    let wanted = paths_of(request.schema, config).without_below(&ignored(request.side));
    let own = entries.iter().position(|entry| entry.is_of(request, "Apply")).map(|at| entries.remove(at));
    let merged = merge(Some(request.schema), &before, config);
    let mut object = match &own {
        Some(own) if !own.fields.is_empty() => prune(request.schema, &merged, &own.fields, &wanted, &entries),
        _ => merged,
    };

    let difference = compare(request, &before, &object);
    let changed_fields = difference.added.clone().union(&difference.modified);
    let mut conflicts = Vec::new();
    entries.sort_by(|one, other| {
        let key = |entry: &Entry| {
            (entry.manager.clone(), entry.operation.clone(), entry.api_version.clone(), entry.subresource.clone())
        };
        key(one).cmp(&key(other))
    });
    for entry in &mut entries {
        let conflict = entry.fields.intersection(&changed_fields);
        let manager = entry.shown();
        conflicts.extend(conflict.paths().into_iter().map(|path| Conflict { manager: manager.clone(), path }));
        entry.fields = std::mem::take(&mut entry.fields).difference(&conflict).difference(&difference.removed);
    }
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    entries.retain(|entry| !entry.fields.is_empty());

    let changed = object != before;
    let fields = wanted.difference(&kept_by_server());
    if !fields.is_empty() {
        let mut entry = Entry::new(request, request.manager, "Apply", fields);
        if !changed {
            entry.time = own.map(|own| own.time).unwrap_or_default();
        }
        entries.push(entry);
    }
    write(&mut object, entries);
    Ok(Applied { object, changed })
}

/// Removes what the applier owned alone and no longer names.
fn prune(schema: &Schema, merged: &Value, last: &FieldSet, wanted: &FieldSet, others: &[Entry]) -> Value {
    let named = |set: &FieldSet| set.with_named_fields(Some(schema));
    let remove = |paths: &FieldSet| without(Some(schema), merged, paths);
    let last = named(last);
    let all = named(&paths_of(schema, merged));
    // All that it owned goes, but what somebody owns comes back, and so does what nobody owned.
    let pruned = remove(&last);
    let managed = others.iter().fold(wanted.clone(), |managed, entry| managed.union(&entry.fields));
    let kept = named(&paths_of(schema, &pruned)).union(&named(&managed));
    let pruned = remove(&all.clone().difference(&kept));
    let gone = all.difference(&named(&paths_of(schema, &pruned)));
    remove(&gone.intersection(&last))
}

/// The entries after `manager` changed `old` to `new`.
fn taken_over(request: &Request<'_>, mut entries: Vec<Entry>, old: &Value, new: &Value, manager: &str) -> Vec<Entry> {
    let difference = compare(request, old, new);
    let changed = difference.added.clone().union(&difference.modified);
    for entry in &mut entries {
        entry.fields = std::mem::take(&mut entry.fields).difference(&changed).difference(&difference.removed);
    }
    entries.retain(|entry| !entry.fields.is_empty());
    let own = changed.difference(&kept_by_server());
    if !own.is_empty() {
        let request = Request { manager, ..*request };
        match entries.iter_mut().find(|entry| entry.is_of(&request, "Update")) {
            Some(entry) => {
                entry.fields = std::mem::take(&mut entry.fields).union(&own);
                entry.time = meta::time(request.now);
            }
            None => entries.push(Entry::new(&request, manager, "Update", own)),
        }
    }
    merge_oldest(&mut entries);
    entries
}

/// The difference in what the request can change.
fn compare(request: &Request<'_>, old: &Value, new: &Value) -> Difference {
    let Difference { added, modified, removed } = Difference::between(request.schema, old, new);
    let ignored = ignored(request.side);
    Difference {
        added: added.without_below(&ignored),
        modified: modified.without_below(&ignored),
        removed: removed.without_below(&ignored),
    }
}

fn read(object: &Value) -> Vec<Entry> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Entry::read).collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.sort_by(|one, other| {
        let key = |entry: &Entry| {
            (entry.operation.clone(), entry.time.clone(), entry.manager.clone(), entry.api_version.clone())
        };
        key(one).cmp(&key(other)).then_with(|| one.subresource.cmp(&other.subresource))
    });
    if entries.is_empty() {
        meta::remove(object, "managedFields");
    } else {
        meta::set(object, "managedFields", entries.iter().map(Entry::write).collect::<Vec<_>>());
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{apply_once as apply, *};
    use crate::schema::builtin;

    struct Cluster {
        schema: Schema,
        object: Option<Value>,
    }

    impl Cluster {
        fn of(group: &str, kind: &str) -> Self {
            Self { schema: builtin::of(group, "v1", kind).unwrap(), object: None }
        }

        fn request<'a>(&'a self, manager: &'a str) -> Request<'a> {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            Request { schema: &self.schema, api_version: "v1", side: None, manager, now }
        }

        fn applies(&mut self, manager: &str, config: Value, force: bool) -> Result<(), ApplyError> {
            let mut applied = apply(&self.request(manager), self.object.as_ref(), &config, force)?.object;
            meta::set(&mut applied, "uid", "u");
            self.object = Some(applied);
            Ok(())
        }

        fn updates(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
            let old = self.object.clone().unwrap();
            let mut new = old.clone();
            change(&mut new);
            update(&self.request(manager), &mut new, &old);
            self.object = Some(new);
        }

        fn owned(&self) -> BTreeMap<String, Value> {
            let entries = read(self.object.as_ref().unwrap());
            entries.iter().map(|entry| (entry.manager.clone(), entry.fields.write())).collect()
        }

        fn data(&self) -> Value {
            self.object.as_ref().unwrap()["data"].clone()
        }
    }

    fn data(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    }

    #[test]
    fn fields_are_shared_given_up_and_removed_when_nobody_wants_them() {
        let mut cluster = Cluster::of("", "ConfigMap");
        cluster.applies("one", data(json!({"a": "1", "b": "2"})), false).unwrap();
        let error = cluster.applies("two", data(json!({"a": "9"})), false).unwrap_err();
        assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .data.a");
        cluster.applies("two", data(json!({"a": "9"})), true).unwrap();
        assert_eq!(cluster.owned()["one"], json!({"f:data": {"f:b": {}}}));
        cluster.applies("two", data(json!({"b": "2"})), false).unwrap();
        assert_eq!(cluster.data(), json!({"b": "2"}));
        cluster.applies("one", data(json!({})), false).unwrap();
        assert_eq!(cluster.data(), json!({"b": "2"}), "it stays with the other");
        cluster.applies("two", data(json!({})), false).unwrap();
        assert!(cluster.data().is_null() || cluster.data() == json!({}));
    }

    #[test]
    fn an_update_takes_over_and_an_apply_conflicts_with_it() {
        let mut cluster = Cluster::of("", "ConfigMap");
        cluster.applies("one", data(json!({"a": "1"})), false).unwrap();
        cluster.updates("hand", |object| object["data"]["a"] = "2".into());
        assert_eq!(cluster.owned()["hand"], json!({"f:data": {"f:a": {}}}));
        let error = cluster.applies("one", data(json!({"a": "1"})), false).unwrap_err();
        assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"hand\" using v1: .data.a");
        cluster.applies("one", data(json!({"a": "2"})), false).unwrap();
        assert_eq!(cluster.owned()["one"], json!({"f:data": {"f:a": {}}}), "who wants the same shares it");
    }

    #[test]
    fn what_was_there_before_ownership_was_kept_belongs_to_the_past() {
        let mut cluster = Cluster::of("", "ConfigMap");
        cluster.object = Some(data(json!({"a": "1"})));
        cluster.updates("hand", |object| object["data"]["b"] = "2".into());
        assert!(cluster.owned().is_empty());
        let error = cluster.applies("one", data(json!({"a": "9"})), false).unwrap_err();
        assert!(error.to_string().contains("\"before-first-apply\" using v1: .data.a"), "{error}");
    }

    #[test]
    fn what_does_not_fit_the_schema_is_refused() {
        let pod = |containers: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
        for (config, why) in [
            (json!({"nope": 1}), ".nope: field not declared in schema"),
            (pod(json!([{"name": "a"}, {"name": "a"}])), ".spec.containers: duplicate entries for key [name=\"a\"]"),
            (
                pod(json!([{"name": "a", "ports": [{"containerPort": "x"}]}])),
                ".spec.containers[name=\"a\"].ports[containerPort=\"x\",protocol=\"TCP\"].containerPort: expected numeric (int or float), got string",
            ),
        ] {
            assert_eq!(Cluster::of("", "Pod").applies("one", config, false).unwrap_err().to_string(), why);
        }
        let owners = json!({"metadata": {"managedFields": [{}]}});
        assert_eq!(Cluster::of("", "Pod").applies("one", owners, false), Err(ApplyError::NamesOwners));
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

    fn config() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map("[a-c]", "[x-y]", 1..4)
    }

    proptest! {
        /// Whatever happens: an apply that is let through holds what it says, a second one changes nothing, every owned field is there, and
        /// what nobody owns any more after an applier gave it up is gone.
        #[test]
        fn ownership_and_the_object_agree(steps in prop::collection::vec((0..3_usize, any::<bool>(), any::<bool>(), config()), 1..8)) {
            let mut cluster = Cluster::of("", "ConfigMap");
            cluster.applies("zero", data(json!({"z": "z"})), false).unwrap();
            for (who, force, is_update, wanted) in steps {
                let manager = ["one", "two", "three"][who];
                if is_update {
                    let wanted = json!(wanted);
                    cluster.updates(manager, |object| object["data"] = wanted);
                } else {
                    let before = cluster.object.clone();
                    match cluster.applies(manager, data(json!(wanted)), force) {
                        Err(error) => {
                            prop_assert!(!force, "a forced apply is never refused: {}", error);
                            prop_assert_eq!(&cluster.object, &before);
                        }
                        Ok(()) => {
                            for (key, value) in &wanted {
                                prop_assert_eq!(&cluster.data()[key], &json!(value));
                            }
                            let once = cluster.object.clone();
                            cluster.applies(manager, data(json!(wanted)), false).unwrap();
                            prop_assert_eq!(&cluster.object, &once);
                        }
                    }
                }
                let object = cluster.object.clone().unwrap();
                let present = paths_of(&cluster.schema, &object).with_named_fields(Some(&cluster.schema));
                for entry in read(&object) {
                    let owned = entry.fields.clone().difference(&FieldSet::of_fields(&[&["data"]]));
                    prop_assert_eq!(owned.intersection(&present), owned);
                }
            }
        }
    }
}
