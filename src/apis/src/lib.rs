//! Defaults and validation of the built-in kinds.
//!
//! What holds for every kind is in [`generic`]; [`defaults`] has the fields that Kubernetes fills in, kind by kind.

mod defaults;
mod generic;

use apimachinery::field::ErrorList;
use serde_json::Value;

/// Fills in what a client may leave out.
pub fn set_defaults(group: &str, version: &str, kind: &str, object: &mut Value) {
    defaults::set(group, version, kind, object);
}

/// Makes a decoded object one that can be created: what only the server sets is dropped or set.
pub fn prepare_for_create(group: &str, kind: &str, object: &mut Value) {
    generic::prepare_for_create(group, kind, object);
}

/// Keeps from `old` what a request about this side of an object cannot change, and counts generations.
pub fn prepare_for_update(group: &str, kind: &str, subresource: Option<&str>, new: &mut Value, old: &Value) {
    generic::prepare_for_update(group, kind, subresource, new, old);
}

/// What is wrong with a new object.
pub fn validate_create(group: &str, kind: &str, object: &Value) -> ErrorList {
    generic::validate_create(group, kind, object)
}

/// What is wrong with a changed object.
pub fn validate_update(group: &str, kind: &str, subresource: Option<&str>, new: &Value, old: &Value) -> ErrorList {
    generic::validate_update(group, kind, subresource, new, old)
}

/// What is allowed and yet unwise.
pub fn warnings(_group: &str, _kind: &str, _object: &Value) -> Vec<String> {
    Vec::new()
}
