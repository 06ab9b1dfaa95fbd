//! Objects merged, taken apart into paths, and freed of some of their paths.

use serde_json::{Map, Value};

use super::{
    set::{FieldSet, Step},
    shape::{Shape, shape, steps},
};
use crate::schema::Schema;

/// `live` with what `config` says: maps by field, sets and lists by keys by item, everything else as a whole.
pub fn merge(schema: Option<&Schema>, live: &Value, config: &Value) -> Value {
    let shape = shape(schema);
    match (shape, live, config) {
        (Shape::Fields, Value::Object(present), Value::Object(changes)) => {
            let mut merged = present.clone();
            for (name, change) in changes {
                let below = schema.and_then(|schema| schema.field(name));
                let value = match present.get(name) {
                    Some(present) => merge(below, present, change),
                    None => change.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Shape::Fields, Value::Object(present), Value::Null) if !present.is_empty() => live.clone(),
        (Shape::Keyed(_) | Shape::Values, Value::Array(present), Value::Array(changes)) => {
            match (steps(shape, present, schema), steps(shape, changes, schema)) {
                (Some(present), Some(changes)) => {
                    merge_items(schema.and_then(Schema::items), &present, &changes).into()
                }
                _ => config.clone(),
            }
        }
        (Shape::Keyed(_) | Shape::Values, Value::Array(present), Value::Null) if !present.is_empty() => live.clone(),
        _ => config.clone(),
    }
}

/// Items of both in the order of `changes`, and those that only `present` has where they stood between them.
fn merge_items(schema: Option<&Schema>, present: &[(Step, &Value)], changes: &[(Step, &Value)]) -> Vec<Value> {
    let has = |list: &[(Step, &Value)], step: &Step| list.iter().any(|(same, _)| same == step);
    let merged = |step: &Step, change: &Value| match present.iter().find(|(same, _)| same == step) {
        Some((_, present)) => merge(schema, present, change),
        None => change.clone(),
    };
    let mut shared = changes.iter().map(|(step, _)| step).filter(|step| has(present, step)).peekable();
    let (mut left, mut right) = (present.iter().peekable(), changes.iter().peekable());
    let mut out = Vec::with_capacity(present.len() + changes.len());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some((one, _)), Some((other, change))) if one == other => {
                out.push(merged(other, change));
                left.next();
                right.next();
                shared.next();
            }
            // An item that both have, but not the one whose turn it is, comes where the change has it.
            (Some((one, _)), Some(_)) if has(changes, one) && shared.peek().is_some_and(|next| *next != one) => {
                left.next();
            }
            (Some((one, value)), _) if !has(changes, one) => {
                out.push((*value).clone());
                left.next();
            }
            (Some(_), None) => {
                left.next();
            }
            (_, Some((step, change))) => {
                out.push(merged(step, change));
                right.next();
                if shared.peek() == Some(&step) {
                    shared.next();
                }
            }
        }
    }
}

/// The paths of all fields in an object.
pub fn paths_of(schema: &Schema, object: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(Some(schema), object, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: Option<&Schema>, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    let shape = shape(schema);
    match (shape, value) {
        (Shape::Fields, Value::Object(fields)) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                collect(schema.and_then(|schema| schema.field(name)), value, path, set);
                let is_named = schema.is_some_and(|schema| is_named(schema, name));
                if !is_named || value.is_null() || value.as_object().is_some_and(Map::is_empty) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::Keyed(_) | Shape::Values, Value::Array(items)) => {
            for (step, value) in steps(shape, items, schema).into_iter().flatten() {
                path.push(step);
                if matches!(shape, Shape::Keyed(_)) {
                    collect(schema.and_then(Schema::items), value, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        (Shape::Keyed(_) | Shape::Values | Shape::Fields, Value::Null) => {}
        _ => set.insert(path),
    }
}

fn is_named(schema: &Schema, name: &str) -> bool {
    match &schema.kind {
        crate::schema::Kind::Struct(structure) => structure.field(name).is_some(),
        _ => false,
    }
}

/// An object without some of its paths; a map or list of which nothing is left is null.
pub fn without(schema: Option<&Schema>, value: &Value, paths: &FieldSet) -> Value {
    let shape = shape(schema);
    match (shape, value) {
        (Shape::Fields, Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let step = Step::Field(name.clone());
                if paths.has(&step) {
                    return None;
                }
                let below = schema.and_then(|schema| schema.field(name));
                let value = match paths.child(&step) {
                    Some(paths) if !paths.is_empty() => without(below, value, paths),
                    _ => value.clone(),
                };
                Some((name.clone(), value))
            });
            let kept: Map<String, Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (Shape::Keyed(_) | Shape::Values, Value::Array(items)) => {
            let Some(items) = steps(shape, items, schema) else { return value.clone() };
            let kept = items.into_iter().filter(|(step, _)| !paths.has(step));
            let kept: Vec<Value> = kept
                .map(|(step, value)| match paths.child(&step) {
                    Some(paths) if !paths.is_empty() => without(schema.and_then(Schema::items), value, paths),
                    _ => value.clone(),
                })
                .collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (Shape::Leaf, Value::Array(_) | Value::Object(_)) => Value::Null,
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    #[test]
    fn items_of_both_come_in_the_order_of_the_change_and_others_stay_where_they_are() {
        let pod = builtin::of("", "v1", "Pod").unwrap();
        let of = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": list}})
        };
        for (live, config, want) in [
            (&["a", "b"][..], &["c"][..], &["a", "b", "c"][..]),
            (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
            (&["a", "x", "b"], &["b", "n", "a"], &["x", "b", "n", "a"]),
            (&[], &["a"], &["a"]),
            (&["a", "b"], &["a"], &["a", "b"]),
        ] {
            assert_eq!(merge(Some(&pod), &of(live), &of(config)), of(want), "{live:?} with {config:?}");
        }
    }
}
