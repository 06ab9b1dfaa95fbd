//! One container: from its creation to its exit.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use images::Program;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    command::{EXIT_KILLED, Ended, run_component, run_module},
    guest::Environment,
    http::HttpServer,
    limits::Limits,
    loader::{Kind, Linked},
    meter::Metered,
    mounts::{self, Mount},
    names::DnsConfig,
    service::{RuntimeError, Shared},
};

/// As a process that has no handler for SIGTERM.
const EXIT_TERMINATED: i32 = 143;

/// What a container is made of.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// For logs.
    pub id: String,
    /// Its code.
    pub program: Program,
    /// The image's files, if it has any.
    pub files: Option<PathBuf>,
    /// A folder of the container's own; made when it is needed.
    pub folder: PathBuf,
    /// With `argv[0]`.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Empty for `/`.
    pub working_dir: String,
    /// Directories and files of the host.
    pub mounts: Vec<Mount>,
    /// Whether the guest may write to nothing but mounts.
    pub root_read_only: bool,
    /// What it may use.
    pub limits: Limits,
    /// The pod's address.
    pub pod_ip: IpAddr,
    /// Where an HTTP component is served.
    pub http_port: u16,
    /// How many requests one instance of an HTTP component serves, one after the other. With 1 no request sees what
    /// another left behind; not every guest can serve more.
    pub requests_per_instance: u32,
    /// How names are looked up.
    pub dns: DnsConfig,
    /// Its log file; without one what it writes is dropped.
    pub log_path: Option<PathBuf>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// As of a process.
    pub code: i32,
    /// `Completed`, `Error` or `OOMKilled`.
    pub reason: &'static str,
    /// One line for people; empty when there is nothing to say.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Exit {
    /// The usual reason for an exit code.
    pub fn reason_of(code: i32) -> &'static str {
        if code == 0 { "Completed" } else { "Error" }
    }
}

/// What a container uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Nanoseconds of a core since its start.
    pub cpu_ns: u64,
    /// Bytes of guest memory now.
    pub memory_bytes: u64,
    /// The most it ever had.
    pub memory_peak_bytes: u64,
}

/// A container. Dropping the last handle ends it.
pub struct Container {
    shared: Arc<Shared>,
    id: String,
    http_port: u16,
    requests_per_instance: u32,
    linked: Arc<Linked>,
    environment: Arc<Environment>,
    stop: CancellationToken,
    kill: CancellationToken,
    /// What a killed command ends with; set before `kill`.
    kill_code: Arc<OnceLock<i32>>,
    server: OnceLock<Arc<HttpServer>>,
    started: Mutex<bool>,
    exit: watch::Sender<Option<Exit>>,
}

impl Container {
    pub(crate) fn new(shared: Arc<Shared>, spec: ContainerSpec) -> Result<Self, RuntimeError> {
        let linked = shared.loader.load(&spec.program)?;
        let needs_folder = linked.wants_files || spec.files.is_some();
        let preopens = if needs_folder {
            mounts::prepare(&spec.folder, spec.files.as_deref(), spec.root_read_only, &spec.mounts)?
        } else {
            Vec::new()
        };
        let (id, http_port, requests_per_instance) = (spec.id.clone(), spec.http_port, spec.requests_per_instance);
        let environment = Arc::new(shared.environment(spec, preopens)?);
        Ok(Self {
            shared,
            id,
            http_port,
            requests_per_instance,
            linked,
            environment,
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            kill_code: Arc::default(),
            server: OnceLock::new(),
            started: Mutex::new(false),
            exit: watch::Sender::new(None),
        })
    }

    /// Starts it: a command begins to run, an HTTP component to listen. A second start is an error.
    ///
    /// # Errors
    /// When the address is taken or the node has no slot left.
    pub fn start(&self) -> Result<(), RuntimeError> {
        let mut started = self.started.lock();
        if *started {
            return Err(RuntimeError::AlreadyStarted);
        }
        match &self.linked.kind {
            Kind::Module(program) => {
                let slot = self.slot()?;
                let engine = self.shared.engine.clone();
                self.spawn_command(slot, run_module(engine, program.clone(), self.environment.clone()));
            }
            Kind::Command(program) => {
                let slot = self.slot()?;
                let engine = self.shared.engine.clone();
                self.spawn_command(slot, run_component(engine, program.clone(), self.environment.clone()));
            }
            Kind::Http(program) => {
                let _on_servers = self.shared.servers.enter();
                let address = SocketAddr::new(self.environment.pod_ip, cni::listen_port(self.http_port));
                let listener =
                    HttpServer::listen(address).map_err(|source| RuntimeError::Listen { address, source })?;
                let server = HttpServer::new(
                    self.shared.engine.clone(),
                    program.clone(),
                    self.environment.clone(),
                    self.requests_per_instance,
                    self.shared.slots.clone(),
                    self.stop.clone(),
                    self.kill.clone(),
                );
                let publish = self.publisher();
                self.shared.servers.spawn({
                    let server = server.clone();
                    async move { publish(server.serve(listener).await) }
                });
                // Set once: `started` is locked and was false.
                let _ = self.server.set(server);
            }
        }
        *started = true;
        Ok(())
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, RuntimeError> {
        self.shared.slots.clone().try_acquire_owned().map_err(|_| RuntimeError::NoSlot { guests: self.shared.guests })
    }

    fn spawn_command<F>(&self, slot: OwnedSemaphorePermit, run: F)
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let run = Metered::new(self.environment.meter.clone(), run);
        let (kill, kill_code, publish) = (self.kill.clone(), self.kill_code.clone(), self.publisher());
        self.shared.commands.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = kill.cancelled() => {
                    let code = kill_code.get().copied().unwrap_or(EXIT_KILLED);
                    Ended::told(code, "ended as told")
                }
                ended = run => ended,
            };
            drop(slot);
            publish(ended);
        });
    }

    /// Says to the world, once, how the container ended.
    fn publisher(&self) -> impl FnOnce(Ended) + Send + 'static + use<> {
        let (exit, log, clock) = (self.exit.clone(), self.environment.log.clone(), self.shared.config.clock.clone());
        move |ended| {
            log.finish();
            let Ended { code, reason, message } = ended;
            exit.send_replace(Some(Exit { code, reason, message, at: clock.now() }));
        }
    }

    /// Ends it: an HTTP component stops to accept and has `grace` to finish what is under way. A command cannot be
    /// told anything, so it is ended at once, as a process is that has no handler for SIGTERM. Resolves when it ended.
    pub async fn stop(&self, grace: Duration) {
        if !*self.started.lock() {
            return;
        }
        let mut exit = self.exited();
        self.kill_code.get_or_init(|| if grace.is_zero() { EXIT_KILLED } else { EXIT_TERMINATED });
        self.stop.cancel();
        if self.server.get().is_none() || grace.is_zero() {
            self.kill.cancel();
        }
        let ended = async { exit.wait_for(Option::is_some).await.map(|_| ()) };
        if tokio::time::timeout(grace, ended).await.is_err() {
            self.kill.cancel();
        }
        // The sender is ours, so it cannot be gone.
        let _ = exit.wait_for(Option::is_some).await;
    }

    /// Tells how it ended, once it has.
    pub fn exited(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// What it uses.
    pub fn stats(&self) -> Stats {
        let budget = &self.environment.budget;
        Stats {
            cpu_ns: self.environment.meter.used_ns(),
            memory_bytes: budget.used(),
            memory_peak_bytes: budget.peak(),
        }
    }

    /// Changes what it may use, from now on.
    pub fn update(&self, limits: Limits) {
        self.environment.meter.set_quota(limits.bucket());
        self.environment.budget.set_limit(limits.memory_bytes);
    }

    /// Goes on in a new log file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn reopen_log(&self) -> std::io::Result<()> {
        self.environment.log.reopen()
    }

    /// The pod's address and port at which an HTTP component is served, as others know it.
    pub fn http_address(&self) -> Option<SocketAddr> {
        matches!(self.linked.kind, Kind::Http(_)).then(|| SocketAddr::new(self.environment.pod_ip, self.http_port))
    }

    /// Serves a connection that somebody else accepted.
    ///
    /// # Errors
    /// With the reason when it is not served.
    pub fn serve_connection(&self, stream: TcpStream) -> Result<(), String> {
        let server = self.server.get().filter(|_| !self.stop.is_cancelled()).ok_or("the container does not serve")?;
        let _on_servers = self.shared.servers.enter();
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream))
            .map_err(|error| error.to_string())?;
        server.spawn_connection(stream);
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.stop.cancel();
        self.kill.cancel();
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Container").field("id", &self.id).finish_non_exhaustive()
    }
}
