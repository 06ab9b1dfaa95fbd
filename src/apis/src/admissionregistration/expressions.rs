//! Expressions of hooks and policies, and the conditions under which they apply.

use std::{collections::BTreeMap, collections::HashSet, sync::Arc};

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use cel::{Environment, Program, Struct, Type};
use serde_json::Value;

use crate::{
    checks,
    json::{list, text},
};

const CONDITIONS_MAX: usize = 64;

/// What the expressions of hooks and policies can refer to: policies also to the namespace, and to parameters if they have some.
pub fn environment(of_policy: bool, has_params: bool) -> Environment {
    let resource = |name: &str| {
        Type::object(name, [("group", Type::String), ("version", Type::String), ("resource", Type::String)])
    };
    let kind = Type::object(
        "kubernetes.GroupVersionKind",
        [("group", Type::String), ("version", Type::String), ("kind", Type::String)],
    );
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    let request = Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource("kubernetes.GroupVersionResource")),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource("kubernetes.GroupVersionResource")),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    );
    let opaque = |name: &str| Type::Opaque(name.into(), Arc::new([]));
    let mut env = Environment::new([
        ("object", Type::Dyn),
        ("oldObject", Type::Dyn),
        ("request", request),
        ("authorizer", opaque("kubernetes.authorization.Authorizer")),
        ("authorizer.requestResource", opaque("kubernetes.authorization.ResourceCheck")),
    ]);
    if of_policy {
        env = env.with("namespaceObject", Type::Dyn);
    }
    if has_params {
        env = env.with("params", Type::Dyn);
    }
    env
}

/// The environment with `variables`: each may refer to those before it.
pub fn with_variables(env: &Environment, variables: &[Value]) -> Environment {
    let mut fields = BTreeMap::new();
    let bound = |fields: &BTreeMap<String, Type>| {
        let kind = Struct { name: "kubernetes.variables".into(), fields: fields.clone(), open: false };
        env.clone().with("variables", Type::Struct(Arc::new(kind)))
    };
    for variable in variables {
        let kind = Program::compile(text(variable, "expression").trim(), &bound(&fields))
            .map_or(Type::Dyn, |program| program.kind().clone());
        fields.insert(text(variable, "name").to_owned(), kind);
    }
    bound(&fields)
}

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
pub(super) fn check(expression: &str, env: &Environment, wanted: Wanted, path: &Path, errors: &mut ErrorList) {
    let wrong = match Program::compile(expression.trim(), env) {
        Err(why) => Some(format!("compilation failed: {why}")),
        Ok(program) => mismatch(program.kind(), wanted),
    };
    if let Some(why) = wrong {
        errors.push(FieldError::invalid(path, expression, why));
    }
}

fn mismatch(kind: &Type, wanted: Wanted) -> Option<String> {
    let name = if matches!(kind, Type::List(_)) { kind.to_string() } else { kind.name().to_owned() };
    match wanted {
        Wanted::One(wanted) if name != wanted => Some(format!("must evaluate to {wanted} but got {name}")),
        Wanted::Any(wanted) if !wanted.contains(&name.as_str()) => {
            Some(format!("must evaluate to one of [{}] but got {name}", wanted.join(" ")))
        }
        _ => None,
    }
}

/// Checks `matchConditions`.
pub(super) fn check_conditions(object: &Value, env: &Environment, path: &Path, errors: &mut ErrorList) {
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
            check(expression, env, Wanted::One("bool"), &at, errors);
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
