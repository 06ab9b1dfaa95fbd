//! `serviceaccounts/token`: a token for a service account, bound to what it is for and to when it ends.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    core::Core,
    endpoints::{Answer, Context, Failure, Presenter, body, options::WriteOptions},
    fail, keys, managed_fields,
    registry::meta,
    resources::Resource,
};

/// Seconds that a token lasts at least.
const SECONDS_MIN: i64 = 600;
/// Seconds that a token lasts at most.
const SECONDS_MAX: i64 = 1 << 32;
/// Seconds that a token lasts when nothing is said.
const SECONDS: i64 = 3600;

/// Answers with a token.
pub async fn request(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let options = WriteOptions::of(&context.uri, "CreateOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target {
        group: "authentication.k8s.io".into(),
        version: "v1".into(),
        kind: "TokenRequest".into(),
        custom: None,
    };
    let mut given = body::decode(core, &target, &context.headers, &bytes, options.field_validation, &context.warnings)?;
    let review =
        Resource { group: target.group, version: target.version, kind: target.kind, ..Resource::clone(resource) };
    let manager = context.field_manager(options.field_manager.as_deref());
    managed_fields::on_create(&review, &mut given, &manager, core.clock.now());
    let info = &context.info;
    core.cacher.fresh().await?;
    let account = resource.cache(&core.cacher).get(&keys::object(&info.namespace, &info.name));
    let account = account.ok_or_else(|| Box::new(fail::not_found("", "serviceaccounts", &info.name)))?.object();
    let seconds = given.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(SECONDS);
    check_seconds(seconds)?;
    let asked: Vec<String> = given
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    let audiences = if asked.is_empty() { vec![core.config.issuer.clone()] } else { asked };
    let bound = given.pointer("/spec/boundObjectRef").filter(|reference| !reference.is_null()).cloned();
    let bound_to = match &bound {
        Some(reference) => Some(bound_object(core, &account, reference, &info.namespace)?),
        None => None,
    };
    let account_ref = auth::tokens::ServiceAccountRef {
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        uid: meta::text(&account, "uid").to_owned(),
    };
    let now = core.clock.now();
    let issued = core
        .tokens
        .sign(&account_ref, bound_to.as_ref(), &audiences, seconds, now)
        .map_err(|error| Box::new(fail::internal(error)))?;
    let expires = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now);
    let mut metadata = json!({
        "name": info.name, "namespace": info.namespace, "uid": core.entropy.uuid(), "creationTimestamp": meta::time(now),
    });
    if let Some(Value::Array(managed)) = given.pointer_mut("/metadata/managedFields").map(Value::take) {
        let of_token = |mut entry: Value| {
            entry["subresource"] = "token".into();
            entry
        };
        metadata["managedFields"] = managed.into_iter().map(of_token).collect();
    }
    let answer = json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": metadata,
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound.unwrap_or(Value::Null)},
        "status": {"token": issued, "expirationTimestamp": meta::time(expires)},
    });
    presenter.write(StatusCode::CREATED, &answer)
}

fn check_seconds(seconds: i64) -> Result<(), Failure> {
    let why = if seconds < SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if seconds > SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let message = format!("Invalid value: {seconds}: {why}");
    Err(fail::invalid_one(
        "authentication.k8s.io",
        "TokenRequest",
        "",
        "spec.expirationSeconds",
        "FieldValueInvalid",
        &message,
    )
    .into())
}

/// The object that the token lives and dies with.
fn bound_object(
    core: &Core,
    account: &Value,
    reference: &Value,
    namespace: &str,
) -> Result<auth::tokens::BoundObject, Failure> {
    let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let place = match (text("apiVersion"), kind) {
        ("v1", "Pod") => ("pods", namespace),
        ("v1", "Secret") => ("secrets", namespace),
        ("v1", "Node") => ("nodes", ""),
        (version, kind) => {
            let why = format!("cannot bind token for serviceaccount to object of kind {version}, Kind={kind}");
            return Err(fail::bad_request(why).into());
        }
    };
    let (resource, namespace) = place;
    let found = core.cacher.resource("", resource).and_then(|cache| cache.get(&keys::object(namespace, name)));
    let found = found.ok_or_else(|| Box::new(fail::not_found("", resource, name)))?.object();
    let own = meta::text(&found, "uid");
    if !uid.is_empty() && uid != own {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(fail::conflict("", resource, name, &why).into());
    }
    if kind == "Pod" {
        let used = found.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
        if used != meta::text(account, "name") {
            let why = format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                meta::text(account, "name")
            );
            return Err(fail::bad_request(why).into());
        }
    }
    let node = found.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    let node_uid = core
        .cacher
        .resource("", "nodes")
        .and_then(|nodes| nodes.get(node))
        .map(|node| meta::text(&node.object(), "uid").to_owned());
    Ok(auth::tokens::BoundObject {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: own.to_owned(),
        node: (kind == "Pod" && !node.is_empty()).then(|| (node.to_owned(), node_uid.unwrap_or_default())),
    })
}
