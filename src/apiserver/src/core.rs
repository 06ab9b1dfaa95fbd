//! What every endpoint stands on: the parts of one API server, put together once.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use axum::Router;
use component_base::{SharedClock, SharedEntropy, Tasks};
use storage::SharedStore;

use crate::{
    cacher::Cacher,
    chain::{authorize::Authorizers, inflight::InFlight},
    metrics::ServerMetrics,
    registry::services::ServiceRange,
    resources::Table,
    subresources::KubeletClient,
};

/// What the operator decides.
#[derive(Clone)]
pub struct Config {
    /// Where clients reach the server; also the endpoint of the Service `kubernetes`.
    pub advertised: SocketAddr,
    /// The addresses that Services get.
    pub service_range: ServiceRange,
    /// The first and last node port.
    pub node_ports: (u16, u16),
    /// Who issues service-account tokens.
    pub issuer: String,
    /// How the server identifies itself to kubelets; without it logs and streams are unavailable.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
    /// The cluster's authority in PEM, for clients inside the cluster.
    pub cluster_ca: String,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("advertised", &self.advertised)
            .field("service_range", &self.service_range)
            .field("node_ports", &self.node_ports)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// The parts of one API server; clones share all of them.
#[derive(Clone)]
pub struct Core {
    /// What the operator decided.
    pub config: Config,
    /// The time of day.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// The server's tasks.
    pub tasks: Tasks,
    /// Its metrics.
    pub metrics: ServerMetrics,
    /// Where writes go: the store, or for a controller the store for as long as this server leads.
    pub store: SharedStore,
    /// The resources that are served now.
    pub tables: Arc<ArcSwap<Table>>,
    /// The watch cache.
    pub cacher: Arc<Cacher>,
    /// Who a client is.
    pub authenticator: Arc<auth::Authenticator>,
    /// What clients may do.
    pub authorizers: Arc<Authorizers>,
    /// What is let in, and how it is changed.
    pub admission: Arc<admission::Chain>,
    /// Policies and conditions of admission, compiled.
    pub policies: Arc<crate::policies::Cache>,
    /// Signs service-account tokens.
    pub tokens: Arc<auth::TokenSigner>,
    /// Limits.
    pub inflight: InFlight,
    /// The way to kubelets.
    pub kubelets: KubeletClient,
    /// What answers below `/coracle/`.
    pub own_paths: Router,
    pub(crate) bootstrapped: Arc<AtomicBool>,
}

impl Core {
    /// The resources that are served now.
    pub fn table(&self) -> Arc<Table> {
        self.tables.load_full()
    }

    /// Whether the objects that every cluster has are there.
    pub fn is_bootstrapped(&self) -> bool {
        self.bootstrapped.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Core")
            .field("config", &self.config)
            .field("cacher", &self.cacher)
            .finish_non_exhaustive()
    }
}
