//! Connections: TLS with client certificates, HTTP/2.

use std::{io, sync::Arc, time::Duration};

use component_base::{
    Tasks, accept,
    tls::{self, ServingError, Strangers},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
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

/// How the server identifies itself, and whose client certificates let in: without one nobody comes in. All PEM.
///
/// # Errors
/// When one of the three cannot be used.
pub fn server_config(certificates: &str, key: &str, client_authority: &str) -> Result<Arc<ServerConfig>, ServingError> {
    tls::server_config(certificates, key, client_authority, Strangers::StayOut, &[b"h2"])
}

/// Serves `door` to whoever connects, until `tasks` are told to stop.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, door: Door, tasks: Tasks) {
    let (acceptor, routes, stopping) = (TlsAcceptor::from(tls), routes(&door), tasks.stopping());
    let entered = |stream, from| {
        let served = connection(stream, acceptor.clone(), routes.clone(), tasks.clone());
        tasks.spawn_graceful("etcd-connection", async move {
            if let Err(error) = served.await {
                tracing::debug!(%from, %error, "a connection ended");
            }
        });
    };
    tokio::select! {
        () = accept(listener, entered) => {}
        () = stopping.cancelled() => {}
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
