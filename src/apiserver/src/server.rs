//! An API server, put together from its parts and started.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use auth::UserInfo;
use axum::{Router, body::Body};
use component_base::{SharedClock, SharedEntropy, Tasks, metrics::Metrics};
use http::Request;
use storage::{SharedStore, StoreError};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::{
    bootstrap,
    cacher::{CacheReader, Cacher},
    chain::{self, authorize::Authorizers, inflight::InFlight},
    core::{Config, Core},
    custom, housekeeping,
    inprocess::InProcess,
    metrics::ServerMetrics,
    resources::Table,
    serve,
    subresources::KubeletClient,
};

/// Why an API server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read or written.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
}

/// What an API server is built from.
pub struct Parts {
    /// What the operator decides.
    pub config: Config,
    /// Where objects are kept.
    pub store: SharedStore,
    /// The time of day.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// The tasks that the server's own are added to.
    pub tasks: Tasks,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Signs service-account tokens.
    pub tokens: Arc<auth::TokenSigner>,
    /// The cluster's authority in DER: client certificates of other authorities prove nothing.
    pub client_authority: Vec<u8>,
    /// What answers below `/coracle/`, which Kubernetes has not: it finds who asks as an [`auth::UserInfo`] in the request's
    /// extensions, authorized for the path as a non-resource URL.
    pub own_paths: Router,
}

/// A running API server.
#[derive(Debug, Clone)]
pub struct ApiServer {
    core: Arc<Core>,
}

impl ApiServer {
    /// Loads the watch cache, creates what every cluster has, and is ready for requests.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { config, store, clock, entropy, tasks, metrics, tokens, client_authority, own_paths } = parts;
        let table = Table::builtin();
        let cacher = Cacher::start(store.clone(), clock.clone(), &tasks, table.stored()).await?;
        let reader: Arc<dyn auth::ObjectReader> = Arc::new(CacheReader::new(cacher.clone()));
        let authorizers = Arc::new(Authorizers {
            node: auth::NodeAuthorizer::new(reader.clone()),
            rbac: auth::RbacAuthorizer::new(reader.clone()),
        });
        let core = Arc::new(Core {
            authenticator: Arc::new(auth::Authenticator::new(
                tokens.clone(),
                reader.clone(),
                clock.clone(),
                client_authority,
            )),
            admission: Arc::new(admission::Chain::new(reader, entropy.clone(), authorizers.clone())),
            authorizers,
            kubelets: KubeletClient::new(config.kubelet_tls.clone()),
            inflight: InFlight::default(),
            metrics: ServerMetrics::new(metrics),
            own_paths,
            policies: Arc::default(),
            bootstrapped: Arc::new(AtomicBool::new(false)),
            config,
            clock,
            entropy,
            tasks,
            store,
            tables: Arc::new(ArcSwap::from_pointee(table)),
            cacher,
            tokens,
        });
        core.tables.store(Arc::new(Table::with(custom::served(&core))));
        let definitions = core.clone();
        core.tasks.spawn("custom resources", async move { custom::run(definitions).await });
        bootstrap::bootstrap(&core).await?;
        Ok(Self { core })
    }

    /// Everything it answers, as a router; who asks is an [`auth::UserInfo`] in the request's extensions, else what the
    /// request's certificate or token proves.
    pub fn router(&self) -> Router {
        let core = self.core.clone();
        Router::new().fallback(move |request: Request<Body>| {
            let core = core.clone();
            async move { chain::handle(core, request).await }
        })
    }

    /// The same server, whose writes go to `store`: a view of the same store that may refuse them.
    #[must_use]
    pub fn writing_to(&self, store: SharedStore) -> Self {
        Self { core: Arc::new(Core { store, ..(*self.core).clone() }) }
    }

    /// What one server of the cluster does for all, for as long as `tasks` run: deletes events when their time is over.
    pub fn keep_house(&self, tasks: &Tasks) {
        let core = self.core.clone();
        tasks.spawn("event expiry", async move { housekeeping::expire_events(core).await });
    }

    /// Points the Service `kubernetes` at these servers.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn advertise(&self, servers: &[SocketAddr]) -> Result<(), StoreError> {
        bootstrap::advertise(&self.core, servers).await
    }

    /// A way in for a component of this process under `identity`, which `kube::Client::new(_, "default")` takes.
    pub fn client_for(&self, identity: UserInfo) -> InProcess {
        InProcess::new(self.core.clone(), identity)
    }

    /// Serves one connection of a client, accepted with [`serve::server_config`], until it or the server ends.
    ///
    /// # Errors
    /// When it broke off.
    pub async fn serve_connection(&self, stream: TlsStream<TcpStream>) -> io::Result<()> {
        serve::connection(self.core.clone(), stream).await
    }

    /// The watch cache, for readers of the same process.
    pub fn cacher(&self) -> &Arc<Cacher> {
        &self.core.cacher
    }
}
