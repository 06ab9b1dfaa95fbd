//! The whole service, driven over its sockets as a kubelet and a service proxy drive it. The guests are those of
//! `wasm-examples`, built by `scripts/guests.sh`.

mod bad_input;
mod commands;
mod density;
mod http;
mod limits;
mod network;
mod restart;

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use component_base::{OsEntropy, SystemClock};
use cri::{
    Clients, labels,
    v1::{self, ContainerEventType, ContainerState},
};
use images::{Compiler, Registries, Registry};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{Config, Runtime};

/// Nothing that is waited for here takes so long on a working machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A runtime that serves, and a kubelet's connection to it.
struct Node {
    folder: Arc<tempfile::TempDir>,
    cidr: String,
    config: fn(Config) -> Config,
    cri: Clients,
    stop: CancellationToken,
    /// The process that it would be.
    process: Option<tokio::runtime::Runtime>,
    serving: tokio::task::JoinHandle<Result<(), crate::Error>>,
}

impl Node {
    async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    async fn start_with(config: fn(Config) -> Config) -> Self {
        static NODES: AtomicU32 = AtomicU32::new(0);
        // Tests run beside each other, in one process or many, and share the machine's loopback network.
        let number = (std::process::id().wrapping_mul(7) + NODES.fetch_add(1, Ordering::Relaxed)) % 0x1000;
        let cidr = format!("127.{}.{}.0/24", 112 + (number >> 8) % 15, number & 0xff);
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Self::open(folder, cidr, config).await
    }

    async fn open(folder: Arc<tempfile::TempDir>, cidr: String, adapt: fn(Config) -> Config) -> Self {
        let root = folder.path().join("runtime");
        let config = adapt(Config {
            root: root.clone(),
            socket: root.join("cri.sock"),
            handoff_socket: Some(root.join("handoff.sock")),
            pod_cidr: Some(cidr.clone()),
            registries: Registries::default(),
            compiler: Compiler::InProcess,
            registry_silence_max: Some(Duration::from_millis(300)),
            guests_max: Some(400),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        });
        let process =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let stop = CancellationToken::new();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let serving = process.spawn({
            let stop = stop.clone();
            async move {
                let runtime = Runtime::open(config)?;
                let _ = ready.send(());
                runtime.serve(stop.cancelled_owned()).await
            }
        });
        if is_ready.await.is_err() {
            panic!("the runtime does not start: {:?}", serving.await);
        }
        let cri = cri::connect(root.join("cri.sock"));
        Self { folder, cidr, config: adapt, cri, stop, process: Some(process), serving }
    }

    /// Told to end, and started anew.
    async fn restart(mut self) -> Self {
        self.stop.cancel();
        let served = tokio::time::timeout(DEADLINE, &mut self.serving).await.expect("in time");
        served.expect("no panic").expect("it ends well");
        self.reopen().await
    }

    /// Ended without being told, as far as that can be had without a process, and started anew.
    async fn crash(self) -> Self {
        self.serving.abort();
        self.reopen().await
    }

    async fn reopen(mut self) -> Self {
        let process = self.process.take().expect("taken here only");
        let ended = tokio::task::spawn_blocking(move || process.shutdown_timeout(DEADLINE));
        ended.await.expect("no panic");
        Self::open(self.folder.clone(), self.cidr.clone(), self.config).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports a guest by its name, and returns how it is called here.
    async fn image(&self, guest: &str) -> String {
        let file = guest_file(guest);
        let name = format!("test.local/{guest}:v1");
        self.import(&file, &name).await.expect("imported");
        name
    }

    async fn import(&self, file: &Path, name: &str) -> Result<String, Status> {
        let annotations = HashMap::from([(labels::IMPORT_FILE.to_owned(), file.to_string_lossy().into_owned())]);
        let image = v1::ImageSpec { image: name.to_owned(), annotations, ..Default::default() };
        let request = v1::PullImageRequest { image: Some(image), ..Default::default() };
        Ok(self.cri.images.clone().pull_image(request).await?.into_inner().image_ref)
    }

    fn sandbox_config(&self, name: &str) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: self.path("logs").join(name).to_string_lossy().into_owned(),
            labels: HashMap::from([(labels::POD_UID.to_owned(), format!("uid-{name}"))]),
            ..Default::default()
        }
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig) -> Result<String, Status> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        Ok(self.cri.runtime.clone().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// A sandbox of that pod, and its address.
    async fn sandbox(&self, name: &str) -> (String, IpAddr) {
        let id = self.run_sandbox(self.sandbox_config(name)).await.expect("a sandbox");
        let status = self.sandbox_status(&id).await.expect("a status");
        assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
        (id, status.network.expect("a network").ip.parse().expect("an address"))
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, Status> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let status = self.cri.runtime.clone().pod_sandbox_status(request).await?.into_inner().status;
        Ok(status.expect("an answer has a status"))
    }

    async fn create(&self, sandbox: &str, config: v1::ContainerConfig) -> Result<String, Status> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: None,
        };
        Ok(self.cri.runtime.clone().create_container(request).await?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), Status> {
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        self.cri.runtime.clone().start_container(request).await.map(|_| ())
    }

    /// Creates and starts.
    async fn run(&self, sandbox: &str, config: v1::ContainerConfig) -> String {
        let id = self.create(sandbox, config).await.expect("created");
        self.start_container(&id).await.expect("started");
        id
    }

    async fn stop(&self, id: &str, seconds: i64) {
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: seconds };
        self.cri.runtime.clone().stop_container(request).await.expect("stopped");
    }

    async fn remove(&self, id: &str) {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        self.cri.runtime.clone().remove_container(request).await.expect("removed");
    }

    async fn stop_sandbox(&self, id: &str) {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.cri.runtime.clone().stop_pod_sandbox(request).await.expect("stopped");
    }

    async fn remove_sandbox(&self, id: &str) {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.cri.runtime.clone().remove_pod_sandbox(request).await.expect("removed");
    }

    async fn status(&self, id: &str) -> Result<v1::ContainerStatus, Status> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let status = self.cri.runtime.clone().container_status(request).await?.into_inner().status;
        Ok(status.expect("an answer has a status"))
    }

    async fn events(&self) -> tonic::Streaming<v1::ContainerEventResponse> {
        let request = v1::GetEventsRequest {};
        self.cri.runtime.clone().get_container_events(request).await.expect("a stream").into_inner()
    }

    /// Waits until the container has ended.
    async fn ended(&self, id: &str) -> v1::ContainerStatus {
        let mut events = self.events().await;
        loop {
            let status = self.status(id).await.expect("a status");
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            let event = tokio::time::timeout(DEADLINE, events.message()).await.expect("in time");
            event.expect("a stream").expect("a next event");
        }
    }

    /// Runs a command to its end.
    async fn complete(&self, sandbox: &str, config: v1::ContainerConfig) -> v1::ContainerStatus {
        let id = self.run(sandbox, config).await;
        self.ended(&id).await
    }

    /// What the container wrote, as `STREAM text` lines.
    fn log(&self, status: &v1::ContainerStatus) -> Vec<String> {
        let text = std::fs::read_to_string(&status.log_path).expect("a log");
        let line = |line: &str| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            format!("{} {}", words[1], words[3])
        };
        text.lines().map(line).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.shutdown_background();
        }
    }
}

/// The guest's file; its name is a file of `wasm-examples/target/guests`.
fn guest_file(name: &str) -> PathBuf {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wasm-examples/target/guests");
    let file = guests.join(format!("{name}.wasm"));
    assert!(file.exists(), "{} is not there: run scripts/guests.sh", file.display());
    file
}

/// A container of `image` with these words as `args`.
fn container(name: &str, image: &str, args: &[&str]) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        args: args.iter().map(|word| (*word).to_owned()).collect(),
        labels: HashMap::from([(labels::CONTAINER_NAME.to_owned(), name.to_owned())]),
        log_path: format!("{name}/0.log"),
        ..Default::default()
    }
}

fn with_resources(config: v1::ContainerConfig, resources: v1::LinuxContainerResources) -> v1::ContainerConfig {
    let linux = v1::LinuxContainerConfig { resources: Some(resources), security_context: None };
    v1::ContainerConfig { linux: Some(linux), ..config }
}

/// Asks a server over HTTP/1.1; `None` when it cannot be reached or says nothing.
async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect_timeout(&cni::dial_address(address), Duration::from_secs(5)).ok()?;
    ask(stream, path).await
}

async fn ask(mut stream: TcpStream, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n");
    tokio::task::spawn_blocking(move || {
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    })
    .await
    .expect("no panic")
}

/// Tries until `attempt` has a result. For what another process or thread does, which tells nobody of it.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not in {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
