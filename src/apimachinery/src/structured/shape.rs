//! What a schema says about one place of an object, as merging asks.

use serde_json::{Map, Value};

use super::Step;
use crate::schema::{Field, Kind, Merge, Schema};

/// What is told apart at a place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    /// Nothing: scalars, and lists and maps that are replaced as a whole.
    Leaf,
    /// The fields of a map or a structure.
    Fields,
    /// The values of a list.
    Values,
    /// The items of a list, by these keys.
    Keyed(&'a [Box<str>]),
}

/// The shape of a place; where there is no schema, maps have fields and all else is one value.
pub(super) fn shape(schema: Option<&Schema>) -> Shape<'_> {
    let Some(schema) = schema else { return Shape::Fields };
    match (&schema.kind, &schema.merge) {
        (_, Merge::Atomic) => Shape::Leaf,
        (Kind::List(_), Merge::Set) => Shape::Values,
        (Kind::List(_), Merge::Keyed(keys)) => Shape::Keyed(keys),
        (Kind::Struct(structure), _) if structure.atomic => Shape::Leaf,
        (Kind::Map(_) | Kind::Struct(_), _) => Shape::Fields,
        _ => Shape::Leaf,
    }
}

/// The step to an item of a list by its keys; why there is none.
pub(super) fn key_of(item: &Value, keys: &[Box<str>], items: Option<&Schema>) -> Result<Step, String> {
    let Value::Object(fields) = item else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let mut found = Map::new();
    for key in keys {
        let field = match items.map(|items| &items.kind) {
            Some(Kind::Struct(structure)) => structure.field(key),
            _ => None,
        };
        let value = fields.get(&**key).cloned().or_else(|| field.and_then(Field::default));
        if let Some(value) = value {
            found.insert(key.to_string(), value);
        }
    }
    if found.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| crate::gotext::quote(key)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    Ok(Step::Key(Value::Object(found).to_string()))
}

/// The step to an item of a set; why there is none.
pub(super) fn value_of(item: &Value) -> Result<Step, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
        _ => Ok(Step::Value(item.to_string())),
    }
}

/// The items of a list with the steps to them; `None` when one cannot be told apart.
pub(super) fn steps<'a>(
    shape: Shape<'_>,
    items: &'a [Value],
    schema: Option<&Schema>,
) -> Option<Vec<(Step, &'a Value)>> {
    let step = |item: &'a Value| match shape {
        Shape::Keyed(keys) => key_of(item, keys, schema.and_then(Schema::items)),
        _ => value_of(item),
    };
    items.iter().map(|item| step(item).ok().map(|step| (step, item))).collect()
}
