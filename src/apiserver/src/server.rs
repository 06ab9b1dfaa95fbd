//! An API server, put together from its parts and started.

use std::sync::{Arc, atomic::AtomicBool};

use arc_swap::ArcSwap;
use auth::UserInfo;
use axum::{Router, body::Body};
use component_base::{SharedClock, SharedEntropy, Tasks, metrics::Metrics};
use http::Request;
use storage::{SharedStore, StoreError};
use tokio::net::TcpListener;

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
        let Parts { config, store, clock, entropy, tasks, metrics, tokens, client_authority } = parts;
        let table = Table::builtin();
        let cacher = Cacher::start(store.clone(), clock.clone(), &tasks, table.stored()).await?;
        let reader: Arc<dyn auth::ObjectReader> = Arc::new(CacheReader::new(cacher.clone()));
        let authorizers = Arc::new(Authorizers {
            node: auth::NodeAuthorizer::new(reader.clone()),
            rbac: auth::RbacAuthorizer::new(reader.clone()),
        });
        let core = Arc::new(Core {
            authenticator: auth::Authenticator::new(tokens.clone(), reader.clone(), clock.clone(), client_authority),
            admission: admission::Chain::new(reader, entropy.clone(), authorizers.clone()),
            authorizers,
            kubelets: KubeletClient::new(config.kubelet_tls.clone()),
            inflight: InFlight::default(),
            metrics: ServerMetrics::new(metrics),
            bootstrapped: AtomicBool::new(false),
            config,
            clock,
            entropy,
            tasks,
            store,
            tables: ArcSwap::from_pointee(table),
            cacher,
            tokens,
        });
        core.tables.store(Arc::new(Table::with(custom::served(&core))));
        let definitions = core.clone();
        core.tasks.spawn("custom resources", async move { custom::run(definitions).await });
        let (events, history) = (core.clone(), core.clone());
        core.tasks.spawn("event expiry", async move { housekeeping::expire_events(events).await });
        core.tasks.spawn("compaction", async move { housekeeping::compact(history).await });
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

    /// A way in for a component of this process under `identity`, which `kube::Client::new(_, "default")` takes.
    pub fn client_for(&self, identity: UserInfo) -> InProcess {
        InProcess::new(self.core.clone(), identity)
    }

    /// Serves over TLS until its tasks stop.
    pub async fn serve(&self, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
        serve::serve(self.core.clone(), listener, tls).await;
    }

    /// The watch cache, for readers of the same process.
    pub fn cacher(&self) -> &Arc<Cacher> {
        &self.core.cacher
    }
}
