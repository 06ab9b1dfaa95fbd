//! What is served at paths that are no resources: discovery, OpenAPI, health, version, metrics, keys.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::{
    Answer, Context,
    negotiate::{self, Form},
};
use crate::{core::Core, discovery, fail, health, openapi, respond, version};

/// Answers a request for a path.
pub fn route(core: &Arc<Core>, context: &Context) -> Answer {
    let path = context.info.path.trim_end_matches('/');
    let table = core.table();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if !matches!(context.info.verb.as_str(), "get" | "head" | "options")
        && !matches!(parts.first(), Some(&"api" | &"apis"))
    {
        return Ok(respond::text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n"));
    }
    match parts.as_slice() {
        [] => Ok(respond::json(StatusCode::OK, &json!({"paths": listed(core)}))),
        ["api"] | ["apis"] => root(core, context, parts == ["api"]),
        ["api", "v1"] => Ok(found(discovery::resources(&table, "", "v1"))),
        ["api", _] => Err(fail::no_resource().into()),
        ["apis", group] => match discovery::group(&table, group) {
            Some(body) => Ok(respond::json(StatusCode::OK, &body)),
            None => Ok(not_found()),
        },
        ["apis", group, _] if table.versions(group).is_empty() => Ok(not_found()),
        ["apis", group, version] => match discovery::resources(&table, group, version) {
            Some(body) => Ok(respond::json(StatusCode::OK, &body)),
            None => Err(fail::no_resource().into()),
        },
        ["openapi", "v2"] => Ok(openapi::v2(core, context)),
        ["openapi", "v3"] => Ok(openapi::index(core)),
        ["openapi", "v3", rest @ ..] => Ok(openapi::document(core, context, &rest.join("/")).unwrap_or_else(not_found)),
        ["version"] => Ok(respond::json(StatusCode::OK, &version::body())),
        ["healthz" | "livez" | "readyz", rest @ ..] => {
            let check = rest.join("/");
            Ok(health::answer(core, context, parts[0], Some(check.as_str()).filter(|check| !check.is_empty())))
        }
        ["metrics"] => {
            let mut response = Response::new(Body::from(core.metrics.render(core)));
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            Ok(response)
        }
        [".well-known", "openid-configuration"] => {
            let issuer = &core.config.issuer;
            let body = json!({
                "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"), "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
            });
            Ok(respond::json(StatusCode::OK, &body))
        }
        ["openid", "v1", "jwks"] => {
            let mut response = respond::json(StatusCode::OK, &core.tokens.jwks());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
            Ok(response)
        }
        _ => Ok(not_found()),
    }
}

fn not_found() -> Response<Body> {
    respond::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn found(body: Option<serde_json::Value>) -> Response<Body> {
    body.map_or_else(not_found, |body| respond::json(StatusCode::OK, &body))
}

fn root(core: &Core, context: &Context, is_core: bool) -> Answer {
    let accepted = negotiate::accept(&context.headers).ok_or_else(|| Box::new(fail::not_acceptable()))?;
    if accepted.form != Form::Discovery {
        let body = if is_core {
            discovery::versions(&core.config.advertised.to_string())
        } else {
            discovery::groups(&core.table())
        };
        return Ok(respond::json(StatusCode::OK, &body));
    }
    let table = core.table();
    let (body, tag) = table.aggregated(is_core);
    let matches = context.headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if matches {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = respond::json_bytes(StatusCode::OK, body.clone());
        let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn listed(core: &Core) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    let table = core.table();
    for group in table.groups().filter(|group| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(table.versions(group).iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    paths
}
