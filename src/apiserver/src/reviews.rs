//! Questions to the server about identities and rights: created, answered, and never stored.

use std::sync::Arc;

use auth::{Attributes, Decision, UserInfo};
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    core::Core,
    endpoints::{Answer, Context, Failure, Presenter, body, options::WriteOptions},
    fail, managed_fields,
    registry::meta,
    resources::Resource,
};

/// Answers a question.
///
/// # Errors
/// 422 when it makes no sense.
pub async fn route(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    if resource.name == "componentstatuses" {
        return components(core, context, resource);
    }
    let presenter = Presenter::of(core, context, resource)?;
    let options = WriteOptions::of(&context.uri, "CreateOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target::of(resource);
    let mut review =
        body::decode(core, &target, &context.headers, &bytes, options.field_validation, &context.warnings)?;
    meta::metadata(&mut review);
    let manager = context.field_manager(options.field_manager.as_deref());
    managed_fields::on_create(resource, &mut review, &manager, core.clock.now());
    let status = match resource.name.as_str() {
        "tokenreviews" => token(core, &review)?,
        "selfsubjectreviews" => {
            meta::set(&mut review, "creationTimestamp", meta::time(core.clock.now()));
            json!({"userInfo": user_body(&context.user)})
        }
        "subjectaccessreviews" => access(core, &review, &resource.kind, subject(&review))?,
        "localsubjectaccessreviews" => local_access(core, context, &mut review)?,
        "selfsubjectaccessreviews" => access(core, &review, &resource.kind, context.user.clone())?,
        "selfsubjectrulesreviews" => {
            let namespace = review.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
            if namespace.is_empty() {
                return Err(fail::bad_request("no namespace on request").into());
            }
            // Kubernetes does not repeat the question.
            review["spec"] = json!({});
            rules(core, &context.user, &namespace)
        }
        "bindings" => {
            let message = "create the binding subresource of the pod instead";
            return Err(fail::status(501, "NotImplemented", message, None).into());
        }
        _ => return Err(fail::no_method().into()),
    };
    review["status"] = status;
    presenter.write(StatusCode::CREATED, &review)
}

/// A user as Kubernetes writes it.
pub fn user_body(user: &UserInfo) -> Value {
    let mut body = json!({"username": user.name});
    if !user.uid.is_empty() {
        body["uid"] = user.uid.clone().into();
    }
    if !user.groups.is_empty() {
        body["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        body["extra"] = json!(user.extra);
    }
    body
}

fn token(core: &Core, review: &Value) -> Result<Value, Failure> {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() {
        return Err(fail::bad_request("token is required for TokenReview in authentication").into());
    }
    let audiences: Vec<String> = review
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    Ok(match core.authenticator.review_token(token, &audiences) {
        Ok((user, audiences)) => {
            let mut status = json!({"authenticated": true, "user": user_body(&user)});
            if !audiences.is_empty() {
                status["audiences"] = json!(audiences);
            }
            status
        }
        Err(_) => json!({"error": "invalid bearer token", "user": {}}),
    })
}

fn subject(review: &Value) -> UserInfo {
    let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let extra = review.pointer("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    UserInfo {
        name: text("/spec/user"),
        uid: text("/spec/uid"),
        groups: list(review.pointer("/spec/groups")),
        extra: extra.map(|(key, values)| (key.clone(), list(Some(values)))).collect(),
    }
}

fn local_access(core: &Core, context: &Context, review: &mut Value) -> Result<Value, Failure> {
    let namespace = &context.info.namespace;
    let asked = review.pointer("/spec/resourceAttributes/namespace").and_then(Value::as_str).unwrap_or_default();
    if asked != namespace {
        let message = format!("Invalid value: {asked:?}: must match metadata.namespace");
        let field = "spec.resourceAttributes.namespace";
        return Err(fail::invalid_one(
            "authorization.k8s.io",
            "LocalSubjectAccessReview",
            "",
            field,
            "FieldValueInvalid",
            &message,
        )
        .into());
    }
    meta::set(review, "namespace", namespace.clone());
    access(core, review, "LocalSubjectAccessReview", subject(review))
}

fn access(core: &Core, review: &Value, kind: &str, user: UserInfo) -> Result<Value, Failure> {
    let resource = review.pointer("/spec/resourceAttributes").filter(|value| !value.is_null());
    let path = review.pointer("/spec/nonResourceAttributes").filter(|value| !value.is_null());
    let mut causes: Vec<(String, String, String)> = Vec::new();
    let mut refuse =
        |field: &str, message: &str| causes.push((field.into(), "FieldValueInvalid".into(), message.into()));
    match (resource, path) {
        (None, None) => refuse(
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (Some(_), Some(_)) => refuse(
            "spec.nonResourceAttributes",
            "Invalid value: \"\": cannot be specified in combination with resourceAttributes",
        ),
        _ => {}
    }
    if kind != "SelfSubjectAccessReview" && user.name.is_empty() && user.groups.is_empty() {
        refuse("spec.user", "Invalid value: \"\": at least one of user or group must be specified");
    }
    if !causes.is_empty() {
        return Err(fail::invalid("authorization.k8s.io", "", "", &causes).into());
    }
    let text = |field: &str| {
        let attributes = resource.or(path);
        attributes.and_then(|attributes| attributes.get(field)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let attributes = Attributes {
        user,
        verb: text("verb"),
        api_group: text("group"),
        api_version: text("version"),
        resource: text("resource"),
        subresource: text("subresource"),
        name: text("name"),
        namespace: text("namespace"),
        path: text("path"),
        resource_request: resource.is_some(),
    };
    let (allowed, denied, reason) = match core.authorizers.decide(&attributes) {
        Decision::Allow(reason) => (true, false, reason),
        Decision::Deny(reason) => (false, true, reason),
        Decision::NoOpinion(reason) => (false, false, reason),
    };
    let mut status = json!({"allowed": allowed});
    if denied {
        status["denied"] = true.into();
    }
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(status)
}

fn rules(core: &Core, user: &UserInfo, namespace: &str) -> Value {
    let mut rules = core.authorizers.rbac.rules_for(user, namespace);
    if user.groups.iter().any(|group| group == "system:masters") {
        rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let (mut resource_rules, mut path_rules) = (Vec::new(), Vec::new());
    for rule in rules {
        if rule.get("nonResourceURLs").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty()) {
            path_rules.push(json!({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}));
        }
        if rule.get("resources").and_then(Value::as_array).is_some_and(|resources| !resources.is_empty()) {
            let mut shown =
                json!({"verbs": rule["verbs"], "apiGroups": rule["apiGroups"], "resources": rule["resources"]});
            if let Some(names) = rule.get("resourceNames") {
                shown["resourceNames"] = names.clone();
            }
            resource_rules.push(shown);
        }
    }
    json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false})
}

/// `componentstatuses`: deprecated, and asked for by `kubectl get cs` still.
fn components(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let status = |name: &str| {
        json!({
            "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        })
    };
    let names = ["controller-manager", "etcd-0", "scheduler"];
    if context.info.verb == "get" {
        let name = &context.info.name;
        if !names.contains(&name.as_str()) {
            return Err(fail::not_found("", "componentstatuses", name).into());
        }
        return presenter.object(StatusCode::OK, status(name));
    }
    let items: Vec<Value> = names.iter().map(|name| status(name)).collect();
    presenter.objects("ComponentStatusList", items)
}
