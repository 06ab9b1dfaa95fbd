//! The server: everything a cluster's control plane needs, in the order it needs it: keys, store, API server, controllers
//! and scheduler.
//!
//! ```text
//!  door          the one port: clients of the API, and other servers
//!  identity      which server of which cluster this is; `join` asks for one, `cluster_api` gives it
//!  peers         how servers know one another
//!  etcd_door     etcd's API, where it is asked for
//!  leading       controllers and scheduler, where the leader is
//! ```
//!
//! Controllers and scheduler enter the API server's own router in this process, each under its own identity: there is no
//! socket and no TLS between them, and RBAC sees them all the same.

mod cluster_api;
mod credentials;
mod door;
mod etcd_door;
mod identity;
mod join;
mod leading;
mod network;
mod peers;
mod tls;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use apiserver::{ApiServer, Parts};
use auth::{ClusterCa, TokenSigner, pki};
use component_base::{SharedClock, SharedEntropy, Tasks, metrics::Metrics};
use raft::RaftStore;
use storage::DataDir;
use tokio::{net::TcpListener, sync::watch};

use cluster_api::Cluster;
pub use cluster_api::Members;
pub use credentials::{NodeCredentials, issue_node_credentials};
use door::Door;
use identity::Identity;
pub use join::{Join, JoinError};
pub use network::{Network, NetworkError, nth_address};
use peers::Peers;
pub use raft::Member;

/// Who issues service-account tokens.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The range of node ports.
const NODE_PORTS: (u16, u16) = (30_000, 32_767);

/// What the server needs to know.
#[derive(Clone)]
pub struct Config {
    /// Where state and keys are kept.
    pub data_dir: PathBuf,
    /// This server's name, for people.
    pub name: String,
    /// Where clients and other servers come in; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Under which host they reach it, where that is not the address it listens on.
    pub advertise: Option<String>,
    /// Where etcd's API is served, if it is.
    pub etcd_listen: Option<SocketAddr>,
    /// How it finds its cluster; without it, a server without an identity begins one.
    pub join: Option<Join>,
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
    /// Keys of etcd's API.
    #[error("etcd's API: {0}")]
    Etcd(#[from] component_base::tls::ServingError),
    /// The store is gone.
    #[error(
        "server {id} has lost its store: there is none in {}. It must not come back as who it was: `coracle member remove \
         {id}` on another server, then start this one with an empty data directory and --join; a cluster's only server needs \
         its store back",
        path.display()
    )]
    StoreLost {
        /// Where it was.
        path: PathBuf,
        /// Which server this is.
        id: u64,
    },
    /// The cluster cannot be joined.
    #[error("cannot join the cluster: {0}")]
    Join(#[from] JoinError),
    /// A file that cannot be used.
    #[error("{}: {source}", path.display())]
    File {
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
    url: String,
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
        let host = config.advertise.clone().unwrap_or_else(|| address.ip().to_string());
        let advertised = format!("{}:{}", if host.contains(':') { format!("[{host}]") } else { host }, address.port());
        let tasks = Tasks::new();
        let server_dir = config.data_dir.join("server");
        let pki_dir = server_dir.join("pki");
        pki::make_folder(&server_dir)?;
        let data_dir = DataDir::open(server_dir.join("store"))?;
        let mut identity = identify(&config, &server_dir, &pki_dir, &advertised).await?;
        identity.check_store(&data_dir.database())?;
        let ca = Arc::new(ClusterCa::open_or_create(&pki_dir, &*config.clock)?);
        let tokens = TokenSigner::open_or_create(&pki_dir.join("service-account.key"), ISSUER, config.entropy.clone())?;
        // Whoever joins gets it, whether it is used or not.
        ClusterCa::open_or_create(&pki_dir.join(etcd_door::AUTHORITY), &*config.clock)?;
        let peers = Arc::new(Peers::new(&pki_dir.join(join::PEERS), identity.id, &*config.clock)?);
        let options = raft::Options {
            id: identity.id,
            cluster: identity.cluster.clone(),
            server: raft::Server {
                name: config.name.clone(),
                peer_address: advertised.clone(),
                api_address: advertised.clone(),
            },
            connect: peers.clone(),
            begin: identity.began,
        };
        let store = RaftStore::open(&data_dir.database(), options).await?;
        identity.promise(&server_dir)?;
        let now = config.clock.now();
        let serving = ca.server("kube-apiserver", &names(&config, address)?, now)?;
        // With its authority: who joins knows that one by its hash, and has to be shown it.
        let chain = format!("{}{}", serving.certificate, ca.certificate_pem());
        let clients = apiserver::serve::server_config(&chain, &serving.key, ca.certificate_pem());
        let (ready, api) = watch::channel(None);
        let door = Door {
            store: store.clone(),
            clients: clients.map_err(tls::TlsError::from)?,
            peers: peers.server.clone(),
            api,
            tasks: tasks.clone(),
        };
        tasks.spawn_graceful("door", door.open(listener));
        await_leader(&store).await;
        let kubelet_client = ca.client("kube-apiserver-kubelet-client", &["system:masters"], now)?;
        let own = Cluster { store: store.clone(), cluster: identity.cluster.clone(), keys: pki_dir.clone() };
        let parts = Parts {
            config: apiserver::Config {
                advertised: address,
                service_range: config.network.service_range()?,
                node_ports: NODE_PORTS,
                issuer: ISSUER.to_owned(),
                kubelet_tls: Some(tls::client(&kubelet_client, ca.certificate_pem(), &[])?),
                cluster_ca: ca.certificate_pem().to_owned(),
            },
            store: Arc::new(store.clone()),
            clock: config.clock.clone(),
            entropy: config.entropy.clone(),
            tasks: tasks.clone(),
            metrics: Metrics::new(),
            tokens: Arc::new(tokens),
            client_authority: tls::der(ca.certificate_pem())?,
            own_paths: cluster_api::paths(own),
        };
        let api = ApiServer::start(parts).await?;
        ready.send_replace(Some(api.clone()));
        if let Some(address) = config.etcd_listen {
            etcd_door::serve(address, &config, &pki_dir, &store, &identity.cluster, &tasks).await?;
        }
        let kubeconfig = config.data_dir.join("admin.kubeconfig");
        let admin = ca.client("kubernetes-admin", &["system:masters"], now)?;
        let url = format!("https://{advertised}");
        let text = pki::kubeconfig(&url, ca.certificate_pem(), "kubernetes-admin", &admin);
        pki::write_private(&kubeconfig, text.as_bytes())?;
        let leading = leading::lead(api, store.clone(), config.clone(), ca.clone(), tasks.clone());
        tasks.spawn_graceful("leading", leading);
        Ok(Self { tasks, store, ca, config, url, kubeconfig, _data_dir: data_dir })
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        self.url.clone()
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
        self.store.resign().await;
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
    names.extend(config.advertise.clone());
    names.push(nth_address(&config.network.service_cidr, 1)?.to_string());
    names.extend(config.names.iter().cloned());
    names.sort();
    names.dedup();
    Ok(names)
}

/// Which server of which cluster this is: as it was before, or as the cluster that it joins says, or the first of a new one.
async fn identify(config: &Config, folder: &Path, keys: &Path, address: &str) -> Result<Identity, ServerError> {
    if let Some(identity) = Identity::read(folder)? {
        return Ok(identity);
    }
    match &config.join {
        Some(join) => join::join(join, &config.name, address, folder, keys).await,
        None => {
            let identity = Identity::first(&*config.entropy);
            identity.write(folder)?;
            Ok(identity)
        }
    }
}

/// Waits until the servers of the cluster have found one another: nothing can be read before.
async fn await_leader(store: &RaftStore) {
    let mut leader = store.leader();
    if leader.borrow().is_none() {
        tracing::warn!("waiting for a quorum of the cluster's servers");
    }
    // An error would mean that the store is closed, and what comes next says so.
    let _ = leader.wait_for(Option::is_some).await;
}
