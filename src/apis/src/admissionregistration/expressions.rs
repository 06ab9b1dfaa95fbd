//! Expressions of hooks and policies, and the conditions under which they apply.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    cel::{self, Type},
    checks,
    json::{list, text},
};

const CONDITIONS_MAX: usize = 64;
/// What an expression can refer to in every case.
pub(super) const NAMES: &[&str] = &["object", "oldObject", "request", "authorizer", "namespaceObject"];

/// What an expression has to come to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// One type.
    One(&'static str),
    /// One of several.
    Any(&'static [&'static str]),
    /// Anything.
    Free,
}

/// Checks an expression; its value is shown as it stands in the object.
pub(super) fn check(expression: &str, names: &[&str], wanted: Wanted, path: &Path, errors: &mut ErrorList) {
    let wrong = match cel::compile(expression.trim(), names) {
        Err(why) => Some(why),
        Ok(kind) => mismatch(&kind, wanted),
    };
    if let Some(why) = wrong {
        errors.push(FieldError::invalid(path, expression, why));
    }
}

fn mismatch(kind: &Type, wanted: Wanted) -> Option<String> {
    let name = kind.name()?;
    match wanted {
        Wanted::One(wanted) if name != wanted => Some(format!("must evaluate to {wanted} but got {name}")),
        Wanted::Any(wanted) if !wanted.contains(&name) => {
            Some(format!("must evaluate to one of [{}] but got {name}", wanted.join(" ")))
        }
        _ => None,
    }
}

/// Checks `matchConditions`.
pub(super) fn check_conditions(object: &Value, names: &[&str], path: &Path, errors: &mut ErrorList) {
    let path = path.child("matchConditions");
    let conditions = list(object, "matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(&path, conditions.len(), CONDITIONS_MAX));
    }
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let (at, expression) = (path.child("expression"), text(condition, "expression"));
        if checks::required(errors, &at, expression.trim()) {
            check(expression, names, Wanted::One("bool"), &at, errors);
        }
        let (at, name) = (path.child("name"), text(condition, "name"));
        if checks::required(errors, &at, name) {
            checks::invalid(errors, &at, name, names::is_qualified_name(name));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at, name));
            }
        }
    }
}
