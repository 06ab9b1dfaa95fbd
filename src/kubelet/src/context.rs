//! What all parts of one kubelet share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use parking_lot::Mutex;

use crate::{
    Config,
    backoff::Backoff,
    events::Recorder,
    images::Images,
    logs::rotation::Rotation,
    pod::{config::DnsSettings, fields::NodeFacts},
    probes::Prober,
    services::Services,
    sources::Sources,
    volumes::Tokens,
};

/// What all parts of one kubelet share.
pub struct Context {
    /// What it was told.
    pub config: Config,
    /// The runtime.
    pub cri: cri::Clients,
    /// The runtime's name, which begins every container id.
    pub runtime_name: ArcSwap<String>,
    /// Says what happens.
    pub recorder: Recorder,
    /// Pulls images.
    pub images: Images,
    /// Service-account tokens.
    pub tokens: Tokens,
    /// The ConfigMaps that pods refer to.
    pub config_maps: Sources<ConfigMap>,
    /// The Secrets that pods refer to.
    pub secrets: Sources<Secret>,
    /// All Services, for environment variables.
    pub services: Services,
    /// Makes probes.
    pub prober: Arc<Prober>,
    /// Which containers crashed when.
    pub restarts: Mutex<Backoff<String>>,
    /// What pods learn of the node.
    pub node: ArcSwap<NodeFacts>,
    /// How names are resolved.
    pub dns: DnsSettings,
    /// The node's memory.
    pub memory_capacity: i64,
    /// Keeps logs small.
    pub rotation: Rotation,
}
