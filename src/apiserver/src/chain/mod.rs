//! The handler chain: what every request passes through, in Kubernetes' order, before an endpoint sees it.
//!
//! ```text
//! panic guard ► request info ► timeout ► authentication ► impersonation ► in-flight limit ► authorization ► endpoint
//! ```
//!
//! A request that a component of this process makes enters with its identity as an extension of the request and skips
//! nothing but authentication: limits, authorization and metrics see it like any other.

pub mod authorize;
pub mod impersonate;
pub mod inflight;
pub mod request_info;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use apimachinery::status::Status;
use auth::{Attributes, AuthError, UserInfo};
use axum::body::Body;
use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};

pub use self::request_info::RequestInfo;
use crate::{
    core::Core,
    endpoints::{self, Context, Warnings},
    fail, respond,
};

/// How long a request that is no stream may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The certificate with which the client of a connection identified itself, in DER.
#[derive(Debug, Clone)]
pub struct PeerCertificate(pub Arc<[u8]>);

/// Answers a request.
pub async fn handle(core: Arc<Core>, request: Request<Body>) -> Response<Body> {
    let info = RequestInfo::of(request.method(), request.uri());
    let warnings = Warnings::default();
    let started = core.clock.now();
    let observed = core.metrics.begin(&info);
    let answer = AssertUnwindSafe(guarded(core.clone(), info, request, warnings.clone())).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| {
        let text = "This request caused apiserver to panic. Look in the logs for details.\n";
        respond::text(StatusCode::INTERNAL_SERVER_ERROR, text)
    });
    for warning in warnings.take() {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quoted(&warning))) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    core.metrics.end(observed, response.status(), core.clock.now().duration_since(started));
    response
}

async fn guarded(core: Arc<Core>, info: RequestInfo, request: Request<Body>, warnings: Warnings) -> Response<Body> {
    if info.is_long_running(request.uri()) {
        return answered(authenticated(core, info, request, warnings).await);
    }
    match tokio::time::timeout(TIMEOUT, authenticated(core, info, request, warnings)).await {
        Ok(answer) => answered(answer),
        Err(_) => respond::status(&fail::timeout(
            "request did not complete within the allotted timeout of 60s; the work it began may still complete",
        )),
    }
}

fn answered(answer: Result<Response<Body>, Box<Status>>) -> Response<Body> {
    answer.unwrap_or_else(|status| respond::status(&status))
}

async fn authenticated(
    core: Arc<Core>,
    info: RequestInfo,
    mut request: Request<Body>,
    warnings: Warnings,
) -> Result<Response<Body>, Box<Status>> {
    let user = match request.extensions_mut().remove::<UserInfo>() {
        Some(user) => user,
        None => match authenticate(&core, &request) {
            Ok(user) => user,
            Err(_) => {
                core.cacher.fresh().await?;
                authenticate(&core, &request).map_err(unauthorized)?
            }
        },
    };
    // What proves the identity is of no use behind this point, and must not leak into what is proxied.
    request.headers_mut().remove(header::AUTHORIZATION);
    let user = impersonate::impersonate(&core, request.headers(), user)?;
    let read = info.is_read();
    let permit = if info.is_long_running(request.uri()) {
        None
    } else {
        let Some(permit) = core.inflight.enter(read, &user) else {
            let mut response =
                respond::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return Ok(response);
        };
        Some(permit)
    };
    let asked = attributes(&info, &user);
    if authorize::require(&core, &asked).is_err() {
        // What was acknowledged before the request came counts, also where the cache has not seen it yet.
        core.cacher.fresh().await?;
        authorize::require(&core, &asked)?;
    }
    let context = Context { info, user, uri: request.uri().clone(), headers: request.headers().clone(), warnings };
    let answer = endpoints::route(&core, context, request).await;
    drop(permit);
    answer
}

/// The answer tells nothing; the log says why, and of a machine that cannot join to whoever reads it.
fn unauthorized(error: AuthError) -> Box<Status> {
    match error {
        AuthError::Join { .. } | AuthError::NotAToken(_) => tracing::warn!(%error, "a machine cannot join"),
        _ => tracing::debug!(%error, "a request could not be authenticated"),
    }
    fail::unauthorized().into()
}

fn authenticate(core: &Core, request: &Request<Body>) -> Result<UserInfo, AuthError> {
    let certificate = request.extensions().get::<PeerCertificate>().map(|certificate| &*certificate.0);
    let bearer = bearer(request.headers());
    let user = core.authenticator.authenticate(certificate, bearer.as_deref())?;
    Ok(user.unwrap_or_else(|| UserInfo {
        name: "system:anonymous".into(),
        groups: vec!["system:unauthenticated".into()],
        ..UserInfo::default()
    }))
}

/// The bearer token, from its header or, as browsers must, from the offered WebSocket protocols.
fn bearer(headers: &http::HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, token) = value.trim().split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let encoded = protocols
        .split(',')
        .find_map(|protocol| protocol.trim().strip_prefix("base64url.bearer.authorization.k8s.io."))?;
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).ok()?;
    String::from_utf8(decoded).ok()
}

/// What a request is to the authorizers.
pub fn attributes(info: &RequestInfo, user: &UserInfo) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: info.verb.clone(),
        api_group: info.group.clone(),
        api_version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        name: info.name.clone(),
        namespace: info.namespace.clone(),
        path: info.path.clone(),
        resource_request: info.is_resource,
    }
}

/// A text as the quoted string of a `Warning` header.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_a_quoted_string() {
        assert_eq!(quoted("unknown field \"spec.x\"\n"), "\"unknown field \\\"spec.x\\\" \"");
    }

    #[test]
    fn a_token_is_read_from_its_header_or_the_websocket_protocol() {
        let mut headers = http::HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        assert_eq!(bearer(&headers).as_deref(), Some("abc"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic abc"));
        assert_eq!(bearer(&headers), None);
        headers.remove(header::AUTHORIZATION);
        let offered = HeaderValue::from_static("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj");
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        assert_eq!(bearer(&headers).as_deref(), Some("abc"));
    }
}
