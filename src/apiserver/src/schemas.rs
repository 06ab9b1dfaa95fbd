//! What the kinds' schemas are asked for, in one place.

use bytes::Bytes;
use serde_json::Value;

use crate::endpoints::{Failure, body::Target};

/// Drops what the schema does not know, and says what that is; the error is what has the wrong type.
pub fn check(
    _group: &str,
    _version: &str,
    _kind: &str,
    _json: &Bytes,
    _object: &mut Value,
) -> Result<Vec<String>, String> {
    Ok(Vec::new())
}
pub fn json_patch(object: &Value, _patch: &Value) -> Result<Value, ()> {
    Ok(object.clone())
}
pub fn merge_patch(object: &Value, _patch: &Value) -> Value {
    object.clone()
}
pub fn strategic_merge_patch(_target: &Target, object: &Value, _patch: &Value) -> Result<Value, Failure> {
    Ok(object.clone())
}
