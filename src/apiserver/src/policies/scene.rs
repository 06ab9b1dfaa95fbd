//! What expressions see of a request.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use auth::Attributes;
use cel::{
    Activation, Asked as Question, Authorizer, Decision, EvalError, PER_CALL_LIMIT, PER_OBJECT_LIMIT, Value as CelValue,
};
use serde_json::{Value, json};

use super::compiled::{Compiled, Expression};
use crate::{chain::authorize::Authorizers, reviews, webhooks::Asked};

/// A request with all that expressions may ask of it, and how much they may still cost.
pub struct Scene<'c> {
    request: CelValue,
    object: CelValue,
    old: CelValue,
    namespace: CelValue,
    authorizer: Arc<dyn Authorizer>,
    about: Question,
    params: CelValue,
    compiled: &'c Compiled,
    variables: RefCell<BTreeMap<String, Result<CelValue, EvalError>>>,
    budget: RefCell<u64>,
}

/// Whether conditions hold.
#[derive(Debug, PartialEq, Eq)]
pub enum Applies {
    /// All do.
    Yes,
    /// One does not.
    No,
    /// None says no, and one fails.
    Unknown(String),
}

/// The server's authorizers, asked about the user of a request.
struct Bound {
    authorizers: Arc<Authorizers>,
    user: auth::UserInfo,
}

impl Authorizer for Bound {
    fn authorize(&self, account: Option<(&str, &str)>, asked: &Question) -> Decision {
        let user = match account {
            Some((namespace, name)) => auth::authn::service_account_user(namespace, name, ""),
            None => self.user.clone(),
        };
        let attributes = Attributes {
            user,
            verb: asked.verb.clone(),
            api_group: asked.group.clone(),
            api_version: if asked.path.is_empty() { "*".into() } else { String::new() },
            resource: asked.resource.clone(),
            subresource: asked.subresource.clone(),
            name: asked.name.clone(),
            namespace: asked.namespace.clone(),
            path: asked.path.clone(),
            resource_request: asked.path.is_empty(),
        };
        match self.authorizers.decide(&attributes) {
            auth::Decision::Allow(reason) => Decision { allowed: true, reason, error: String::new() },
            auth::Decision::Deny(reason) | auth::Decision::NoOpinion(reason) => {
                Decision { allowed: false, reason, error: String::new() }
            }
        }
    }
}

impl<'c> Scene<'c> {
    /// The scene of a request, for the expressions of one policy or webhook.
    pub fn new(
        asked: &Asked<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        namespace: Option<&Value>,
        compiled: &'c Compiled,
    ) -> Self {
        let resource = asked.resource;
        let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let plural = json!({"group": resource.group, "version": resource.version, "resource": resource.name});
        let place = resource.namespace_of(&asked.context.info);
        let mut request = json!({
            "kind": kind, "resource": plural, "requestKind": kind, "requestResource": plural, "name": asked.name,
            "operation": crate::webhooks::operation(asked.operation), "userInfo": reviews::user_body(&asked.context.user),
            "dryRun": asked.dry_run, "options": {},
        });
        if !place.is_empty() {
            request["namespace"] = place.into();
        }
        if !asked.subresource.is_empty() {
            request["subResource"] = asked.subresource.into();
            request["requestSubResource"] = asked.subresource.into();
        }
        let value = |json: Option<&Value>| json.map_or(CelValue::Null, CelValue::from_json);
        Self {
            request: CelValue::from_json(&request),
            object: value(object),
            old: value(old),
            namespace: value(namespace),
            authorizer: Arc::new(Bound {
                authorizers: asked.core.authorizers.clone(),
                user: asked.context.user.clone(),
            }),
            about: Question {
                group: resource.group.clone(),
                resource: resource.name.clone(),
                subresource: asked.subresource.to_owned(),
                namespace: place.to_owned(),
                name: asked.name.to_owned(),
                ..Question::default()
            },
            params: CelValue::Null,
            compiled,
            variables: RefCell::default(),
            budget: RefCell::new(PER_OBJECT_LIMIT),
        }
    }

    /// The same with parameters.
    pub fn set_params(&mut self, params: Option<&Value>) {
        self.params = params.map_or(CelValue::Null, CelValue::from_json);
        self.variables.borrow_mut().clear();
    }

    /// Runs an expression.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub fn run(&self, expression: &Expression) -> Result<CelValue, String> {
        let program = expression.as_ref().map_err(|why| format!("compilation failed: {why}"))?;
        let (outcome, cost) = program.run(self, PER_CALL_LIMIT);
        let mut budget = self.budget.borrow_mut();
        if cost > *budget {
            return Err(
                "validation failed due to running out of cost budget, no further validation rules will be run".into()
            );
        }
        *budget -= cost;
        outcome.map_err(|error| error.to_string())
    }
}

impl Activation for Scene<'_> {
    fn variable(&self, name: &str) -> Option<CelValue> {
        Some(match name {
            "object" => self.object.clone(),
            "oldObject" => self.old.clone(),
            "request" => self.request.clone(),
            "namespaceObject" => self.namespace.clone(),
            "params" => self.params.clone(),
            "authorizer" => CelValue::authorizer(self.authorizer.clone()),
            "authorizer.requestResource" => CelValue::resource_check(self.authorizer.clone(), self.about.clone()),
            _ => return None,
        })
    }

    /// Variables are made when they are first asked for.
    fn field(&self, name: &str, field: &str, cost: &mut u64) -> Option<Result<CelValue, EvalError>> {
        if name != "variables" {
            return None;
        }
        if let Some(known) = self.variables.borrow().get(field) {
            return Some(known.clone());
        }
        let (_, expression) = self.compiled.variables.iter().find(|(known, _)| known == field)?;
        let value = match expression {
            Ok(program) => {
                let (outcome, own) = program.run(self, PER_CALL_LIMIT);
                *cost += own;
                outcome.map_err(|error| {
                    EvalError::Other(format!("composited variable {field:?} fails to evaluate: {error}"))
                })
            }
            Err(why) => Err(EvalError::Other(format!("composited variable {field:?} fails to compile: {why}"))),
        };
        self.variables.borrow_mut().insert(field.to_owned(), value.clone());
        Some(value)
    }
}

/// Whether the conditions of a policy or webhook hold: one that does not decides, before any that fails.
pub fn applies(scene: &Scene<'_>) -> Applies {
    let mut failed = None;
    for (name, condition) in &scene.compiled.conditions {
        match scene.run(condition) {
            Ok(value) if value.is_true() => {}
            Ok(_) => return Applies::No,
            Err(why) => {
                failed.get_or_insert_with(|| format!("failed to evaluate matchCondition {name:?}: {why}"));
            }
        }
    }
    failed.map_or(Applies::Yes, Applies::Unknown)
}
