//! Objects read and filled in where they stand: plain JSON, where a field that is missing, `null` or of a wrong type is as good as none.

use apimachinery::{
    field::{ErrorKind, FieldError, Path},
    gotext,
};
use serde_json::{Map, Value, json};

static NULL: Value = Value::Null;

/// A field; `null` when there is none.
pub(crate) fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&NULL)
}

/// A field that is there and is not `null`.
pub(crate) fn some<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// Whether a field is there and is not `null`: a Go pointer that is set.
pub(crate) fn has(object: &Value, name: &str) -> bool {
    some(object, name).is_some()
}

/// A text; empty when there is none.
pub(crate) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number.
pub(crate) fn int(object: &Value, name: &str) -> Option<i64> {
    object.get(name).and_then(Value::as_i64)
}

/// A truth value; false when there is none.
pub(crate) fn flag(object: &Value, name: &str) -> bool {
    object.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// A list; empty when there is none.
pub(crate) fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The fields of a map in the order of their keys; none when there is no map.
pub(crate) fn entries<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object.get(name).and_then(Value::as_object).into_iter().flatten()
}

/// A map.
pub(crate) fn map<'a>(object: &'a Value, name: &str) -> Option<&'a Map<String, Value>> {
    object.get(name).and_then(Value::as_object)
}

/// Sets `name` where it is not there; nothing happens to what is no object.
pub(crate) fn default(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(name).is_none_or(Value::is_null)
    {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets a text where there is none, or an empty one: Go does not tell them apart where there is no pointer.
pub(crate) fn default_text(object: &mut Value, name: &str, value: &str) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(name).is_none_or(|value| value.is_null() || value == "")
    {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets a number where there is none, or 0: Go does not tell them apart where there is no pointer.
pub(crate) fn default_int(object: &mut Value, name: &str, value: i64) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(name).is_none_or(|value| value.is_null() || value == 0)
    {
        fields.insert(name.to_owned(), value.into());
    }
}

/// The field `name`, an empty object where it was not there; `None` when `object` is none.
pub(crate) fn object_at<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    default(object, name, json!({}));
    object.get_mut(name)
}

/// Changes the field `name` where it is there and is not `null`.
pub(crate) fn with(object: &mut Value, name: &str, change: impl FnOnce(&mut Value)) {
    if let Some(value) = object.get_mut(name).filter(|value| !value.is_null()) {
        change(value);
    }
}

/// Changes each object of the list `name`.
pub(crate) fn each(object: &mut Value, name: &str, change: impl FnMut(&mut Value)) {
    let list = object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
    list.filter(|item| item.is_object()).for_each(change);
}

/// Sets a field, whatever was there; nothing happens to what is no object.
pub(crate) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Drops a field.
pub(crate) fn take(object: &mut Value, name: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(name);
    }
}

/// Makes a field what it is in `old`, or drops it when it is not there.
pub(crate) fn keep(object: &mut Value, old: &Value, name: &str) {
    match (object.as_object_mut(), old.get(name)) {
        (Some(fields), Some(value)) => {
            fields.insert(name.to_owned(), value.clone());
        }
        (Some(fields), None) => {
            fields.remove(name);
        }
        (None, _) => {}
    }
}

/// An object with its fields in the order of a Go struct, those left out that are not there.
pub(crate) fn go_struct(object: &Value, names: &[&str]) -> String {
    let known = names.iter().filter_map(|name| Some((name, some(object, name)?)));
    let fields: Vec<_> = known.map(|(name, value)| format!("\"{name}\":{}", gotext::json(value))).collect();
    format!("{{{}}}", fields.join(","))
}

/// An invalid value that is shown as `shown`, since Go's structs are not written in the order of their fields' names.
pub(crate) fn invalid_go(path: &Path, shown: &str, detail: impl AsRef<str>) -> FieldError {
    FieldError::new(ErrorKind::Invalid, path, None, format!("{shown}: {}", detail.as_ref()))
}
