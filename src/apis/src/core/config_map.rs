//! ConfigMaps.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{checks, json, kind::Kind, metadata};

/// Bytes that the values of a ConfigMap or Secret may have in all.
pub(crate) const SIZE_MAX: usize = 1024 * 1024;
/// What is said of a change of what was declared immutable.
pub(crate) const FROZEN: &str = "field is immutable when `immutable` is set";

pub(crate) struct ConfigMap;

impl Kind for ConfigMap {
    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if json::flag(old, "immutable") {
            if !json::flag(new, "immutable") {
                errors.push(FieldError::forbidden(&Path::new("immutable"), FROZEN));
            }
            for name in ["data", "binaryData"] {
                if !json::entries(new, name).eq(json::entries(old, name)) {
                    errors.push(FieldError::forbidden(&Path::new(name), FROZEN));
                }
            }
        }
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, errors);
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let mut size = 0;
    let path = Path::new("data");
    for (key, value) in json::entries(object, "data") {
        checks::invalid(errors, &path.key(key), key.as_str(), names::is_config_map_key(key));
        if json::map(object, "binaryData").is_some_and(|other| other.contains_key(key)) {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(&path.key(key), key.as_str(), detail));
        }
        size += value.as_str().map_or(0, str::len);
    }
    let path = Path::new("binaryData");
    for (key, value) in json::entries(object, "binaryData") {
        checks::invalid(errors, &path.key(key), key.as_str(), names::is_config_map_key(key));
        size += decoded_len(value);
    }
    if size > SIZE_MAX {
        let mut error = FieldError::too_long(&Path::root(), SIZE_MAX);
        error.field.clear();
        debug_assert_eq!(error.kind, ErrorKind::TooLong);
        errors.push(error);
    }
}

/// How many bytes a value in base64 stands for.
pub(crate) fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count().min(text.len() / 4 * 3)
}

/// The bytes that a value in base64 stands for; none when it is no base64.
pub(crate) fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    fn said(new: &Value, old: Option<&Value>) -> Vec<String> {
        let errors = match old {
            None => crate::validate_create("", "ConfigMap", new),
            Some(old) => crate::validate_update("", "ConfigMap", None, new, old),
        };
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    use super::*;

    #[test]
    fn keys_are_file_names_and_stand_in_one_of_the_maps_only() {
        let object =
            json!({"metadata": {"name": "c"}, "data": {"a": "", "..x": ""}, "binaryData": {"a": "", "b/c": ""}});
        assert_eq!(
            said(&object, None),
            ["data[..x]: Invalid value", "data[a]: Invalid value", "binaryData[b/c]: Invalid value"]
        );
    }

    #[test]
    fn what_is_too_large_is_told_without_a_field() {
        let object = json!({"metadata": {"name": "c"}, "data": {"a": "x".repeat(SIZE_MAX + 1)}});
        assert_eq!(said(&object, None), [": Too long"]);
    }

    #[test]
    fn an_immutable_one_only_changes_its_metadata() {
        let old = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "data": {"a": "1"}, "immutable": true});
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        assert!(said(&new, Some(&old)).is_empty());
        new["data"]["a"] = "2".into();
        new["immutable"] = false.into();
        assert_eq!(said(&new, Some(&old)), ["immutable: Forbidden", "data: Forbidden"]);
    }
}
