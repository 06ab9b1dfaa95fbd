//! The runtime itself: one engine, two tokio runtimes, all containers.
//!
//! Guests run on threads of their own at low priority, so that whatever they compute delays neither the kubelet nor
//! the proxy. Servers and commands have different ones, with different priority: a command in a busy loop takes what
//! the servers leave.

use std::{io, net::SocketAddr, sync::Arc};

use component_base::{SharedClock, SharedEntropy};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Semaphore,
};
use wasmtime::Engine;

use crate::{
    container::{Container, ContainerSpec},
    engine,
    guest::Environment,
    limits::MemoryBudget,
    loader::{LoadError, Loader},
    logs::CriLog,
    meter::Meter,
    mounts::{Mount, MountError, Preopen, host_path},
    names::Resolver,
    outbound::Outbound,
    ticker::Activity,
};

const NICE_SERVERS: i32 = 5;
const NICE_COMMANDS: i32 = 10;
const CLUSTER_AUTHORITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// What the runtime is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// What time it is.
    pub clock: SharedClock,
    /// For identifiers of lookups.
    pub entropy: SharedEntropy,
    /// How many guests at once; `None` is as many as the host's settings allow.
    pub guests_max: Option<u32>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not start.
    #[error("start the WebAssembly engine: {0}")]
    Engine(String),
    /// A thread does not start.
    #[error("start a thread: {0}")]
    Thread(io::Error),
    /// The program cannot be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The container's files cannot be had.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Its log cannot be written.
    #[error("open log {path}: {source}")]
    Log {
        /// The log.
        path: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Its address is taken, or not to be had.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// All slots are taken.
    #[error("all {guests} slots for WebAssembly instances of this node are in use")]
    NoSlot {
        /// How many there are.
        guests: u32,
    },
    /// It runs or ran already.
    #[error("the container was started before")]
    AlreadyStarted,
}

/// Runs WebAssembly containers; see the crate's head.
#[derive(Debug)]
pub struct WasmRuntime {
    shared: Arc<Shared>,
    /// Held to the end; dropped without waiting, since guests may compute for ever.
    runtimes: [Option<Runtime>; 2],
}

/// What containers need of their runtime.
pub(crate) struct Shared {
    pub config: Config,
    pub engine: Engine,
    pub loader: Loader,
    pub guests: u32,
    pub slots: Arc<Semaphore>,
    pub servers: Handle,
    pub commands: Handle,
    activity: Arc<Activity>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("guests", &self.guests).finish_non_exhaustive()
    }
}

impl WasmRuntime {
    /// Starts the engine and its threads.
    ///
    /// # Errors
    /// When the host gives no memory maps or threads.
    pub fn new(config: Config) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        let wanted = config.guests_max.unwrap_or_else(engine::guests_max);
        let (engine, guests) = engine::pooled(wanted).map_err(failed)?;
        let loader = Loader::new(&engine).map_err(failed)?;
        let activity = Activity::start(&engine).map_err(RuntimeError::Thread)?;
        let servers = low_priority_runtime("guest-server", NICE_SERVERS).map_err(RuntimeError::Thread)?;
        let commands = low_priority_runtime("guest-command", NICE_COMMANDS).map_err(RuntimeError::Thread)?;
        let shared = Arc::new(Shared {
            config,
            engine,
            loader,
            guests,
            slots: Arc::new(Semaphore::new(guests as usize)),
            servers: servers.handle().clone(),
            commands: commands.handle().clone(),
            activity,
        });
        Ok(Self { shared, runtimes: [Some(servers), Some(commands)] })
    }

    /// Makes a container: its program is loaded and linked, its files prepared, its log opened.
    ///
    /// # Errors
    /// When one of these fails.
    pub fn create(&self, spec: ContainerSpec) -> Result<Container, RuntimeError> {
        Container::new(self.shared.clone(), spec)
    }

    /// How many guests can be alive at once.
    pub fn guests_max(&self) -> u32 {
        self.shared.guests
    }
}

impl Drop for WasmRuntime {
    fn drop(&mut self) {
        for runtime in self.runtimes.iter_mut().filter_map(Option::take) {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    pub fn environment(&self, spec: ContainerSpec, preopens: Vec<Preopen>) -> Result<Environment, RuntimeError> {
        let log = CriLog::open(spec.log_path.as_deref(), self.config.clock.clone()).map_err(|source| {
            let path = spec.log_path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
            RuntimeError::Log { path, source }
        })?;
        let hosts = spec.mounts.iter().find(|mount| mount.container == "/etc/hosts").map(|mount| mount.host.clone());
        let resolver = Arc::new(Resolver::new(spec.dns, hosts.as_deref(), self.config.entropy.clone()));
        let authority = cluster_authority(&spec.mounts);
        let meter = Meter::new(self.activity.clone());
        meter.set_quota(spec.limits.bucket());
        Ok(Environment {
            args: spec.args,
            env: spec.env,
            working_dir: spec.working_dir,
            preopens,
            pod_ip: spec.pod_ip,
            outbound: Arc::new(Outbound::new(spec.pod_ip, resolver.clone(), authority)),
            resolver,
            log: Arc::new(log),
            budget: Arc::new(MemoryBudget::new(spec.limits.memory_bytes)),
            meter: Arc::new(meter),
        })
    }
}

/// The host's path of the cluster's authority, if the container mounts it.
fn cluster_authority(mounts: &[Mount]) -> Option<std::path::PathBuf> {
    let mounts: Vec<Preopen> = mounts
        .iter()
        .map(|mount| Preopen { host: mount.host.clone(), guest: mount.container.clone(), read_only: true })
        .collect();
    host_path(CLUSTER_AUTHORITY, &mounts)
}

/// A tokio runtime whose threads give way to everybody else's.
fn low_priority_runtime(name: &str, nice: i32) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name(name)
        .enable_all()
        // Guests that compute fill the queue with slices of a millisecond: look for input after each.
        .event_interval(1)
        .global_queue_interval(1)
        .on_thread_start(move || {
            // On Linux this is the thread's own; without it guests are merely less polite.
            let _ = rustix::process::setpriority_process(None, nice);
        })
        .build()
}
