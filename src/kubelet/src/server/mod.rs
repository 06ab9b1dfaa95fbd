//! The kubelet's HTTPS API: what the API server asks for logs, and operators for figures.
//!
//! Whoever connects shows a client certificate of the cluster's authority, and only administrators and the API
//! server's own client are let in.

mod handlers;
mod stats;
mod tls;

use std::sync::Arc;

use axum::Router;
use component_base::accept;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use handlers::Api;
pub use tls::{ServingCertificate, TlsError, acceptor};

/// A handshake that takes longer is given up.
const HANDSHAKE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Serves for ever.
pub async fn serve(listener: TcpListener, acceptor: TlsAcceptor, api: Arc<Api>) {
    let router = handlers::router(api);
    accept(listener, |stream, peer| {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, acceptor, router).await {
                tracing::debug!(%error, %peer, "a connection failed");
            }
        });
    })
    .await;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(stream: tokio::net::TcpStream, acceptor: TlsAcceptor, router: Router) -> Result<(), BoxError> {
    // A log line is worth sending at once.
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await??;
    let caller = tls::caller(&stream);
    let router = router.layer(axum::Extension(caller));
    auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}
