//! The sandboxes and containers of this node: the one table that all calls work on.
//!
//! A container goes from created to running to exited and never back. Each step is recorded before it is told, so what
//! a caller was told holds after a restart too. The table is locked for lookups only; a step locks its container.

mod containers;
mod filter;
mod sandboxes;
mod stats;
mod views;

pub(crate) use containers::image_failed;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cni::Ipam;
use component_base::{SharedClock, SharedEntropy};
use cri::{labels, v1};
use parking_lot::Mutex;
use runtime_wasm::WasmRuntime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use crate::{
    events::Events,
    format::{FolderError, io_error},
    records::{ContainerRecord, ExitRecord, Found, Records, SandboxRecord},
};

/// As Kubernetes calls a container of which nobody saw the end.
const REASON_LOST: &str = "ContainerStatusUnknown";
/// As of a killed process.
const EXIT_KILLED: i32 = 137;

/// What the table needs of the world.
#[derive(Debug)]
pub struct Parts {
    /// The runtime's folder.
    pub root: PathBuf,
    /// The pods' addresses until the kubelet tells another range.
    pub pod_cidr: Option<String>,
    /// Images.
    pub images: Arc<images::Store>,
    /// Guests.
    pub wasm: WasmRuntime,
    /// What time it is.
    pub clock: SharedClock,
    /// For ids.
    pub entropy: SharedEntropy,
}

/// All sandboxes and containers; see the module's head.
pub struct Pods {
    root: PathBuf,
    pub(crate) images: Arc<images::Store>,
    wasm: WasmRuntime,
    clock: SharedClock,
    entropy: SharedEntropy,
    records: Records,
    ipam: Mutex<Option<Ipam>>,
    table: Mutex<Table>,
    pub(crate) events: Events,
    /// Cancelled when the process is told to end: nothing new is begun.
    pub(crate) ending: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Table {
    pods: BTreeMap<String, Pod>,
    containers: HashMap<String, Arc<Container>>,
    /// Sandboxes by their pod's uid: there are few of one pod, and many pods.
    by_uid: HashMap<String, Vec<String>>,
    /// Containers that serve HTTP, by address.
    serving: HashMap<SocketAddr, Arc<Container>>,
}

/// A sandbox and what is in it.
struct Pod {
    sandbox: Arc<Sandbox>,
    containers: Vec<Arc<Container>>,
}

struct Sandbox {
    record: SandboxRecord,
    stopped: AtomicBool,
}

struct Container {
    record: ContainerRecord,
    sandbox: Arc<Sandbox>,
    life: Mutex<Life>,
    resources: Mutex<Option<v1::LinuxContainerResources>>,
    /// When it was last measured, and what it had used by then.
    sample: Mutex<Option<(i64, u64)>>,
}

type Guest = runtime_wasm::Container;

#[derive(Clone)]
enum Life {
    Created(Arc<Guest>),
    Running {
        guest: Arc<Guest>,
        since: i64,
    },
    /// `since` is 0 when it never ran.
    Exited {
        since: i64,
        exit: ExitRecord,
    },
}

impl Sandbox {
    fn id(&self) -> &str {
        &self.record.id
    }

    fn is_ready(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    fn uid(&self) -> &str {
        self.record.config.metadata.as_ref().map(|metadata| metadata.uid.as_str()).unwrap_or_default()
    }
}

impl Container {
    fn new(record: ContainerRecord, sandbox: Arc<Sandbox>, life: Life) -> Arc<Self> {
        let resources = Mutex::new(record.resources);
        let record = ContainerRecord { resources: None, ..record };
        Arc::new(Self { record, sandbox, life: Mutex::new(life), resources, sample: Mutex::default() })
    }

    fn id(&self) -> &str {
        &self.record.id
    }
}

impl Table {
    fn insert_sandbox(&mut self, sandbox: Arc<Sandbox>) {
        self.by_uid.entry(sandbox.uid().to_owned()).or_default().push(sandbox.id().to_owned());
        self.pods.insert(sandbox.id().to_owned(), Pod { sandbox, containers: Vec::new() });
    }

    fn insert_container(&mut self, container: Arc<Container>) {
        if let Some(pod) = self.pods.get_mut(container.sandbox.id()) {
            pod.containers.push(container.clone());
        }
        self.containers.insert(container.id().to_owned(), container);
    }

    fn remove_container(&mut self, container: &Container) {
        self.containers.remove(container.id());
        if let Some(pod) = self.pods.get_mut(container.sandbox.id()) {
            pod.containers.retain(|other| other.id() != container.id());
        }
    }

    fn remove_sandbox(&mut self, sandbox: &Sandbox) {
        self.pods.remove(sandbox.id());
        if let Some(ids) = self.by_uid.get_mut(sandbox.uid()) {
            ids.retain(|id| id != sandbox.id());
            if ids.is_empty() {
                self.by_uid.remove(sandbox.uid());
            }
        }
    }

    /// The sandboxes that a selector can mean: of one pod where it names one, else all.
    fn candidates<'a>(&'a self, selector: Option<&HashMap<String, String>>) -> Box<dyn Iterator<Item = &'a Pod> + 'a> {
        match selector.and_then(|selector| selector.get(labels::POD_UID)) {
            Some(uid) => Box::new(self.by_uid.get(uid).into_iter().flatten().filter_map(|id| self.pods.get(id))),
            None => Box::new(self.pods.values()),
        }
    }
}

impl Pods {
    /// The table as an earlier process left it: sandboxes with their addresses; containers that ran have exited.
    ///
    /// # Errors
    /// When the folder cannot be read or written, or the addresses' record is damaged.
    pub fn open(parts: Parts) -> Result<Arc<Self>, PodsError> {
        let Parts { root, pod_cidr, images, wasm, clock, entropy } = parts;
        let records = Records::open(&root)?;
        let pods = Self {
            images,
            wasm,
            clock,
            entropy,
            records,
            ipam: Mutex::default(),
            table: Mutex::default(),
            events: Events::default(),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
            root,
        };
        let found = pods.records.read()?;
        if let Some(cidr) = told_cidr(&pods.root)?.or(pod_cidr) {
            let mut ipam = Ipam::open(&cidr, &pods.address_record())?;
            ipam.retain(|id| found.iter().any(|found| found.sandbox.id == id && !found.stopped))?;
            *pods.ipam.lock() = Some(ipam);
        }
        found.into_iter().try_for_each(|found| pods.adopt(found))?;
        Ok(Arc::new(pods))
    }

    fn adopt(&self, found: Found) -> Result<(), PodsError> {
        let Found { sandbox, stopped, containers } = found;
        // Where the address is no longer its own (a power cut tore the record) the sandbox is of no use.
        let owned = stopped
            || match self.ipam.lock().as_mut() {
                Some(ipam) => ipam.claim(&sandbox.id, sandbox.ip)?,
                None => true,
            };
        if !owned {
            tracing::warn!(sandbox = sandbox.id, ip = %sandbox.ip, "a sandbox lost its address; it is stopped");
            self.records.sandbox_stopped(&sandbox.id)?;
        }
        let sandbox = Arc::new(Sandbox { record: sandbox, stopped: AtomicBool::new(stopped || !owned) });
        let mut table = self.table.lock();
        table.insert_sandbox(sandbox.clone());
        for found in containers {
            let exit = match found.exit {
                Some(exit) => exit,
                None => {
                    let exit = ExitRecord {
                        code: EXIT_KILLED,
                        reason: REASON_LOST.to_owned(),
                        message: "the container runtime ended while the container ran".to_owned(),
                        at: self.now(),
                    };
                    self.records.container_ended(sandbox.id(), &found.record.id, &exit)?;
                    exit
                }
            };
            let life = Life::Exited { since: found.started_at, exit };
            table.insert_container(Container::new(found.record, sandbox.clone(), life));
        }
        Ok(())
    }

    /// Takes the pods' range from the kubelet, and remembers it for the next process. What was given out stays.
    ///
    /// # Errors
    /// When it is no range, or cannot be remembered.
    pub fn set_pod_cidr(&self, cidr: &str) -> Result<(), PodsError> {
        let mut ipam = self.ipam.lock();
        if ipam.as_ref().is_some_and(|ipam| ipam.cidr() == cidr) {
            return Ok(());
        }
        let mut fresh = Ipam::open(cidr, &self.address_record())?;
        let ready: Vec<_> = self.table.lock().pods.values().map(|pod| pod.sandbox.clone()).collect();
        for sandbox in ready.iter().filter(|sandbox| sandbox.is_ready()) {
            fresh.claim(sandbox.id(), sandbox.record.ip)?;
        }
        let path = cidr_record(&self.root);
        std::fs::write(&path, cidr).map_err(io_error("write", &path))?;
        tracing::info!(cidr, "the kubelet told the range of pod addresses");
        *ipam = Some(fresh);
        Ok(())
    }

    /// The pods' range.
    pub fn pod_cidr(&self) -> Option<String> {
        self.ipam.lock().as_ref().map(|ipam| ipam.cidr().to_owned())
    }

    /// The folder of sandboxes, which holds all that guests write outside of volumes.
    pub fn folder(&self) -> &Path {
        self.records.folder()
    }

    /// Serves a connection that the service proxy accepted for `address`.
    ///
    /// # Errors
    /// With the reason when no container serves there.
    pub fn serve_connection(&self, address: SocketAddr, connection: std::net::TcpStream) -> Result<(), String> {
        let container = self.table.lock().serving.get(&address).cloned();
        let guest = container.and_then(|container| match &*container.life.lock() {
            Life::Running { guest, .. } => Some(guest.clone()),
            Life::Created(_) | Life::Exited { .. } => None,
        });
        guest.ok_or_else(|| format!("no HTTP component serves at {address}"))?.serve_connection(connection)
    }

    fn address_record(&self) -> PathBuf {
        self.root.join("addresses")
    }

    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    /// An id as other runtimes make them.
    fn fresh_id(&self) -> String {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Status> {
        let table = self.table.lock();
        let found = table.pods.get(id).or_else(|| {
            // As other runtimes do it: the beginning of an id will do when there is no other like it.
            let mut alike = table.pods.range(id.to_owned()..).take_while(|(known, _)| known.starts_with(id));
            alike.next().filter(|_| !id.is_empty() && alike.next().is_none()).map(|(_, pod)| pod)
        });
        found.map(|pod| pod.sandbox.clone()).ok_or_else(|| Status::not_found(format!("no pod sandbox has id {id:?}")))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, Status> {
        let table = self.table.lock();
        let found = table.containers.get(id).or_else(|| {
            let mut alike = table.containers.iter().filter(|(known, _)| known.starts_with(id));
            alike.next().filter(|_| !id.is_empty() && alike.next().is_none()).map(|(_, container)| container)
        });
        found.cloned().ok_or_else(|| Status::not_found(format!("no container has id {id:?}")))
    }

    /// Refuses what would begin something while the process ends.
    fn check_serving(&self) -> Result<(), Status> {
        if self.ending.is_cancelled() { Err(Status::unavailable("the runtime is ending")) } else { Ok(()) }
    }
}

/// Why the table cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// Its records.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The pods' addresses.
    #[error(transparent)]
    Addresses(#[from] cni::IpamError),
}

fn cidr_record(root: &Path) -> PathBuf {
    root.join("pod-cidr")
}

/// The range that the kubelet told an earlier process.
fn told_cidr(root: &Path) -> Result<Option<String>, FolderError> {
    let path = cidr_record(root);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|cidr| !cidr.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// Where an address is of use to others.
fn shown(ip: IpAddr) -> String {
    ip.to_string()
}
