//! Connections: TLS with client certificates, HTTP/2.

use std::{io, sync::Arc, time::Duration};

use component_base::Tasks;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

use crate::{
    Door,
    pb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
        maintenance_server::MaintenanceServer, watch_server::WatchServer,
    },
};

/// How long a client may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// The largest message that is read: the largest request and half a mebibyte, as in etcd.
const MAX_MESSAGE_BYTES: usize = storage::MAX_REQUEST_BYTES + (512 << 10);
/// How many requests a connection may have under way: clients put all of a process's watches on one.
const STREAMS_MAX: u32 = 100_000;

/// What is wrong with certificates that were given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text is not what it should be.
    #[error("the {what} cannot be read")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate or key cannot be used.
    #[error("the serving certificate cannot be used")]
    Certificate(#[from] rustls::Error),
    /// The client authority cannot be used.
    #[error("the client authority cannot be used")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// How the server identifies itself, and whose client certificates let in: without one nobody comes in. All PEM.
///
/// # Errors
/// When one of the three cannot be used.
pub fn server_config(certificates: &str, key: &str, client_authority: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |what: &'static str| move |source| TlsError::Pem { what, source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(pem("serving certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("serving key"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(client_authority.as_bytes()) {
        roots.add(certificate.map_err(pem("client authority"))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `door` to whoever connects, until `tasks` are told to stop.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, door: Door, tasks: Tasks) {
    let (acceptor, routes, stopping) = (TlsAcceptor::from(tls), routes(&door), tasks.stopping());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = connection(stream, acceptor.clone(), routes.clone(), tasks.clone());
                tasks.spawn_graceful("etcd-connection", async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Usually too many open files: wait for connections to end rather than spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn routes(door: &Door) -> Routes {
    Routes::new(KvServer::new(door.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(WatchServer::new(door.clone()))
        .add_service(LeaseServer::new(door.clone()))
        .add_service(ClusterServer::new(door.clone()))
        .add_service(MaintenanceServer::new(door.clone()))
        .add_service(AuthServer::new(door.clone()))
        .prepare()
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, routes: Routes, tasks: Tasks) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stopping = tasks.stopping();
    let stream = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => accepted??,
        () = stopping.cancelled() => return Ok(()),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder.http2().max_concurrent_streams(STREAMS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    ended.map_err(io::Error::other)
}
