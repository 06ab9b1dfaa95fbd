//! Which fields one object has, lacks or has differently than another, with the schema saying what a field is.

use serde_json::{Map, Value};

use super::set::{FieldSet, Step};

/// What a schema says about one place of an object.
pub enum Shape<N> {
    /// One value, whatever is in it: scalars, and lists and maps that are replaced as a whole.
    Leaf,
    /// A map or a structure whose fields are told apart.
    Fields,
    /// A list whose items are told apart by these keys, with the defaults of keys that may be left out.
    Keyed(Vec<String>, N),
    /// A list whose items are told apart by their values.
    Values,
}

/// A place in a schema.
pub trait Node: Sized {
    /// What is there.
    fn shape(&self) -> Shape<Self>;
    /// The place of a field below.
    fn field(&self, name: &str) -> Option<Self>;
    /// The value that a key of a list's items has when it is left out.
    fn key_default(&self, key: &str) -> Option<Value>;
}

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
    pub fn between<N: Node>(schema: &N, old: &Value, new: &Value) -> Self {
        let mut difference = Self::default();
        difference.walk(Some(schema), Some(old), Some(new), &mut Vec::new());
        difference
    }

    fn walk<N: Node>(&mut self, schema: Option<&N>, old: Option<&Value>, new: Option<&Value>, path: &mut Vec<Step>) {
        if old == new {
            return;
        }
        let shape = schema.map_or(Shape::Leaf, Node::shape);
        match shape {
            Shape::Leaf => return self.leaf(old, new, path),
            Shape::Fields => {
                let (one, other) = (fields(old), fields(new));
                if !fits(old, Value::is_object) || !fits(new, Value::is_object) || (one.is_empty() && other.is_empty())
                {
                    return self.leaf(old, new, path);
                }
                let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
                names.sort_unstable();
                names.dedup();
                for name in names {
                    let below = schema.and_then(|schema| schema.field(name));
                    path.push(Step::Field(name.clone()));
                    self.walk(below.as_ref(), one.get(name), other.get(name), path);
                    path.pop();
                }
            }
            Shape::Keyed(keys, item) => {
                let (one, other) = (items(old), items(new));
                let (Some(one), Some(other)) = (keyed(one, &keys, &item), keyed(other, &keys, &item)) else {
                    return self.leaf(old, new, path);
                };
                if !fits(old, Value::is_array) || !fits(new, Value::is_array) || (one.is_empty() && other.is_empty()) {
                    return self.leaf(old, new, path);
                }
                let steps =
                    one.iter().chain(other.iter().filter(|(step, _)| !one.iter().any(|(same, _)| same == step)));
                for (step, _) in steps {
                    let find = |list: &[(Step, &'_ Value)]| {
                        list.iter().find(|(same, _)| same == step).map(|(_, value)| (*value).clone())
                    };
                    path.push(step.clone());
                    self.walk(Some(&item), find(&one).as_ref(), find(&other).as_ref(), path);
                    path.pop();
                }
            }
            Shape::Values => {
                let (one, other) = (items(old), items(new));
                if !fits(old, Value::is_array) || !fits(new, Value::is_array) || (one.is_empty() && other.is_empty()) {
                    return self.leaf(old, new, path);
                }
                let mut values: Vec<&Value> = one.iter().collect();
                values.extend(other.iter().filter(|value| !one.contains(value)));
                for value in values {
                    path.push(Step::Value(value.to_string()));
                    match (one.contains(value), other.contains(value)) {
                        (true, false) => self.removed.insert(path),
                        (false, true) => self.added.insert(path),
                        _ => {}
                    }
                    path.pop();
                }
            }
        }
        // The place itself, apart from what is in it.
        match (old, new) {
            (None, Some(_)) => self.added.insert(path),
            (Some(_), None) => self.removed.insert(path),
            _ => {}
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

/// Whether a value, if there is one, is of the kind that the schema says.
fn fits(value: Option<&Value>, is: impl Fn(&Value) -> bool) -> bool {
    value.is_none_or(|value| value.is_null() || is(value))
}

fn fields(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items under their keys; `None` when they cannot be told apart.
fn keyed<'a, N: Node>(items: &'a [Value], keys: &[String], schema: &N) -> Option<Vec<(Step, &'a Value)>> {
    let mut keyed: Vec<(Step, &Value)> = Vec::with_capacity(items.len());
    for item in items {
        let mut found = Map::new();
        for key in keys {
            if let Some(value) = item.get(key).filter(|value| !value.is_null()) {
                found.insert(key.clone(), value.clone());
            } else if let Some(value) = schema.key_default(key) {
                found.insert(key.clone(), value);
            }
        }
        let step = Step::Key(Value::Object(found).to_string());
        // An item that is there twice counts once.
        if !keyed.iter().any(|(same, _)| *same == step) {
            keyed.push((step, item));
        }
    }
    Some(keyed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A schema by name: `list` is keyed by `name`, `set` is a set, `atomic` is a leaf, all else are fields or scalars.
    #[derive(Clone)]
    struct Named(&'static str);

    impl Node for Named {
        fn shape(&self) -> Shape<Self> {
            match self.0 {
                "scalar" | "atomic" => Shape::Leaf,
                "list" => Shape::Keyed(vec!["name".into()], Named("item")),
                "set" => Shape::Values,
                _ => Shape::Fields,
            }
        }

        fn field(&self, name: &str) -> Option<Self> {
            Some(Named(match name {
                "list" => "list",
                "set" => "set",
                "atomic" => "atomic",
                "map" => "map",
                _ => "scalar",
            }))
        }

        fn key_default(&self, _key: &str) -> Option<Value> {
            None
        }
    }

    fn between(old: Value, new: Value) -> Difference {
        Difference::between(&Named("object"), &old, &new)
    }

    #[test]
    fn what_is_new_is_added_with_all_that_is_in_it() {
        let difference =
            between(json!({"list": null}), json!({"list": [{"name": "a", "x": 1}], "map": {"k": "v"}, "set": ["s"]}));
        assert_eq!(
            difference.added.write(),
            json!({
                "f:list": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:x": {}}},
                "f:map": {".": {}, "f:k": {}},
                "f:set": {".": {}, "v:\"s\"": {}},
            })
        );
        assert!(difference.removed.is_empty() && difference.modified.is_empty());
    }

    #[test]
    fn what_changed_is_named_exactly() {
        let old = json!({"list": [{"name": "a", "x": 1}, {"name": "b"}], "atomic": {"p": 1}, "map": {"k": "v"}});
        let new = json!({"list": [{"name": "a", "x": 2}], "atomic": {"p": 2}, "map": {}});
        let difference = between(old, new);
        assert_eq!(difference.modified.write(), json!({"f:list": {"k:{\"name\":\"a\"}": {"f:x": {}}}, "f:atomic": {}}));
        assert_eq!(
            difference.removed.write(),
            json!({"f:list": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}, "f:map": {"f:k": {}}})
        );
    }

    #[test]
    fn an_empty_structure_is_a_leaf_of_its_own() {
        assert_eq!(between(json!({}), json!({"map": {}})).added.write(), json!({"f:map": {}}));
        assert_eq!(between(json!({"map": {}}), json!({"map": {}})), Difference::default());
    }
}
