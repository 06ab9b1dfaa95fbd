//! The server: everything a cluster's control plane needs, in the order it needs it: keys, store, API server, controllers
//! and scheduler.
//!
//! Controllers and scheduler enter the API server's own router in this process, each under its own identity: there is no
//! socket and no TLS between them, and RBAC sees them all the same.

mod credentials;
mod network;
mod tls;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use apiserver::{ApiServer, Parts};
use auth::{ClusterCa, TokenSigner, UserInfo, pki};
use component_base::{SharedClock, SharedEntropy, Tasks, metrics::Metrics};
use controller_manager::{CertificateSigner, PodRange, framework::Clients};
use raft::RaftStore;
use storage::DataDir;
use tokio::net::TcpListener;

pub use credentials::{NodeCredentials, issue_node_credentials};
pub use network::{Network, NetworkError, nth_address};

/// Who issues service-account tokens.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The range of node ports.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// What the server needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where state and keys are kept.
    pub data_dir: PathBuf,
    /// Where the API is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Further names and addresses of this server.
    pub names: Vec<String>,
    /// Addresses and names inside the cluster.
    pub network: Network,
    /// What time it is.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] auth::PkiError),
    /// The store.
    #[error(transparent)]
    Store(#[from] storage::StoreError),
    /// The store's folder.
    #[error(transparent)]
    DataDir(#[from] storage::DataDirError),
    /// The API server.
    #[error("the API server cannot start: {0}")]
    Api(#[from] apiserver::StartError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The network's ranges.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The address is not to be had.
    #[error("cannot serve the API at {address}: {source}: stop what uses it, or choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder of node credentials that cannot be used.
    #[error("{}: {source}", path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A server that runs.
pub struct Server {
    tasks: Tasks,
    store: RaftStore,
    ca: Arc<ClusterCa>,
    config: Config,
    address: SocketAddr,
    kubeconfig: PathBuf,
    // Held for as long as the store is open: the lock ends with it.
    _data_dir: DataDir,
}

impl Server {
    /// Starts all parts; returns when the API answers.
    ///
    /// # Errors
    /// When a part cannot start. What had started is stopped.
    pub async fn start(config: Config) -> Result<Self, ServerError> {
        // The address first: nothing is touched when another process has it.
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(|source| ServerError::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(|source| ServerError::Listen { address: config.listen, source })?;
        let tasks = Tasks::new();
        let server_dir = config.data_dir.join("server");
        let pki_dir = server_dir.join("pki");
        pki::make_folder(&server_dir)?;
        let data_dir = DataDir::open(server_dir.join("store"))?;
        let store = RaftStore::open(&data_dir.database()).await?;
        let ca = Arc::new(ClusterCa::open_or_create(&pki_dir, &*config.clock)?);
        let tokens = TokenSigner::open_or_create(&pki_dir.join("service-account.key"), ISSUER, config.entropy.clone())?;
        let now = config.clock.now();
        let serving = ca.server("kube-apiserver", &names(&config, address)?, now)?;
        let kubelet_client = ca.client("kube-apiserver-kubelet-client", &["system:masters"], now)?;
        let parts = Parts {
            config: apiserver::Config {
                advertised: address,
                service_range: config.network.service_range()?,
                node_ports: NODE_PORTS,
                issuer: ISSUER.to_owned(),
                kubelet_tls: Some(tls::kubelet_client(&kubelet_client, ca.certificate_pem())?),
                cluster_ca: ca.certificate_pem().to_owned(),
            },
            store: Arc::new(store.clone()),
            clock: config.clock.clone(),
            entropy: config.entropy.clone(),
            tasks: tasks.clone(),
            metrics: Metrics::new(),
            tokens: Arc::new(tokens),
            client_authority: tls::der(ca.certificate_pem())?,
        };
        let api = ApiServer::start(parts).await?;
        let tls = apiserver::serve::server_config(&serving.certificate, &serving.key, ca.certificate_pem());
        let tls = tls.map_err(tls::TlsError::from)?;
        let serving = api.clone();
        tasks.spawn_graceful("api", async move { serving.serve(listener, tls).await });
        let kubeconfig = config.data_dir.join("admin.kubeconfig");
        let admin = ca.client("kubernetes-admin", &["system:masters"], now)?;
        let text = pki::kubeconfig(&format!("https://{address}"), ca.certificate_pem(), "kubernetes-admin", &admin);
        pki::write_private(&kubeconfig, text.as_bytes())?;
        start_clients(&api, &config, &ca, &tasks).await;
        Ok(Self { tasks, store, ca, config, address, kubeconfig, _data_dir: data_dir })
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What a node called `name` needs to join.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn node_credentials(&self, name: &str) -> Result<NodeCredentials, ServerError> {
        credentials::issue(&self.ca, &self.url(), name, self.config.clock.now())
    }

    /// The addresses of the first node's pods.
    ///
    /// # Errors
    /// When the cluster's range is none.
    pub fn pod_cidr_of_first_node(&self) -> Result<String, ServerError> {
        Ok(self.config.network.node_range(0)?)
    }

    /// Returns when the store has failed for good, with the reason.
    pub async fn failed(&self) -> ServerError {
        self.store.failed().await.into()
    }

    /// Stops all parts, the store last.
    pub async fn stop(self) {
        self.tasks.drain().await;
        self.store.close().await;
    }
}

/// All names under which clients reach this server.
fn names(config: &Config, address: SocketAddr) -> Result<Vec<String>, ServerError> {
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).to_vec();
    names.push(format!("kubernetes.default.svc.{}", config.network.domain));
    names.push("127.0.0.1".to_owned());
    names.push(address.ip().to_string());
    names.push(nth_address(&config.network.service_cidr, 1)?.to_string());
    names.extend(config.names.iter().cloned());
    names.sort();
    names.dedup();
    Ok(names)
}

/// Controllers and scheduler, as clients of this process's API server.
async fn start_clients(api: &ApiServer, config: &Config, ca: &Arc<ClusterCa>, tasks: &Tasks) {
    let entry = api.clone();
    let as_user = move |name: String, groups: Vec<String>| {
        kube::Client::new(entry.client_for(UserInfo { name, groups, ..UserInfo::default() }), "default")
    };
    let authenticated = vec!["system:authenticated".to_owned()];
    let client = as_user("system:kube-scheduler".to_owned(), authenticated);
    let controllers = controller_manager::Config {
        clients: Clients::new(move |identity| as_user(identity.name, identity.groups)),
        clock: config.clock.clone(),
        entropy: config.entropy.clone(),
        root_ca: ca.certificate_pem().to_owned(),
        pod_range: Some(PodRange {
            cluster_cidr: config.network.cluster_cidr.clone(),
            node_bits: config.network.node_mask,
        }),
        signer: Some(Arc::new(Signer { ca: ca.clone(), clock: config.clock.clone() })),
    };
    controller_manager::run(controllers, tasks).await;
    scheduler::run(scheduler::Config { client }, tasks).await;
}

/// The cluster's authority, as the certificate controllers use it.
struct Signer {
    ca: Arc<ClusterCa>,
    clock: SharedClock,
}

impl CertificateSigner for Signer {
    fn sign(&self, request: &str, usages: &[String], seconds: Option<i64>) -> Result<String, String> {
        self.ca.sign_request(request, usages, seconds, self.clock.now()).map_err(|error| error.to_string())
    }
}
