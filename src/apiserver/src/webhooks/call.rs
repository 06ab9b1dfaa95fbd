//! Asking a webhook: HTTPS to a URL or to a Service, with the authority that its configuration names.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use base64::Engine;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{core::Core, endpoints::body::LIMIT, subresources::backend};

/// Where a webhook is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Whom its certificate is for.
    name: String,
    host: String,
    port: u16,
    path: String,
    /// How messages name it.
    url: String,
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn locate(core: &Core, config: &Value) -> Result<Place, String> {
    let url = text(config, "/url");
    if !url.is_empty() {
        let uri: http::Uri = url.parse().map_err(|error| format!("invalid url {url:?}: {error}"))?;
        let host = uri.host().ok_or_else(|| format!("url {url:?} names no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        return Ok(Place {
            name: host.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(443),
            path: path.to_owned(),
            url: url.to_owned(),
        });
    }
    let (namespace, name) = (text(config, "/service/namespace"), text(config, "/service/name"));
    let port = config.pointer("/service/port").and_then(Value::as_u64).unwrap_or(443);
    let path = match text(config, "/service/path") {
        "" => "/",
        given => given,
    };
    let dns = format!("{name}.{namespace}.svc");
    let url = format!("https://{dns}:{port}{path}");
    let (host, to) = backend(core, namespace, name, &port.to_string())
        .map_err(|status| format!("failed to call webhook: Post {url:?}: {}", status.message))?;
    Ok(Place { name: dns, host, port: to, path: path.to_owned(), url })
}

fn trusted(config: &Value) -> Result<ClientConfig, String> {
    let bundle = text(config, "/caBundle");
    if bundle.is_empty() {
        return Err(
            "its configuration has no caBundle, and this server trusts no authority besides: set clientConfig.caBundle"
                .into(),
        );
    }
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle).map_err(|error| format!("caBundle: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("caBundle: {error}"))?;
        roots.add(certificate).map_err(|error| format!("caBundle: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The webhook's answer to `review`.
///
/// # Errors
/// Why there is none.
pub async fn call(core: &Core, webhook: &Value, review: &Value) -> Result<Value, String> {
    let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
    let place = locate(core, config)?;
    let seconds = webhook.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(10);
    let failed = |why: String| format!("failed to call webhook: Post \"{}?timeout={seconds}s\": {why}", place.url);
    let answer = tokio::time::timeout(Duration::from_secs(seconds), post(&place, config, seconds, review));
    match answer.await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed("context deadline exceeded".to_owned())),
    }
}

async fn post(place: &Place, config: &Value, seconds: u64, review: &Value) -> Result<Value, String> {
    let tls = TlsConnector::from(Arc::new(trusted(config)?));
    let dial = |error: std::io::Error| format!("dial tcp {}:{}: {error}", place.host, place.port);
    let tcp = TcpStream::connect((place.host.as_str(), place.port)).await.map_err(dial)?;
    let name = ServerName::try_from(place.name.clone()).map_err(|error| error.to_string())?;
    let stream = tls.connect(name, tcp).await.map_err(|error| format!("tls: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a webhook ended");
        }
    });
    let separator = if place.path.contains('?') { '&' } else { '?' };
    let request = Request::post(format!("{}{separator}timeout={seconds}s", place.path))
        .header(header::HOST, &place.name)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Body::from(review.to_string()))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LIMIT).collect().await.map_err(|error| error.to_string())?.to_bytes();
    if !status.is_success() {
        return Err(format!("the server answered {status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer is no JSON: {error}"))
}
