//! The agent: everything a node needs, in the order it needs it: who it is ([`identity`]) and the way to the cluster
//! ([`pool`]), the runtime process, then kubelet, service proxy and DNS.

mod data_dir;
pub mod files;
pub mod identity;
pub mod pool;
mod runtime_process;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use component_base::{SharedClock, SharedEntropy, Tasks, metrics::Metrics};
use kube::Client;
use tokio::task::JoinHandle;

pub use data_dir::{DataDir, DataDirError};
pub use identity::{Identity, JoinConfig, JoinError};
pub use runtime_process::{RuntimeCommand, RuntimeProcess, RuntimeProcessError};

/// How long the proxy holds a connection for an endpoint that is starting.
const HOLD: Duration = Duration::from_secs(30);

/// What the agent of a node needs to know.
#[derive(Clone)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// Where the agent keeps its state.
    pub data_dir: Arc<DataDir>,
    /// How it speaks to the cluster, as `system:node:NAME`.
    pub client: Client,
    /// What keeps the certificates fresh; nothing where somebody else does.
    pub identity: Option<Arc<Identity>>,
    /// The kubelet's own server: its certificate, and the authority of its clients.
    pub serving: kubelet::TlsFiles,
    /// Where the kubelet serves; port 0 takes a free one.
    pub kubelet_address: SocketAddr,
    /// The binary that is started as runtime: `coracle` itself.
    pub executable: PathBuf,
    /// The addresses of this node's pods; what the cluster says (`spec.podCIDR` of the node) unless given.
    pub pod_cidr: Option<String>,
    /// Where node ports are served.
    pub node_ip: IpAddr,
    /// The cluster's name server.
    pub dns_address: IpAddr,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Who is asked for names outside the cluster.
    pub upstream_dns: Vec<SocketAddr>,
    /// Another runtime's CRI socket, instead of the own.
    pub runtime_endpoint: Option<PathBuf>,
    /// Further arguments of the own runtime.
    pub runtime_arguments: Vec<String>,
    /// The most pods of this node.
    pub max_pods: u32,
    /// Whether the runtime, and with it all pods, end with the agent.
    pub end_runtime: bool,
    /// The node's own `resolv.conf`, as text.
    pub resolv_conf: String,
    /// What time it is.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// It cannot be a node of the cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// No runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeProcessError),
    /// The kubelet cannot run.
    #[error("kubelet: {0}")]
    Kubelet(#[from] kubelet::KubeletError),
    /// The kubelet ended by itself.
    #[error("the kubelet ended; the log says why")]
    KubeletEnded,
}

/// A node's agent that runs.
pub struct Agent {
    tasks: Tasks,
    kubelet: JoinHandle<Result<(), kubelet::KubeletError>>,
    _data_dir: Arc<DataDir>,
}

impl Agent {
    /// Starts all parts; returns when they work. The node registers itself meanwhile.
    ///
    /// # Errors
    /// When a part cannot start.
    pub async fn start(config: Config) -> Result<Self, AgentError> {
        let tasks = Tasks::new();
        if let Some(identity) = config.identity.clone() {
            identity.keep(&tasks);
        }
        let runtime_root = config.data_dir.path().join("runtime");
        let (cri_socket, handoff_socket) = match config.runtime_endpoint.clone() {
            Some(endpoint) => (endpoint, None),
            None => {
                let command = RuntimeCommand {
                    executable: config.executable.clone(),
                    socket: runtime_root.join("cri.sock"),
                    handoff_socket: runtime_root.join("handoff.sock"),
                    root: runtime_root,
                    pod_cidr: config.pod_cidr.clone(),
                    arguments: config.runtime_arguments.clone(),
                };
                let (socket, handoff) = (command.socket.clone(), command.handoff_socket.clone());
                let process = RuntimeProcess::ensure(command).await?;
                tasks.spawn_graceful("runtime-process", process.keep(tasks.stopping(), config.end_runtime));
                (socket, Some(handoff))
            }
        };
        let dns = dns::Config {
            client: config.client.clone(),
            listen: cni::dial_address(SocketAddr::new(config.dns_address, 53)),
            domain: config.cluster_domain.clone(),
            upstream: config.upstream_dns.clone(),
        };
        // Where several agents share a machine (tests), the first one answers for all.
        if let Err(error) = dns::run(dns, &tasks).await {
            tracing::warn!(%error, "no name server on this node; another's is used");
        }
        let proxy = kube_proxy::Config {
            client: config.client.clone(),
            node_name: config.node_name.clone(),
            node_ip: config.node_ip,
            handoff_socket,
            hold: HOLD,
        };
        kube_proxy::run(proxy, &tasks).await;
        let kubelet = kubelet::Config {
            node_name: config.node_name,
            node_ip: config.node_ip,
            root_dir: config.data_dir.path().join("kubelet"),
            client: config.client,
            cri_socket,
            listen: config.kubelet_address,
            tls: config.serving,
            cluster_dns: vec![config.dns_address],
            cluster_domain: config.cluster_domain,
            resolv_conf: config.resolv_conf,
            max_pods: config.max_pods,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            listen_port: cni::listen_port,
            version: apimachinery::VERSION.to_owned(),
            log_bytes_max: kubelet::config::LOG_BYTES_MAX,
            log_files_max: kubelet::config::LOG_FILES_MAX,
            clock: config.clock,
            entropy: config.entropy,
            metrics: Metrics::new(),
        };
        let kubelet = tokio::spawn(kubelet::run(kubelet, tasks.clone()));
        Ok(Self { tasks, kubelet, _data_dir: config.data_dir })
    }

    /// Resolves with the reason when the kubelet could not start.
    pub async fn failed(&mut self) -> AgentError {
        match (&mut self.kubelet).await {
            Ok(Err(error)) => error.into(),
            // It ends well only when the agent stops, and then nobody asks.
            Ok(Ok(())) | Err(_) => AgentError::KubeletEnded,
        }
    }

    /// Stops all parts and waits for them.
    pub async fn stop(self) {
        self.tasks.drain().await;
    }
}
