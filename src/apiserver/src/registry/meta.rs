//! The fields of `metadata` that the server keeps.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The longest name that a suffix is added to.
const GENERATE_BASE_MAX: usize = 58;
/// Characters of a suffix.
pub const SUFFIX: usize = 5;

/// `metadata`, made where there is none.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let fields = object.as_object_mut().expect("it was made an object just above");
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("it was made an object just above")
}

/// A string of `metadata`; empty when it is not there.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// A number of `metadata`.
pub fn number(object: &Value, field: &str) -> Option<i64> {
    object.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_i64)
}

/// The strings of a list in `metadata`.
pub fn list<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    let list = object.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// Sets a field of `metadata`.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    metadata(object).insert(field.to_owned(), value.into());
}

/// Removes a field of `metadata`.
pub fn remove(object: &mut Value, field: &str) {
    metadata(object).remove(field);
}

/// Sets the finalizers; none at all leaves no empty list behind.
pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() { remove(object, "finalizers") } else { set(object, "finalizers", finalizers) }
}

/// A time as `metav1.Time` writes it: in whole seconds.
pub fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name from `generateName`.
pub fn generated(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(GENERATE_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

/// Takes over from `old` what an update cannot say otherwise, and what it leaves out; a change of the rest is for validation to refuse.
pub fn carry_over(new: &mut Value, old: &Value) {
    let of_old = |field: &str| old.get("metadata").and_then(|metadata| metadata.get(field)).cloned();
    for field in ["creationTimestamp", "generation"] {
        match of_old(field) {
            Some(value) => set(new, field, value),
            None => remove(new, field),
        }
    }
    if let Some(value) = of_old("deletionTimestamp") {
        set(new, "deletionTimestamp", value);
    }
    for field in ["uid", "deletionGracePeriodSeconds"] {
        if let Some(value) = of_old(field) {
            metadata(new).entry(field).or_insert(value);
        }
    }
}

/// Drops `null` and empty collections that Go's encoder leaves out of `metadata`.
pub fn tidy(object: &mut Value) {
    metadata(object).retain(|_, value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_base_is_cut_so_that_the_name_stays_a_name() {
        assert_eq!(generated("web-", "abcde"), "web-abcde");
        assert_eq!(generated(&"x".repeat(100), "abcde").len(), 63);
    }

    #[test]
    fn an_update_cannot_change_what_the_server_keeps() {
        let old = json!({"metadata": {"uid": "a", "generation": 2, "deletionTimestamp": "x"}});
        let mut new = json!({"metadata": {"generation": 7, "deletionTimestamp": "y", "name": "n"}});
        carry_over(&mut new, &old);
        assert_eq!(new, json!({"metadata": {"uid": "a", "generation": 2, "deletionTimestamp": "x", "name": "n"}}));
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(time("2026-01-02T03:04:05.678Z".parse().unwrap()), "2026-01-02T03:04:05Z");
    }
}
