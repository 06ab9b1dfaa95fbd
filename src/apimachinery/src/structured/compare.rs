//! Which fields one object has, lacks or has differently than another, with the schema saying what a field is.

use serde_json::{Map, Value};

use super::{
    set::{FieldSet, Step},
    shape::{Shape, shape, steps},
};
use crate::schema::Schema;

/// The difference between two objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What only the new one has.
    pub added: FieldSet,
    /// What both have, with another value.
    pub modified: FieldSet,
    /// What only the old one has.
    pub removed: FieldSet,
}

impl Difference {
    /// Between `old` and `new`.
    pub fn between(schema: &Schema, old: &Value, new: &Value) -> Self {
        let mut difference = Self::default();
        difference.walk(Some(schema), Some(old), Some(new), &mut Vec::new());
        difference
    }

    fn walk(&mut self, schema: Option<&Schema>, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Step>) {
        if old == new {
            return;
        }
        let shape = shape(schema);
        match shape {
            Shape::Leaf => return self.leaf(old, new, path),
            Shape::Fields => {
                let empty = Map::new();
                let (Some(one), Some(other)) = (fields(old, &empty), fields(new, &empty)) else {
                    return self.leaf(old, new, path);
                };
                if one.is_empty() && other.is_empty() {
                    return self.leaf(old, new, path);
                }
                let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
                names.sort_unstable();
                names.dedup();
                for name in names {
                    path.push(Step::Field(name.clone()));
                    self.walk(schema.and_then(|schema| schema.field(name)), one.get(name), other.get(name), path);
                    path.pop();
                }
            }
            Shape::Keyed(_) | Shape::Values => {
                let (Some(one), Some(other)) = (items(old), items(new)) else { return self.leaf(old, new, path) };
                if one.is_empty() && other.is_empty() {
                    return self.leaf(old, new, path);
                }
                let (Some(one), Some(other)) = (steps(shape, one, schema), steps(shape, other, schema)) else {
                    return self.leaf(old, new, path);
                };
                self.items(schema.and_then(Schema::items), &grouped(one), &grouped(other), path);
            }
        }
        // The place itself, apart from what is in it.
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            _ => {}
        }
    }

    fn items(&mut self, schema: Option<&Schema>, old: &Grouped<'_>, new: &Grouped<'_>, path: &mut Vec<Step>) {
        let find = |list: &Grouped<'_>, step: &Step| list.iter().position(|(same, _)| same == step);
        for (step, values) in old {
            path.push(step.clone());
            match find(new, step) {
                None => match values[..] {
                    [value] => self.walk(schema, Some(value), None, path),
                    _ => self.removed.insert(path),
                },
                Some(at) => match (&values[..], &new[at].1[..]) {
                    ([one], [other]) => self.walk(schema, Some(one), Some(other), path),
                    // Items that are there more than once are one value.
                    (one, other) if one != other => self.modified.insert(path),
                    _ => {}
                },
            }
            path.pop();
        }
        for (step, values) in new.iter().filter(|(step, _)| find(old, step).is_none()) {
            path.push(step.clone());
            match values[..] {
                [value] => self.walk(schema, None, Some(value), path),
                _ => self.added.insert(path),
            }
            path.pop();
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, path: &[Step]) {
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            _ => self.modified.insert(path),
        }
    }
}

type Grouped<'a> = Vec<(Step, Vec<&'a Value>)>;

/// Items that have the same step together.
fn grouped(items: Vec<(Step, &Value)>) -> Grouped<'_> {
    let mut groups: Grouped<'_> = Vec::with_capacity(items.len());
    for (step, value) in items {
        match groups.iter_mut().find(|(same, _)| *same == step) {
            Some((_, values)) => values.push(value),
            None => groups.push((step, vec![value])),
        }
    }
    groups
}

/// The fields of a map; none where there is none, and `None` for what is no map.
fn fields<'a>(value: Option<&'a Value>, empty: &'a Map<String, Value>) -> Option<&'a Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(empty),
        Some(value) => value.as_object(),
    }
}

fn items(value: Option<&Value>) -> Option<&[Value]> {
    match value {
        None | Some(Value::Null) => Some(&[]),
        Some(value) => value.as_array().map(Vec::as_slice),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn between(old: Value, new: Value) -> Difference {
        Difference::between(&builtin::of("", "v1", "Pod").unwrap(), &old, &new)
    }

    #[test]
    fn what_is_new_is_added_with_all_that_is_in_it() {
        let difference = between(
            json!({"spec": {"containers": null}}),
            json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}], "args": ["x"]}]}, "metadata": {"labels": {"k": "v"}, "finalizers": ["s"]}}),
        );
        assert_eq!(
            difference.added.write(),
            json!({
                "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:name": {}, "f:args": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}},
                "f:metadata": {".": {}, "f:labels": {".": {}, "f:k": {}}, "f:finalizers": {".": {}, "v:\"s\"": {}}},
            })
        );
        assert!(difference.removed.is_empty() && difference.modified.is_empty());
    }

    #[test]
    fn what_changed_is_named_exactly() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "nodeSelector": {"p": "1"}}, "metadata": {"labels": {"k": "v"}}});
        let new = json!({"spec": {"containers": [{"name": "a", "image": "2"}], "nodeSelector": {"p": "2"}}, "metadata": {"labels": {}}});
        let difference = between(old, new);
        let modified =
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}, "f:nodeSelector": {}}});
        assert_eq!(difference.modified.write(), modified);
        let removed = json!({"f:spec": {"f:containers": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}}, "f:metadata": {"f:labels": {"f:k": {}}}});
        assert_eq!(difference.removed.write(), removed);
    }

    #[test]
    fn an_empty_structure_is_a_leaf_of_its_own() {
        let labels = json!({"metadata": {"labels": {}}});
        assert_eq!(
            between(json!({"metadata": {}}), labels.clone()).added.write(),
            json!({"f:metadata": {"f:labels": {}}})
        );
        assert_eq!(between(labels.clone(), labels), Difference::default());
    }
}
