//! Objects and the schemas of their kinds.

use apimachinery::schema::{Schema, Tree, builtin, custom, decode};
use serde_json::Value;

use crate::endpoints::body::Target;

/// The schema of a kind, built in or custom.
pub fn of(target: &Target) -> Option<Schema> {
    if let Some(custom) = &target.custom {
        return Some((*custom.compiled.0).clone());
    }
    if target.group == "meta.k8s.io" {
        return builtin::named(&format!("io.k8s.apimachinery.pkg.apis.meta.{}.{}", target.version, target.kind));
    }
    builtin::of(&target.group, &target.version, &target.kind)
}

/// Decodes `json` into `object`, which is what was parsed of it before and whose kind is known: what has the wrong type is refused, and the
/// fields that the schema does not know, or that are there twice, are named in the answer. What is no built-in kind stays as it is.
///
/// # Errors
/// In the words of Go's decoder.
pub fn check(target: &Target, json: &[u8], object: &mut Value) -> Result<Vec<String>, String> {
    let Some(schema) = of(target) else { return Ok(Vec::new()) };
    let tree: Tree = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    fill(&schema, target.custom.is_some(), tree, object)
}

/// Brings an object that was put together here into canonical form; otherwise as [`check`].
///
/// # Errors
/// As [`check`].
pub fn canonicalize(target: &Target, object: &mut Value) -> Result<Vec<String>, String> {
    let Some(schema) = of(target) else { return Ok(Vec::new()) };
    let tree = Tree::from(object.clone());
    fill(&schema, target.custom.is_some(), tree, object)
}

/// The form in which an object of a built-in kind is kept.
///
/// # Errors
/// As [`check`].
pub fn stored(target: &Target, object: Value) -> Result<Value, String> {
    let Some(schema) = builtin::of(&target.group, &target.version, &target.kind) else { return Ok(object) };
    let identity = ["apiVersion", "kind"].map(|field| (field, object.get(field).cloned()));
    let mut stored = decode::stored(&schema, Tree::from(object))?;
    for (field, value) in identity {
        if let Some(value) = value {
            stored[field] = value;
        }
    }
    Ok(stored)
}

fn fill(schema: &Schema, is_custom: bool, tree: Tree, object: &mut Value) -> Result<Vec<String>, String> {
    let mut decoded = if is_custom { custom::decode(schema, tree)? } else { decode::decode(schema, tree)? };
    if is_custom {
        custom::fill_defaults(schema, &mut decoded.value);
    }
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(field) {
            decoded.value[field] = value.clone();
        }
    }
    *object = decoded.value;
    Ok(decoded.problems)
}
