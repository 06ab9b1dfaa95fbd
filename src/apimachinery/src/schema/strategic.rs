//! Strategic merge patches: merge patches whose lists merge by the keys that the schema names, steered by directives.
//!
//! `$patch: replace|delete|merge` in a map, `$retainKeys`, and beside a list `$setElementOrder/LIST` and `$deleteFromPrimitiveList/LIST`.

use serde_json::{Map, Value};

use super::{Kind, Patch, Schema};
use crate::gotext;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Why a patch cannot be applied, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch itself has a form that it must not have.
    #[error("{0}")]
    Malformed(&'static str),
    /// It does not fit the object.
    #[error("{0}")]
    Unfit(String),
}

const BAD_ORDER: Error = Error::Malformed("invalid patch format of setElementOrder list");
const BAD_RETAIN: Error = Error::Malformed("invalid patch format of retainKeys");
const BAD_DELETE: Error = Error::Malformed("invalid patch format of primitive list");

/// The object that `patch` makes of `object`.
///
/// # Errors
/// When a directive is unknown, or an item has no key.
pub fn apply(schema: &Schema, object: &Value, patch: &Value) -> Result<Value, Error> {
    let (Value::Object(fields), Value::Object(changes)) = (object, patch) else { return Ok(patch.clone()) };
    merge_map(Some(schema), fields.clone(), changes).map(Value::Object)
}

/// The schema of a field and how it merges.
fn place<'a>(schema: Option<&'a Schema>, name: &str) -> (Option<&'a Schema>, Patch) {
    let Some(schema) = schema else { return (None, Patch::default()) };
    let patch = match &schema.kind {
        Kind::Struct(structure) => structure.field(name).map(|field| field.patch.clone()).unwrap_or_default(),
        _ => Patch::default(),
    };
    (schema.field(name), patch)
}

type Merged = Result<Map<String, Value>, Error>;

fn merge_map(schema: Option<&Schema>, mut fields: Map<String, Value>, patch: &Map<String, Value>) -> Merged {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => {
            let mut replaced = patch.clone();
            replaced.remove(DIRECTIVE);
            return Ok(replaced);
        }
        Some(Value::String(directive)) if directive == "delete" => return Ok(Map::new()),
        Some(other) => return Err(unknown_directive(other, patch)),
    }
    if let Some(retained) = patch.get(RETAIN) {
        let retained = retained.as_array().ok_or(BAD_RETAIN)?;
        let is_retained = |name: &String| retained.iter().any(|kept| kept == name);
        let sets = |(name, value): (&String, &Value)| !value.is_null() && !name.starts_with('$') && !is_retained(name);
        if patch.iter().any(sets) {
            return Err(BAD_RETAIN);
        }
        fields.retain(|name, _| is_retained(name));
    }
    let mut ordered = Vec::new();
    for (key, order) in patch {
        let Some(name) = key.strip_prefix(ORDER) else { continue };
        let order = order.as_array().ok_or(BAD_ORDER)?;
        ordered.push(name);
        if let Some(list) = merge_ordered(schema, name, fields.get(name), patch.get(name), order)? {
            fields.insert(name.to_owned(), list.into());
        }
    }
    for (key, change) in patch {
        if key == RETAIN || key.starts_with(ORDER) || ordered.contains(&key.as_str()) {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE) {
            let gone = change.as_array().ok_or(BAD_DELETE)?;
            if let Some(Value::Array(items)) = fields.get_mut(name) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if change.is_null() {
            fields.remove(key);
            continue;
        }
        let (below, strategy) = place(schema, key);
        let merged = match (fields.remove(key), change) {
            (Some(Value::Object(present)), Value::Object(changes)) => Some(merge_map(below, present, changes)?.into()),
            (Some(Value::Array(present)), Value::Array(changes)) if strategy.merges => {
                Some(merge_list(below, &strategy, present, changes)?.into())
            }
            (Some(Value::Array(_)), Value::Array(changes)) => Some(changes.clone().into()),
            _ => without_directives(change),
        };
        if let Some(merged) = merged {
            fields.insert(key.clone(), merged);
        }
    }
    Ok(fields)
}

/// What is left of a patch where there is nothing to patch: no directives, and no nulls, which would remove.
fn without_directives(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let kept = fields.filter_map(|(name, value)| Some((name.clone(), without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(items.iter().filter_map(without_directives).collect()),
        other => Some(other.clone()),
    }
}

/// A list whose order the patch gives; `None` when there is none.
fn merge_ordered(
    schema: Option<&Schema>,
    name: &str,
    present: Option<&Value>,
    change: Option<&Value>,
    order: &[Value],
) -> Result<Option<Vec<Value>>, Error> {
    let list = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => Err(Error::Unfit(format!("expected a []interface {{}}, but received a {}", go_type(other)))),
    };
    let (present, change) = (list(present)?, list(change)?);
    let (below, strategy) = place(schema, name);
    let key = strategy.key.as_deref();
    if let Some(change) = &change {
        check_order(change, order, key)?;
    }
    let server = present.clone().unwrap_or_default();
    let merged = match (present, change) {
        (None, None) => return Ok(None),
        (Some(present), None) => present,
        (None, Some(change)) => change.iter().filter_map(without_directives).collect(),
        (Some(present), Some(change)) if strategy.merges => merge_list(below, &strategy, present, &change)?,
        (Some(_), Some(change)) => change,
    };
    arrange(merged, order, &server, key).map(Some)
}

/// Refuses a patch whose items come in another order than it asks for.
fn check_order(change: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    if order.is_empty() || change.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for item in change.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let id = identity(item, key)?.clone();
        let mut found = false;
        for other in wanted.by_ref() {
            if *identity(other, key)? == id {
                found = true;
                break;
            }
        }
        if !found {
            let (change, order) = (gotext::plain(&Value::from(change)), gotext::plain(&Value::from(order)));
            let list = ORDER.trim_end_matches('/');
            return Err(Error::Unfit(format!(
                "The order in patch list:\n{change}\n doesn't match {list} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

fn merge_list(
    items: Option<&Schema>,
    strategy: &Patch,
    mut present: Vec<Value>,
    changes: &[Value],
) -> Result<Vec<Value>, Error> {
    let Some(sample) = present.first().or(changes.first()) else { return Ok(present) };
    if !sample.is_object() {
        let server = present.clone();
        present.extend(changes.iter().cloned());
        let mut merged: Vec<Value> = Vec::with_capacity(present.len());
        for item in present {
            if !merged.contains(&item) {
                merged.push(item);
            }
        }
        return arrange(merged, changes, &server, None);
    }
    let items = items.and_then(Schema::items);
    let key = strategy.key.as_deref().unwrap_or_default();
    if key.is_empty() {
        let name = items.map(|items| items.go.rsplit('.').next().unwrap_or_default()).unwrap_or_default();
        return Err(Error::Unfit(format!("cannot merge lists without merge key for {name}")));
    }
    let mut replaces = false;
    let mut plain = Vec::new();
    for change in changes {
        let Value::Object(fields) = change else {
            return Err(Error::Unfit(format!(
                "expected a map[string]interface {{}}, but received a {}",
                go_type(change)
            )));
        };
        match fields.get(DIRECTIVE) {
            None => plain.push(change),
            Some(Value::String(directive)) if directive == "delete" => {
                let id = identity(change, Some(key))?;
                present.retain(|item| item.get(key) != Some(id));
            }
            Some(Value::String(directive)) if directive == "replace" => replaces = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(Error::Unfit("merging lists cannot yet be specified in the patch".into()));
            }
            Some(other) => return Err(unknown_directive(other, fields)),
        }
    }
    if replaces {
        return Ok(plain.into_iter().cloned().collect());
    }
    let server = present.clone();
    let mut merged = present;
    for change in &plain {
        let id = identity(change, Some(key))?;
        match merged.iter_mut().find(|item| item.get(key) == Some(id)) {
            Some(item) => {
                if let (Value::Object(fields), Value::Object(changes)) = (item.take(), change) {
                    *item = merge_map(items, fields, changes)?.into();
                }
            }
            None => merged.extend(without_directives(change)),
        }
    }
    let order: Vec<Value> = plain.into_iter().cloned().collect();
    arrange(merged, &order, &server, Some(key))
}

/// What tells an item apart from others.
fn identity<'a>(item: &'a Value, key: Option<&str>) -> Result<&'a Value, Error> {
    let Some(key) = key else { return Ok(item) };
    item.get(key)
        .ok_or_else(|| Error::Unfit(format!("map: {} does not contain declared merge key: {key}", gotext::plain(item))))
}

/// Puts items that the patch orders in its order, and all others where they stood between them.
fn arrange(items: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Result<Vec<Value>, Error> {
    let place = |list: &[Value], item: &Value| -> Result<Option<usize>, Error> {
        let id = identity(item, key)?;
        Ok(list.iter().position(|other| key.map_or(Some(other), |key| other.get(key)) == Some(id)))
    };
    let (mut patched, mut kept) = (Vec::new(), Vec::new());
    for item in items {
        let at_server = place(server, &item)?;
        match place(order, &item)? {
            Some(at) => patched.push((at, at_server, item)),
            None => kept.push((at_server.unwrap_or(usize::MAX), at_server, item)),
        }
    }
    patched.sort_by_key(|(at, ..)| *at);
    kept.sort_by_key(|(at, ..)| *at);
    let mut arranged = Vec::with_capacity(patched.len() + kept.len());
    let (mut patched, mut kept) = (patched.into_iter().peekable(), kept.into_iter().peekable());
    loop {
        let keeps_first = match (kept.peek(), patched.peek()) {
            (None, None) => return Ok(arranged),
            (Some((_, Some(left), _)), Some((_, Some(right), _))) => left < right,
            (_, Some(_)) => false,
            (Some(_), None) => true,
        };
        arranged.extend(if keeps_first { kept.next() } else { patched.next() }.map(|(.., item)| item));
    }
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> Error {
    let map = gotext::plain(&Value::Object(patch.clone()));
    Error::Unfit(format!("unknown patch type: {} in map: {map}", gotext::plain(directive)))
}

/// A value's type as Go names it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn patched(object: &Value, patch: &Value) -> Result<Value, Error> {
        apply(&builtin::of("", "v1", "Pod").unwrap(), object, patch)
    }

    #[test]
    fn lists_merge_as_the_schema_says_and_directives_steer_it() {
        let containers = |list: Value| json!({"spec": {"containers": list}});
        for (what, object, patch, want) in [
            (
                "items by key, new ones first, ports by port, arguments as a whole",
                containers(json!([{"name": "a", "args": ["x"], "ports": [{"containerPort": 1}]}, {"name": "b"}])),
                containers(json!([{"name": "n"}, {"name": "a", "args": ["y", "z"], "ports": [{"containerPort": 2}]}])),
                containers(
                    json!([{"name": "n"}, {"name": "a", "args": ["y", "z"], "ports": [{"containerPort": 2}, {"containerPort": 1}]}, {"name": "b"}]),
                ),
            ),
            (
                "an item is deleted",
                containers(json!([{"name": "a"}, {"name": "b"}])),
                containers(json!([{"name": "a", "$patch": "delete"}])),
                containers(json!([{"name": "b"}])),
            ),
            (
                "a list is replaced",
                containers(json!([{"name": "a", "image": "i"}, {"name": "b"}])),
                containers(json!([{"name": "a"}, {"$patch": "replace"}])),
                containers(json!([{"name": "a"}])),
            ),
            (
                "a map is replaced",
                json!({"metadata": {"labels": {"a": "1"}}}),
                json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
                json!({"metadata": {"labels": {"b": "2"}}}),
            ),
            (
                "an order is set, and what the patch does not know stays before what it stood before",
                containers(json!([{"name": "a"}, {"name": "server"}, {"name": "b"}])),
                json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}], "containers": [{"name": "n"}]}}),
                containers(json!([{"name": "server"}, {"name": "b"}, {"name": "n"}, {"name": "a"}])),
            ),
            (
                "items of a list of texts are deleted",
                json!({"metadata": {"finalizers": ["f", "g"]}}),
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["f"]}}),
                json!({"metadata": {"finalizers": ["g"]}}),
            ),
            (
                "lists of texts merge as sets where the schema says so",
                json!({"metadata": {"finalizers": ["f"]}}),
                json!({"metadata": {"finalizers": ["g", "f"]}}),
                json!({"metadata": {"finalizers": ["g", "f"]}}),
            ),
            (
                "keys are retained",
                json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
                json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}}),
                json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}),
            ),
            (
                "nulls remove, and are not kept in what is new",
                json!({"metadata": {"labels": {"a": "1"}}}),
                json!({"metadata": {"labels": {"a": null}, "annotations": {"x": null, "y": "z"}}}),
                json!({"metadata": {"labels": {}, "annotations": {"y": "z"}}}),
            ),
        ] {
            assert_eq!(patched(&object, &patch), Ok(want), "{what}");
        }
    }

    #[test]
    fn a_patch_that_makes_no_sense_is_refused_in_kubernetes_words() {
        let object = json!({"spec": {"containers": [{"name": "a"}]}});
        for (patch, why) in [
            (
                json!({"spec": {"containers": [{"image": "x"}]}}),
                "map: map[image:x] does not contain declared merge key: name",
            ),
            (
                json!({"spec": {"containers": [{"$patch": "explode", "name": "a"}]}}),
                "unknown patch type: explode in map: map[$patch:explode name:a]",
            ),
            (json!({"spec": {"$setElementOrder/containers": {}}}), "invalid patch format of setElementOrder list"),
            (json!({"spec": {"$retainKeys": ["volumes"], "hostname": "x"}}), "invalid patch format of retainKeys"),
        ] {
            assert_eq!(patched(&object, &patch).unwrap_err().to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn a_patch_without_deletions_applied_twice_is_applied_once(
            present in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
            change in prop::collection::btree_map("[a-f]", "[x-z]", 0..4),
        ) {
            let pod = |images: &std::collections::BTreeMap<String, String>| {
                let list: Vec<Value> = images.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
                json!({"spec": {"containers": list}})
            };
            let patch = pod(&change);
            let once = patched(&pod(&present), &patch).unwrap();
            prop_assert_eq!(patched(&once, &patch).unwrap(), once.clone());
            let mut names: Vec<_> = once["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].to_string()).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), present.keys().chain(change.keys()).collect::<std::collections::BTreeSet<_>>().len());
        }
    }
}
