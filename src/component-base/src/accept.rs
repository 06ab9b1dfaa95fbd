//! Accepting connections.

use std::{net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever, and gives each connection, with where it comes from, to `entered`. Whoever stops drops the future.
pub async fn accept(listener: TcpListener, mut entered: impl FnMut(TcpStream, SocketAddr)) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => entered(stream, from),
            Err(error) => {
                // Usually too many open files: wait for connections to end rather than spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
