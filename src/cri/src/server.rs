//! The runtime's side of the CRI socket.

use std::{future::Future, os::unix::net::UnixListener as StdListener, path::Path};

use rustix::net::SocketType;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::{
    SocketError, socket,
    v1::{
        image_service_server::{ImageService, ImageServiceServer},
        runtime_service_server::{RuntimeService, RuntimeServiceServer},
    },
};

/// As on the client's side: lists of ten thousand containers fit.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// A kubelet has a worker a pod, and all of them share one connection.
const CALLS_AT_ONCE_MAX: u32 = 16_384;

/// Why the CRI socket is not served (any more).
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The server ended.
    #[error("serve CRI: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Opens the CRI socket at `path`, for its owner only. From now on connections queue.
///
/// # Errors
/// When another process answers there, or the operating system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let listener = StdListener::from(socket::listen(path, SocketType::STREAM)?);
    let register = |source| SocketError::Io { action: "register", path: path.to_owned(), source };
    Ok(UnixListener::from_std(listener).map_err(register)?)
}

/// Serves both services at `path` until `stop` resolves and the calls under way have ended.
///
/// # Errors
/// When the socket cannot be opened or the server fails.
pub async fn serve<R: RuntimeService, I: ImageService>(
    path: &Path,
    runtime: R,
    images: I,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_on(bind(path)?, runtime, images, stop).await
}

/// As [`serve`], on a socket that is open already.
///
/// # Errors
/// When the server fails.
pub async fn serve_on<R: RuntimeService, I: ImageService>(
    listener: UnixListener,
    runtime: R,
    images: I,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let runtime = RuntimeServiceServer::new(runtime)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let images = ImageServiceServer::new(images)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Server::builder()
        .max_concurrent_streams(CALLS_AT_ONCE_MAX)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(runtime)
        .add_service(images)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
        .await?;
    Ok(())
}
