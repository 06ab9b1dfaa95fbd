//! Serving over TLS: HTTP/1.1 and HTTP/2, a client certificate where the client has one.

use std::{io, sync::Arc, time::Duration};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
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

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key that is no PEM.
    #[error("the {what} is not valid PEM: {message}")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// Certificates and keys that do not go together.
    #[error("the serving certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// An authority for clients that cannot be used.
    #[error("the client authority cannot be used: {0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// How the server identifies itself, and whose client certificates it believes.
///
/// # Errors
/// When one of the three cannot be used.
pub fn server_config(certificates: &str, key: &str, client_authority: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |what: &'static str| {
        move |error: rustls::pki_types::pem::Error| TlsError::Pem { what, message: error.to_string() }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(pem("serving certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("serving key"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(client_authority.as_bytes()) {
        roots.add(certificate.map_err(pem("client authority"))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The first certificate of a PEM text, in DER.
///
/// # Errors
/// When there is none.
pub fn authority_der(pem: &str) -> Result<Vec<u8>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map(|certificate| certificate.as_ref().to_vec())
        .map_err(|error| TlsError::Pem { what: "authority", message: error.to_string() })
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
