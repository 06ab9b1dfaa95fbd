//! Admission by webhooks: programs of the cluster's users that change or judge what is written.

mod call;
pub mod matching;

use std::sync::Arc;

use admission::Operation;
use apimachinery::status::Status;
use base64::Engine;
use serde_json::{Value, json};

use self::matching::Subject;
use crate::{
    cacher::Scope,
    core::Core,
    endpoints::{Context, Failure, body::Target},
    fail,
    policies::{self, Applies},
    resources::Resource,
    reviews, schemas,
};

const GROUP: &str = "admissionregistration.k8s.io";

/// What webhooks are told of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The server.
    pub core: &'a Core,
    /// Who asks, and where.
    pub context: &'a Context,
    /// For what.
    pub resource: &'a Resource,
    /// The side of the object; empty for all of it.
    pub subresource: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What is done.
    pub operation: Operation,
    /// Whether nothing is kept.
    pub dry_run: bool,
}

/// Lets mutating webhooks change the object, in the order of their names.
///
/// # Errors
/// When one refuses, or fails and must not.
pub async fn mutate(asked: &Asked<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), Failure> {
    let webhooks = webhooks(asked, "mutatingwebhookconfigurations");
    let mut ran: Vec<(usize, Value)> = Vec::new();
    for (at, (configuration, webhook)) in webhooks.iter().enumerate() {
        if ask(asked, configuration, webhook, Some(&mut *object), old).await? {
            ran.push((at, object.clone()));
        }
    }
    // Those that want to see what others made of the object later are asked once more.
    for (at, seen) in ran {
        let (configuration, webhook) = &webhooks[at];
        if webhook["reinvocationPolicy"] == "IfNeeded" && seen != *object {
            ask(asked, configuration, webhook, Some(&mut *object), old).await?;
        }
    }
    Ok(())
}

/// Asks validating webhooks; for a deletion also the mutating ones, which can only refuse it.
///
/// # Errors
/// When one refuses, or fails and must not.
pub async fn validate(asked: &Asked<'_>, object: Option<&Value>, old: Option<&Value>) -> Result<(), Failure> {
    let mut all = Vec::new();
    if asked.operation == Operation::Delete {
        all.extend(webhooks(asked, "mutatingwebhookconfigurations"));
    }
    all.extend(webhooks(asked, "validatingwebhookconfigurations"));
    for (configuration, webhook) in all {
        let mut copy = object.cloned();
        ask(asked, &configuration, &webhook, copy.as_mut(), old).await?;
        if copy.as_ref() != object {
            let why = format!("admission webhook {:?} may not change the object", name_of(&webhook));
            return Err(fail::internal(why).into());
        }
    }
    Ok(())
}

fn name_of(webhook: &Value) -> &str {
    webhook.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// The webhooks of a kind of configuration, in order.
fn webhooks(asked: &Asked<'_>, configurations: &str) -> Vec<(Arc<Value>, Value)> {
    let Some(cache) = asked.core.cacher.resource(GROUP, configurations).filter(|cache| !cache.is_empty()) else {
        return Vec::new();
    };
    // What decides about admission is not decided about by it: nobody could mend a broken webhook.
    if asked.resource.group == GROUP {
        return Vec::new();
    }
    let list = cache.list(&Scope::All, None, |_| true).0;
    let of = |configuration: Arc<Value>| {
        let hooks = configuration["webhooks"].as_array().cloned().unwrap_or_default();
        hooks.into_iter().map(move |hook| (configuration.clone(), hook))
    };
    list.iter().flat_map(|entry| of(entry.object())).collect()
}

/// An operation as requests name it.
pub fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// Asks one webhook, if the request is for it; whether it was.
async fn ask(
    asked: &Asked<'_>,
    configuration: &Value,
    webhook: &Value,
    object: Option<&mut Value>,
    old: Option<&Value>,
) -> Result<bool, Failure> {
    let namespace = asked.resource.namespace_of(&asked.context.info);
    let subject = Subject {
        operation: operation(asked.operation),
        group: &asked.resource.group,
        version: &asked.resource.version,
        resource: &asked.resource.name,
        subresource: asked.subresource,
        namespace,
    };
    if !matching::by_rules(webhook, &subject) {
        return Ok(false);
    }
    let is_namespace = asked.resource.group.is_empty() && asked.resource.name == "namespaces";
    let of_namespace: Option<Arc<Value>> = if is_namespace {
        object.as_deref().or(old).map(|namespace| Arc::new(namespace.clone()))
    } else {
        let cache = asked.core.cacher.resource("", "namespaces");
        cache.and_then(|namespaces| namespaces.get(namespace)).map(|entry| entry.object())
    };
    if let Some(namespace) = &of_namespace
        && !matching::by_labels(webhook, "namespaceSelector", &[&**namespace])
    {
        return Ok(false);
    }
    let objects: Vec<&Value> = object.as_deref().into_iter().chain(old).collect();
    if !matching::by_labels(webhook, "objectSelector", &objects) {
        return Ok(false);
    }
    let name = name_of(webhook);
    match meets_conditions(asked, configuration, webhook, object.as_deref(), old) {
        Applies::Yes => {}
        Applies::No => return Ok(false),
        Applies::Unknown(why) if webhook["failurePolicy"] == "Ignore" => {
            tracing::warn!(webhook = name, %why, "the conditions of a webhook failed and it is not asked, as its configuration says");
            return Ok(false);
        }
        Applies::Unknown(why) => return Err(fail::internal(format!("failed calling webhook {name:?}: {why}")).into()),
    }
    let without_effects = matches!(webhook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun"));
    if asked.dry_run && !without_effects {
        return Err(fail::bad_request(format!("admission webhook {name:?} does not support dry run")).into());
    }
    match answer(asked, webhook, object.as_deref(), old).await {
        Ok(response) => settle(asked, name, &response, object).map(|()| true),
        Err(why) if webhook["failurePolicy"] == "Ignore" => {
            tracing::warn!(webhook = name, %why, "a webhook failed and is ignored, as its configuration says");
            Ok(true)
        }
        Err(why) => Err(fail::internal(format!("failed calling webhook {name:?}: {why}")).into()),
    }
}

/// Whether the webhook's own conditions hold.
fn meets_conditions(
    asked: &Asked<'_>,
    configuration: &Value,
    webhook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Applies {
    if webhook["matchConditions"].as_array().is_none_or(Vec::is_empty) {
        return Applies::Yes;
    }
    let compiled = asked.core.policies.webhook(configuration, webhook);
    policies::applies(&policies::Scene::new(asked, object, old, None, &compiled))
}

/// What the webhook responds.
async fn answer(
    asked: &Asked<'_>,
    webhook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Value, String> {
    let resource = asked.resource;
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let plural = json!({"group": resource.group, "version": resource.version, "resource": resource.name});
    let uid = asked.core.entropy.uuid();
    let options = match asked.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        _ => "DeleteOptions",
    };
    let mut request = json!({
        "uid": uid, "kind": kind, "resource": plural, "requestKind": kind, "requestResource": plural, "name": asked.name,
        "operation": operation(asked.operation), "userInfo": reviews::user_body(&asked.context.user),
        "object": object, "oldObject": old, "dryRun": asked.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"},
    });
    let namespace = resource.namespace_of(&asked.context.info);
    if !namespace.is_empty() {
        request["namespace"] = namespace.into();
    }
    if !asked.subresource.is_empty() {
        request["subResource"] = asked.subresource.into();
        request["requestSubResource"] = asked.subresource.into();
    }
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request});
    let mut given = call::call(asked.core, webhook, &review).await?;
    let response = given["response"].take();
    if !response.is_object() {
        return Err("webhook response is missing a response".into());
    }
    if response["uid"] != uid.as_str() {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response["uid"].as_str().unwrap_or_default()));
    }
    Ok(response)
}

/// Does what a webhook responded.
fn settle(asked: &Asked<'_>, name: &str, response: &Value, object: Option<&mut Value>) -> Result<(), Failure> {
    for warning in response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        asked.context.warnings.add(warning);
    }
    if response["allowed"] != true {
        return Err(Box::new(denial(name, &response["status"])));
    }
    let patch = response["patch"].as_str().unwrap_or_default();
    let Some(object) = object.filter(|_| !patch.is_empty()) else { return Ok(()) };
    let broken = |why: String| -> Failure {
        Box::new(fail::internal(format!("failed calling webhook {name:?}: received an invalid patch: {why}")))
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(patch).map_err(|error| broken(error.to_string()))?;
    let patch: json_patch::Patch = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    json_patch::patch(object, &patch).map_err(|error| broken(error.to_string()))?;
    let target = Target::of(asked.resource);
    schemas::canonicalize(&target, object).map_err(broken)?;
    apis::set_defaults(&target.group, &target.version, &target.kind, object);
    Ok(())
}

/// A webhook's refusal.
fn denial(name: &str, given: &Value) -> Status {
    let denied = format!("admission webhook {name:?} denied the request");
    let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default();
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = given.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
    let details = given.get("details").filter(|details| details.is_object()).cloned();
    fail::status(code.max(400), text("reason"), message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_worded_as_kubernetes_words_it() {
        for (given, code, message) in [
            (json!(null), 400, "admission webhook \"w\" denied the request without explanation"),
            (json!({"code": 403, "message": "no"}), 403, "admission webhook \"w\" denied the request: no"),
            (json!({"code": 200, "reason": "Because"}), 400, "admission webhook \"w\" denied the request: Because"),
        ] {
            let status = denial("w", &given);
            assert_eq!((fail::code_of(&status), status.message.as_str()), (code, message));
        }
    }
}
