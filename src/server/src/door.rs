//! The one port of a server: clients of the API and other servers come in here, told apart by the protocol that they offer.

use std::{io, sync::Arc, time::Duration};

use apiserver::ApiServer;
use component_base::{Tasks, accept};
use raft::RaftStore;
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::LazyConfigAcceptor;

use crate::peers::{self, ALPN};

/// How long a client may take to prove itself.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who is behind the door.
pub struct Door {
    pub store: RaftStore,
    /// For clients of the API.
    pub clients: Arc<ServerConfig>,
    /// For other servers.
    pub peers: Arc<ServerConfig>,
    /// The API, once it is ready: servers have to find one another before.
    pub api: watch::Receiver<Option<ApiServer>>,
    pub tasks: Tasks,
}

impl Door {
    /// Accepts connections until the server stops.
    pub async fn open(self, listener: TcpListener) {
        let door = Arc::new(self);
        let stopping = door.tasks.stopping();
        let entered = |stream, from| {
            let entering = door.clone();
            door.tasks.spawn_graceful("connection", async move {
                if let Err(error) = entering.enter(stream).await {
                    tracing::debug!(%from, %error, "a connection ended");
                }
            });
        };
        tokio::select! {
            () = accept(listener, entered) => {}
            () = stopping.cancelled() => {}
        }
    }

    async fn enter(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let stopping = self.tasks.stopping();
        let handshake = async {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let is_server = hello.client_hello().alpn().is_some_and(|mut offers| offers.any(|offer| offer == ALPN));
            let config = if is_server { &self.peers } else { &self.clients };
            Ok::<_, io::Error>((is_server, hello.into_stream(config.clone()).await?))
        };
        let (is_server, stream) = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, handshake) => shaken??,
            () = stopping.cancelled() => return Ok(()),
        };
        if !is_server {
            let mut api = self.api.clone();
            let ready = tokio::select! {
                ready = api.wait_for(Option::is_some) => ready.map_err(io::Error::other)?.clone(),
                () = stopping.cancelled() => return Ok(()),
            };
            // It was waited for.
            let Some(api) = ready else { return Ok(()) };
            return api.serve_connection(stream).await;
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(from) = certificate.and_then(|certificate| peers::number(certificate)) else {
            return Err(io::Error::other("a server's certificate does not say which server it is"));
        };
        tokio::select! {
            served = self.store.serve_peer(stream, from) => served.map_err(io::Error::other),
            () = stopping.cancelled() => Ok(()),
        }
    }
}
