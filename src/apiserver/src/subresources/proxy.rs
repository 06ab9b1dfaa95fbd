//! `proxy` of nodes, pods and Services: a request to the API server becomes one to what runs in the cluster.
//!
//! The name may say more than a name: `SCHEME:NAME:PORT`, `NAME:PORT` or `NAME`.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Request, Response, Uri, header, uri::PathAndQuery};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    kubelet::{self, Location},
    stream,
};
use crate::{
    cacher::Scope,
    core::Core,
    endpoints::{Answer, Context, Failure},
    fail, keys,
    resources::Resource,
};

/// Headers that are about one connection, and those that would tell a stranger who asks.
const DROPPED: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// What a proxied name says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target<'n> {
    scheme: &'n str,
    name: &'n str,
    port: &'n str,
}

impl<'n> Target<'n> {
    fn parse(text: &'n str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        (matches!(scheme, "" | "http" | "https") && !name.is_empty()).then_some(Self { scheme, name, port })
    }
}

/// Sends the request on and its answer back.
pub async fn proxy(core: &Arc<Core>, context: &Context, resource: &Resource, mut request: Request<Body>) -> Answer {
    let info = &context.info;
    let target = Target::parse(&info.name)
        .ok_or_else(|| Box::new(fail::bad_request(format!("invalid {} request {:?}", resource.singular, info.name))))?;
    core.cacher.fresh().await?;
    let uri = path(context)?;
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let client = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = if upgrade { parts.headers } else { forwarded(&parts.headers) };
    let mut answer = match resource.name.as_str() {
        "nodes" => {
            let mut location = kubelet::locate(core, target.name)?;
            let own = location.port.to_string();
            if target.scheme != "http" && (target.port.is_empty() || target.port == own) {
                core.kubelets.send(&location, outgoing).await?
            } else {
                if !target.port.is_empty() {
                    location.port = number(target.port)?;
                }
                send(&target, &location.host, location.port, outgoing).await?
            }
        }
        "pods" => {
            let (host, port) = pod(core, context, &target)?;
            send(&target, &host, port, outgoing).await?
        }
        _ => {
            let (host, port) = backend(core, &context.info.namespace, target.name, target.port)?;
            send(&target, &host, port, outgoing).await?
        }
    };
    if let Some(client) = client.filter(|_| kubelet::switches(&answer)) {
        stream::join(client, hyper::upgrade::on(&mut answer));
        let (parts, _) = answer.into_parts();
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    let (mut parts, body) = answer.into_parts();
    for name in DROPPED {
        parts.headers.remove(*name);
    }
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// What follows `proxy` in the path, with the query.
fn path(context: &Context) -> Result<Uri, Failure> {
    let whole = context.uri.path();
    let rest = whole.split_once("/proxy").map_or("", |(_, rest)| rest);
    let rest = if rest.is_empty() { "/" } else { rest };
    let text = context.uri.query().map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
    let path = PathAndQuery::try_from(text).map_err(|error| Box::new(fail::bad_request(error.to_string())))?;
    Ok(Uri::from(path))
}

fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in DROPPED {
        headers.remove(*name);
    }
    headers
}

fn number(port: &str) -> Result<u16, Failure> {
    port.parse().map_err(|_| Box::new(fail::bad_request(format!("invalid port {port:?}"))))
}

fn pod(core: &Core, context: &Context, target: &Target<'_>) -> Result<(String, u16), Failure> {
    let pods = core.cacher.resource("", "pods");
    let entry = pods.and_then(|pods| pods.get(&keys::object(&context.info.namespace, target.name)));
    let pod = entry.ok_or_else(|| Box::new(fail::not_found("", "pods", target.name)))?.object();
    let address = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
    if address.is_empty() {
        return Err(fail::bad_request("address not allowed").into());
    }
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let ports = || containers.clone().flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let named = |name: &str| ports().find(|port| port["name"] == name).and_then(|port| port["containerPort"].as_u64());
    let port = match target.port {
        "" => ports().find_map(|port| port["containerPort"].as_u64()).and_then(|port| u16::try_from(port).ok()),
        text => match named(text) {
            Some(port) => u16::try_from(port).ok(),
            None => Some(number(text)?),
        },
    };
    Ok((address.to_owned(), port.unwrap_or(80)))
}

/// A ready endpoint of a Service's port (by name or number, or the only one), chosen at random.
///
/// # Errors
/// 404 and 503 when there is no such Service, port or endpoint.
pub fn backend(core: &Core, namespace: &str, name: &str, wanted: &str) -> Result<(String, u16), Failure> {
    let services = core.cacher.resource("", "services");
    let entry = services.and_then(|services| services.get(&keys::object(namespace, name)));
    let service = entry.ok_or_else(|| Box::new(fail::not_found("", "services", name)))?.object();
    let ports: Vec<&Value> = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten().collect();
    let is_it = |port: &&&Value| match wanted {
        "" => ports.len() == 1,
        text => port["name"] == text || port["port"].as_u64().is_some_and(|number| number.to_string() == text),
    };
    let port = ports.iter().find(is_it).ok_or_else(|| {
        let why = format!("no service port {:?} found for service {:?}", wanted, name);
        Box::new(fail::unavailable(why))
    })?;
    let port_name = port["name"].as_str().unwrap_or_default();
    let slices = core.cacher.resource("discovery.k8s.io", "endpointslices");
    let slices = slices.map(|slices| slices.list(&Scope::Namespace(namespace.to_owned()), None, |_| true).0);
    let mut backends = Vec::new();
    for slice in slices.unwrap_or_default() {
        if slice.labels.get("kubernetes.io/service-name").map(String::as_str) != Some(name) {
            continue;
        }
        let slice = slice.object();
        let list = |field: &str| slice[field].as_array().cloned().unwrap_or_default();
        let number = list("ports")
            .iter()
            .find(|port| port["name"].as_str().unwrap_or_default() == port_name)
            .and_then(|port| port["port"].as_u64())
            .and_then(|port| u16::try_from(port).ok());
        let ready = list("endpoints").into_iter().filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let addresses = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned));
        backends.extend(addresses.zip(std::iter::repeat(number)).filter_map(|(host, port)| Some((host, port?))));
    }
    let mut byte = [0; 2];
    core.entropy.fill(&mut byte);
    let count = backends.len();
    let chosen = (count > 0).then(|| backends.swap_remove(usize::from(u16::from_be_bytes(byte)) % count));
    chosen.ok_or_else(|| Box::new(fail::unavailable(format!("no endpoints available for service {:?}", name))))
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Sends a request over a connection of its own.
async fn send(
    target: &Target<'_>,
    host: &str,
    port: u16,
    mut request: Request<Body>,
) -> Result<Response<hyper::body::Incoming>, Failure> {
    let unreachable = |why: String| -> Failure {
        Box::new(fail::unavailable(format!("error trying to reach service: dial tcp {host}:{port}: {why}")))
    };
    let location = Location { node: String::new(), host: host.to_owned(), port };
    let tcp = TcpStream::connect((location.host.as_str(), location.port))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let stream: Box<dyn Stream> = if target.scheme == "https" {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| unreachable(error.to_string()))?;
        let tls = TlsConnector::from(Arc::new(component_base::tls::unverified()));
        Box::new(tls.connect(name, tcp).await.map_err(|error| unreachable(error.to_string()))?)
    } else {
        Box::new(tcp)
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    if let Ok(host) = format!("{host}:{port}").parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxied_name_may_carry_a_scheme_and_a_port() {
        let target = |scheme, name, port| Some(Target { scheme, name, port });
        for (text, want) in [
            ("web", target("", "web", "")),
            ("web:80", target("", "web", "80")),
            ("https:web:", target("https", "web", "")),
            ("http:web:http", target("http", "web", "http")),
            ("ftp:web:80", None),
            ("a:b:c:d", None),
            (":80", None),
        ] {
            assert_eq!(Target::parse(text), want, "{text}");
        }
    }
}
