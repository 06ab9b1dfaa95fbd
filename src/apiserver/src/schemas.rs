//! Objects and the schemas of their kinds.

use apimachinery::schema::{Schema, Tree, builtin, decode};
use serde_json::Value;

use crate::endpoints::body::Target;

/// The schema of a kind that is built in.
pub fn of(target: &Target) -> Option<Schema> {
    builtin::of(&target.group, &target.version, &target.kind)
}

/// Decodes `json` into `object`, which is what was parsed of it before and whose kind is known: what has the wrong type is refused, and the
/// fields that the schema does not know, or that are there twice, are named in the answer. What is no built-in kind stays as it is.
///
/// # Errors
/// In the words of Go's decoder.
pub fn check(group: &str, version: &str, kind: &str, json: &[u8], object: &mut Value) -> Result<Vec<String>, String> {
    let Some(schema) = builtin::of(group, version, kind) else { return Ok(Vec::new()) };
    let tree: Tree = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    fill(&schema, tree, object)
}

/// Brings an object that was put together here into canonical form; otherwise as [`check`].
///
/// # Errors
/// As [`check`].
pub fn canonicalize(target: &Target, object: &mut Value) -> Result<Vec<String>, String> {
    let Some(schema) = of(target) else { return Ok(Vec::new()) };
    let tree = Tree::from(object.clone());
    fill(&schema, tree, object)
}

fn fill(schema: &Schema, tree: Tree, object: &mut Value) -> Result<Vec<String>, String> {
    let mut decoded = decode::decode(schema, tree)?;
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            decoded.value[field] = value.clone();
        }
    }
    *object = decoded.value;
    Ok(decoded.problems)
}
