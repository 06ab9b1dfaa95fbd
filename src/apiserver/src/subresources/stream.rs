//! `pods/exec`, `attach` and `portforward`: streams between a client and a container, through the kubelet of its node.
//!
//! The client's upgrade request is sent on to the kubelet; when the kubelet agrees, its answer goes back and from then on
//! bytes are copied both ways. What protocol they are in (WebSocket, SPDY) is between the two ends.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{kubelet, log};
use crate::{
    core::Core,
    endpoints::{Answer, Context},
    fail, keys,
    query::{self, Query},
    resources::Resource,
};

/// Headers of the upgrade that the kubelet has to see.
const HEADERS: &[header::HeaderName] = &[
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::USER_AGENT,
    header::ORIGIN,
];

/// The header in which SPDY clients offer stream protocols.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Connects a client with a container.
pub async fn stream(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    mut request: Request<Body>,
) -> Answer {
    let info = &context.info;
    core.cacher.fresh().await?;
    let entry = resource.cache(&core.cacher).get(&keys::object(&info.namespace, &info.name));
    let pod = entry.ok_or_else(|| Box::new(fail::not_found("", "pods", &info.name)))?.object();
    let upgrade = request.headers().get(header::UPGRADE).is_some();
    if !upgrade {
        return Err(fail::bad_request("you must provide at least 1 stream: an upgrade request is required").into());
    }
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let node = text("/spec/nodeName");
    if node.is_empty() {
        return Err(fail::bad_request(format!("pod {} does not have a host assigned", info.name)).into());
    }
    if matches!(text("/status/phase"), "Succeeded" | "Failed") && info.subresource != "portforward" {
        let why = format!(
            "cannot {} a container in a completed pod; current phase is {}",
            info.subresource,
            text("/status/phase")
        );
        return Err(fail::internal(why).into());
    }
    let path = path(context, &pod)?;
    let location = kubelet::locate(core, node)?;
    let mut outgoing = kubelet::request(request.method().clone(), &path)?;
    *outgoing.headers_mut() = upgrade_headers(request.headers());
    let incoming = hyper::upgrade::on(&mut request);
    let mut answer = core.kubelets.send(&location, outgoing).await?;
    if !kubelet::switches(&answer) {
        let status = answer.status();
        let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.map(http_body_util::Collected::to_bytes);
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).trim().to_owned();
        return Err(match status {
            StatusCode::BAD_REQUEST => fail::bad_request(text).into(),
            StatusCode::NOT_FOUND => fail::status(404, "NotFound", text, None).into(),
            StatusCode::NOT_IMPLEMENTED => fail::status(501, "NotImplemented", text, None).into(),
            _ => fail::internal(text).into(),
        });
    }
    join(incoming, hyper::upgrade::on(&mut answer));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT, header::SEC_WEBSOCKET_PROTOCOL];
    for name in answered.into_iter().chain([header::HeaderName::from_static(STREAM_PROTOCOL)]) {
        for value in answer.headers().get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    Ok(response)
}

/// Copies both ways between two connections once both are upgraded.
pub fn join(client: OnUpgrade, server: OnUpgrade) {
    tokio::spawn(async move {
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a stream was not upgraded");
                return;
            }
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
            tracing::debug!(%error, "a stream ended");
        }
    });
}

fn upgrade_headers(given: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in HEADERS.iter().cloned().chain([header::HeaderName::from_static(STREAM_PROTOCOL)]) {
        for value in given.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Where the kubelet serves it.
fn path(context: &Context, pod: &Value) -> Result<String, crate::endpoints::Failure> {
    let info = &context.info;
    let query = Query::of(&context.uri);
    let mut parameters: Vec<(&str, &str)> = Vec::new();
    let place = match info.subresource.as_str() {
        "portforward" => {
            parameters.extend(query.all("ports").into_iter().map(|port| ("port", port)));
            format!("/portForward/{}/{}", info.namespace, info.name)
        }
        kind => {
            let container = log::container(pod, query.text("container"), &info.name)?;
            for (option, parameter) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
                if query.flag(option) {
                    parameters.push((parameter, "1"));
                }
            }
            if kind == "exec" {
                let command = query.all("command");
                if command.is_empty() {
                    return Err(fail::bad_request("you must specify at least 1 command for the container").into());
                }
                parameters.extend(command.into_iter().map(|word| ("command", word)));
            }
            format!("/{kind}/{}/{}/{container}", info.namespace, info.name)
        }
    };
    let parameters: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", query::encode(value))).collect();
    Ok(if parameters.is_empty() { place } else { format!("{place}?{}", parameters.join("&")) })
}
