//! Expressions of objects, compiled once for each version of the object.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{Environment, Extension, Program};
use parking_lot::Mutex;
use serde_json::Value;

use crate::registry::meta;

/// Objects whose expressions are kept.
const KEPT_MAX: usize = 1024;

/// What was compiled, by uid: of one version each.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<String, (String, Arc<Compiled>)>>);

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} objects", self.0.lock().len())
    }
}

/// An expression that can run, or why it cannot.
pub type Expression = Result<Program, String>;

/// The expressions of one object.
#[derive(Debug, Default)]
pub struct Compiled {
    /// Conditions: their names and expressions.
    pub conditions: Vec<(String, Expression)>,
    /// Variables: their names and expressions.
    pub variables: Vec<(String, Expression)>,
    /// What the policy demands.
    pub validations: Vec<Validation>,
    /// What the policy changes: whether by a JSON patch, and the expression.
    pub mutations: Vec<(bool, Expression)>,
}

/// A demand.
#[derive(Debug)]
pub struct Validation {
    /// What has to hold.
    pub expression: Expression,
    /// What makes the message when it does not.
    pub message: Option<Program>,
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default().trim()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl Cache {
    /// What was compiled of an object, by `compile` if it was not yet; `part` tells apart those of one object.
    fn get(&self, object: &Value, part: &str, compile: impl FnOnce() -> Compiled) -> Arc<Compiled> {
        let (uid, version) = (meta::text(object, "uid"), meta::text(object, "resourceVersion"));
        let key = format!("{uid}/{part}");
        if let Some((kept, compiled)) = self.0.lock().get(&key)
            && kept == version
        {
            return compiled.clone();
        }
        let compiled = Arc::new(compile());
        let mut kept = self.0.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, (version.to_owned(), compiled.clone()));
        compiled
    }

    /// The expressions of a policy.
    pub fn policy(&self, policy: &Value) -> Arc<Compiled> {
        self.get(policy, "", || {
            let spec = &policy["spec"];
            let env = apis::environment(true, spec["paramKind"].is_object());
            let conditions = conditions(spec, &env);
            let given = list(spec, "variables");
            let variables = given.iter().enumerate().map(|(index, variable)| {
                let env = apis::with_variables(&env, &given[..index]);
                (text(variable, "name").to_owned(), Program::compile(text(variable, "expression"), &env))
            });
            let variables = variables.collect();
            let env = apis::with_variables(&env, given);
            let validations = list(spec, "validations").iter().map(|validation| Validation {
                expression: Program::compile(text(validation, "expression"), &env),
                message: Program::compile(text(validation, "messageExpression"), &env).ok(),
            });
            let validations = validations.collect();
            let env = env.extended(Extension::Mutation);
            let mutations = list(spec, "mutations").iter().map(|mutation| {
                let is_patch = mutation["patchType"] == "JSONPatch";
                let own = &mutation[if is_patch { "jsonPatch" } else { "applyConfiguration" }];
                (is_patch, Program::compile(text(own, "expression"), &env))
            });
            Compiled { conditions, variables, validations, mutations: mutations.collect() }
        })
    }

    /// The conditions of a webhook in a configuration.
    pub fn webhook(&self, configuration: &Value, webhook: &Value) -> Arc<Compiled> {
        self.get(configuration, text(webhook, "name"), || Compiled {
            conditions: conditions(webhook, &apis::environment(false, false)),
            ..Compiled::default()
        })
    }
}

fn conditions(object: &Value, env: &Environment) -> Vec<(String, Expression)> {
    let each = list(object, "matchConditions").iter();
    each.map(|condition| (text(condition, "name").to_owned(), Program::compile(text(condition, "expression"), env)))
        .collect()
}
