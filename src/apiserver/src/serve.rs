//! Serving over TLS: HTTP/1.1 and HTTP/2, a client certificate where the client has one.

use std::{io, sync::Arc, time::Duration};

use axum::body::Body;
use component_base::tls::{self, ServingError, Strangers};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::{
    chain::{self, PeerCertificate},
    core::Core,
};

/// How long requests that run may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Requests and watches of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 1000;

/// How the server identifies itself, and whose client certificates it believes; who shows none may have a token. All PEM.
///
/// # Errors
/// When one of the three cannot be used.
pub fn server_config(certificates: &str, key: &str, client_authority: &str) -> Result<Arc<ServerConfig>, ServingError> {
    tls::server_config(certificates, key, client_authority, Strangers::Enter, &[b"h2", b"http/1.1"])
}

/// Serves one connection until it or the server ends.
pub(crate) async fn connection(core: Arc<Core>, stream: TlsStream<TcpStream>) -> io::Result<()> {
    let stopping = core.tasks.stopping();
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.map(|certificate| PeerCertificate(Arc::from(certificate.as_ref())));
    let service = service_fn(move |request: Request<Incoming>| {
        let core = core.clone();
        let mut request = request.map(Body::new);
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        async move { Ok::<_, std::convert::Infallible>(chain::handle(core, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // As Go writes them: some clients look for headers by their exact letters.
    builder.http1().title_case_headers(true);
    builder.http2().max_concurrent_streams(STREAMS_MAX);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            }
        }
    };
    ended.map_err(io::Error::other)
}
