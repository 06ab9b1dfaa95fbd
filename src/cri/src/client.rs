//! The kubelet's side of the CRI socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::v1::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};

/// A list of ten thousand containers with their annotations is tens of megabytes.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Both CRI services of one runtime. Cloning is cheap, and all clones share one connection.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Sandboxes and containers.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub images: ImageServiceClient<Channel>,
}

/// Clients of the runtime that listens at `path`.
///
/// The connection is made with the first call and made again when it breaks, so that a restarted runtime is found
/// without anyone noticing but the calls that were under way.
pub fn connect(path: impl Into<PathBuf>) -> Clients {
    let path = path.into();
    // The address is never resolved: the connector below ignores it.
    let channel = Endpoint::from_static("http://runtime.invalid")
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .connect_with_connector_lazy(tower::service_fn(move |_: Uri| dial(path.clone())));
    let runtime = RuntimeServiceClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let images = ImageServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Clients { runtime, images }
}

/// Whether something accepts connections at `path`.
pub async fn is_listening(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

async fn dial(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(path).await.map(TokioIo::new)
}
