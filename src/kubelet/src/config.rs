//! What a kubelet is told when it is started.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, path::PathBuf, sync::Arc};

use component_base::{SharedClock, SharedEntropy, metrics::Metrics};
use k8s_openapi::api::core::v1::Taint;

use crate::server::ServingCertificate;

/// What a kubelet is told when it is started. Everything that reads the environment happened before.
#[derive(Clone)]
pub struct Config {
    /// The name of its node.
    pub node_name: String,
    /// The node's address, as other nodes and the API server reach it.
    pub node_ip: IpAddr,
    /// Where it keeps volumes, logs and termination messages.
    pub root_dir: PathBuf,
    /// A client of the API server, as `system:node:NAME`.
    pub client: kube::Client,
    /// Where the runtime listens.
    pub cri_socket: PathBuf,
    /// Where its own HTTPS server listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificates of that server.
    pub tls: TlsFiles,
    /// The cluster's name servers, which pods use.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The node's own `resolv.conf`, as text.
    pub resolv_conf: String,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Labels of the node besides those that every kubelet sets.
    pub labels: BTreeMap<String, String>,
    /// Taints that the node is registered with.
    pub taints: Vec<Taint>,
    /// The port at which a pod's port is really served; below 1024 it may be another one.
    pub listen_port: fn(u16) -> u16,
    /// The version it reports, `v1.36.0+coracle.1`.
    pub version: String,
    /// A log file is rotated when it is larger.
    pub log_bytes_max: u64,
    /// How many files of a container's log are kept.
    pub log_files_max: usize,
    /// The time of day.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Where its metrics are registered.
    pub metrics: Metrics,
}

/// The certificates of the kubelet's HTTPS server.
#[derive(Clone)]
pub struct TlsFiles {
    /// What it serves with; may come later, and be replaced.
    pub certificate: Arc<ServingCertificate>,
    /// The authority whose client certificates are accepted, PEM.
    pub client_ca: Vec<u8>,
}

/// 10 MiB, as a kubelet rotates.
pub const LOG_BYTES_MAX: u64 = 10 << 20;
/// Five, as a kubelet keeps.
pub const LOG_FILES_MAX: usize = 5;
/// A Wasm pod costs kilobytes: a node takes thousands.
pub const MAX_PODS: u32 = 10_000;
/// Where a kubelet serves.
pub const PORT: u16 = 10_250;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("node_name", &self.node_name)
            .field("node_ip", &self.node_ip)
            .field("root_dir", &self.root_dir)
            .field("cri_socket", &self.cri_socket)
            .field("listen", &self.listen)
            .field("max_pods", &self.max_pods)
            .finish_non_exhaustive()
    }
}
