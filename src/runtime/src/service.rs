//! The runtime as a whole: opened, served, ended.

use std::{fs::File, future::Future, io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use component_base::{SharedClock, SharedEntropy};
use cri::{SocketError, handoff::HandoffListener, server::ServeError};
use images::{Compiler, ImageError, Registries, Store};
use runtime_wasm::WasmRuntime;
use tokio::net::UnixListener;

use crate::{
    cri_images::CriImages,
    cri_runtime::CriRuntime,
    format::{FolderError, take},
    pods::{Parts, Pods, PodsError},
};

/// What requests under way have when the runtime is told to end.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What a runtime is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its folder.
    pub root: PathBuf,
    /// Its CRI socket.
    pub socket: PathBuf,
    /// Where accepted connections are handed over; `None` for nowhere.
    pub handoff_socket: Option<PathBuf>,
    /// The pods' addresses (`127.64.0.0/18`) until the kubelet tells another range.
    pub pod_cidr: Option<String>,
    /// How registries are spoken to.
    pub registries: Registries,
    /// Who compiles.
    pub compiler: Compiler,
    /// A registry that sends nothing for so long is given up on; `None` for the usual time.
    pub registry_silence_max: Option<Duration>,
    /// The most guests at once; `None` for what the host allows.
    pub guests_max: Option<u32>,
    /// What time it is.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

/// Why there is no runtime (any more).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its images cannot be.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] runtime_wasm::RuntimeError),
    /// What an earlier process left cannot be taken over.
    #[error(transparent)]
    Pods(#[from] PodsError),
    /// A socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The CRI server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The hand-over socket failed.
    #[error("take over connections: {0}")]
    Handoff(io::Error),
}

/// A runtime that is open: connections to its sockets queue.
pub struct Runtime {
    pods: Arc<Pods>,
    registries: Arc<Registries>,
    listener: UnixListener,
    handoff: Option<HandoffListener>,
    _lock: File,
}

impl Runtime {
    /// Takes the folder, finds what an earlier process left there, and opens the sockets.
    ///
    /// # Errors
    /// When any of it cannot be had.
    pub fn open(config: Config) -> Result<Self, Error> {
        let lock = take(&config.root)?;
        let store = images::Config::new(config.root.join("images"), config.compiler, config.clock.clone());
        let silence_max = config.registry_silence_max.unwrap_or(store.silence_max);
        let images = Arc::new(Store::open(images::Config { silence_max, ..store })?);
        let wasm = WasmRuntime::new(runtime_wasm::Config {
            clock: config.clock.clone(),
            entropy: config.entropy.clone(),
            guests_max: config.guests_max,
        })?;
        let pods = Pods::open(Parts {
            root: config.root,
            pod_cidr: config.pod_cidr,
            images,
            wasm,
            clock: config.clock,
            entropy: config.entropy,
        })?;
        let handoff = config.handoff_socket.as_deref().map(HandoffListener::bind).transpose()?;
        let listener = cri::server::bind(&config.socket)?;
        Ok(Self { pods, registries: Arc::new(config.registries), listener, handoff, _lock: lock })
    }

    /// Serves until `stop` resolves; then lets requests under way finish for a moment, and ends all guests.
    ///
    /// # Errors
    /// When a socket fails.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { pods, registries, listener, handoff, _lock } = self;
        let ending = pods.ending.clone();
        let images = CriImages { pods: pods.clone(), registries };
        let cri = cri::server::serve_on(listener, CriRuntime(pods.clone()), images, ending.clone().cancelled_owned());
        let cri = tokio::spawn(cri);
        let handed = {
            let pods = pods.clone();
            async move {
                match handoff {
                    Some(listener) => listener.serve(move |address, fd| take_over(pods.clone(), address, fd)).await,
                    None => std::future::pending().await,
                }
            }
        };
        let outcome = tokio::select! {
            () = stop => Ok(()),
            failed = handed => failed.map_err(Error::Handoff),
        };
        ending.cancel();
        pods.stop_everything(DRAIN_TIME).await;
        // Calls that are still under way would wait for what has ended.
        match tokio::time::timeout(DRAIN_TIME, cri).await {
            Ok(Ok(served)) => served?,
            Ok(Err(error)) => tracing::error!(%error, "the CRI server"),
            Err(_late) => tracing::warn!("calls were under way when the runtime ended"),
        }
        outcome
    }
}

async fn take_over(pods: Arc<Pods>, address: SocketAddr, connection: OwnedFd) -> Result<(), String> {
    pods.serve_connection(address, connection.into())
}
