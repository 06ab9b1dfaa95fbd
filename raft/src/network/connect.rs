//! The seam to the world: how a server reaches another.

use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Server;

/// A connection to another server, both of whose ends know for certain who the other is.
pub trait PeerStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> PeerStream for T {}

/// How a server reaches another. Injected: mutual TLS over TCP in a real server, memory in tests.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// Connects to server `id`, and makes sure that it is that server which answers. May be given up on at any await.
    async fn connect(&self, id: u64, server: &Server) -> io::Result<Box<dyn PeerStream>>;
}

/// The [`Connect`] of a server that is to stay alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

#[async_trait]
impl Connect for NoPeers {
    async fn connect(&self, id: u64, _server: &Server) -> io::Result<Box<dyn PeerStream>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this server was set up to be alone, not to reach server {id}"),
        ))
    }
}
