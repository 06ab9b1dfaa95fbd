//! The way to the kubelets: HTTPS with a client certificate, one connection a request, upgraded where the client wants it.

use std::sync::Arc;

use apimachinery::status::Status;
use axum::body::Body;
use http::{Request, Response, StatusCode, Uri, Version, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{core::Core, fail, keys};

/// The port of a kubelet that does not say.
const PORT: u16 = 10250;

/// Opens connections to kubelets.
#[derive(Clone)]
pub struct KubeletClient {
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for KubeletClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KubeletClient").field("tls", &self.tls.is_some()).finish()
    }
}

/// Where a pod's kubelet listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The node's name.
    pub node: String,
    /// Its address.
    pub host: String,
    /// Its kubelet's port.
    pub port: u16,
}

impl KubeletClient {
    /// A client that identifies itself as `tls` says; without one no kubelet is reached.
    pub fn new(tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { tls: tls.map(TlsConnector::from) }
    }

    /// Sends `request`, whose URI is a path, and gives back the answer; an upgrade, if the kubelet agrees to it, is left in
    /// the answer's extensions.
    ///
    /// # Errors
    /// 502 and 503 when the kubelet is not reached.
    pub async fn send(
        &self,
        location: &Location,
        mut request: Request<Body>,
    ) -> Result<Response<hyper::body::Incoming>, Box<Status>> {
        let unreachable = |why: String| -> Box<Status> {
            let message = format!(
                "error trying to reach the kubelet of node {:?} at {}:{}: {why}",
                location.node, location.host, location.port
            );
            Box::new(fail::status(502, "BadGateway", message, None))
        };
        let Some(tls) = &self.tls else {
            return Err(fail::unavailable("this API server has no certificate to show to kubelets").into());
        };
        let tcp = TcpStream::connect((location.host.as_str(), location.port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(location.host.clone()).map_err(|error| unreachable(error.to_string()))?;
        let stream = tls.connect(name, tcp).await.map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a kubelet ended");
            }
        });
        *request.version_mut() = Version::HTTP_11;
        if let Ok(host) = format!("{}:{}", location.host, location.port).parse() {
            request.headers_mut().insert(header::HOST, host);
        }
        sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))
    }
}

/// Where the kubelet of a pod's node listens, as its Node says.
///
/// # Errors
/// 404 and 500 when there is no such node or it has no address.
pub fn locate(core: &Core, node: &str) -> Result<Location, Box<Status>> {
    let entry = core.cacher.resource("", "nodes").and_then(|nodes| nodes.get(&keys::object("", node)));
    let object = entry.ok_or_else(|| Box::new(fail::not_found("", "nodes", node)))?.object();
    let addresses = object.pointer("/status/addresses").and_then(Value::as_array);
    let address = |kind: &str| {
        addresses
            .into_iter()
            .flatten()
            .find(|address| address["type"] == kind)
            .and_then(|address| address["address"].as_str())
    };
    let host = ["InternalIP", "Hostname", "ExternalIP"].into_iter().find_map(address);
    let host = host.ok_or_else(|| {
        Box::new(fail::internal(format!("no preferred addresses found; known addresses of node {node:?}: []")))
    })?;
    let port = object.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(PORT);
    Ok(Location { node: node.to_owned(), host: host.to_owned(), port })
}

/// A request to a kubelet for `path_and_query`.
///
/// # Errors
/// 400 when the path is none.
pub fn request(method: http::Method, path_and_query: &str) -> Result<Request<Body>, Box<Status>> {
    let uri: Uri =
        path_and_query.parse().map_err(|error| Box::new(fail::bad_request(format!("invalid path: {error}"))))?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    Ok(request)
}

/// Whether an answer switches protocols.
pub fn switches(response: &Response<hyper::body::Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}
