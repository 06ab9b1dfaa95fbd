//! The node agent: makes what the API server wants of this node true, through CRI and nothing else.
//!
//! ```text
//!   API server ── pods ──► pods.rs ──► pod/worker ── CRI ──► runtime
//!        ▲                                │  ▲                  │
//!        └── status, events ◄─────────────┘  └── events ◄───────┘
//! ```
//!
//! [`run`] registers the node, keeps its Lease and status, and gives every pod a worker (`pod/worker`). What to do for
//! a pod is decided by a pure function (`pod/actions.rs`), what its status is by another (`status/generate.rs`). A
//! restarted kubelet asks the runtime what it has and goes on from there.
//!
//! Nothing is polled: pods, ConfigMaps, Secrets, Services and the node are watched, container events are streamed, log
//! files and the runtime's socket are watched by inotify. Timers exist where time itself is meant: probes, back-off,
//! tokens, the Lease.

mod backoff;
pub mod config;
mod context;
mod events;
mod expansion;
mod fs_watch;
mod images;
mod logs;
mod node;
mod pod;
mod pods;
mod probes;
mod quantity;
mod runtime_state;
mod server;
mod services;
mod sources;
mod status;
mod volumes;
mod watching;

use std::sync::Arc;

use arc_swap::ArcSwap;
use component_base::Tasks;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch};

pub use config::{Config, TlsFiles};
pub use server::{ServingCertificate, TlsError};

use crate::{
    context::Context,
    events::Recorder,
    fs_watch::FsWatch,
    images::Images,
    logs::rotation::Rotation,
    node::{Capacity, NodeManager, RuntimeLink},
    pod::{config::DnsSettings, fields::NodeFacts},
    pods::Pods,
    probes::Prober,
    server::Api,
    services::Services,
    sources::Sources,
    volumes::Tokens,
};

/// Why a kubelet does not start.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// Its folder cannot be made.
    #[error("create the kubelet's folder {path}: {source}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Its port cannot be opened.
    #[error("listen on {address} for the kubelet's API: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The operating system does not tell of file changes.
    #[error("watch files: {0}")]
    Files(std::io::Error),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Runs a kubelet: returns when `tasks` are told to stop, or at once when it cannot start.
///
/// Its parts are tasks of `tasks`. Containers are left as they are: the next kubelet adopts them.
///
/// # Errors
/// When its folder, port or certificates cannot be used.
pub async fn run(config: Config, tasks: Tasks) -> Result<(), KubeletError> {
    let root = config.root_dir.clone();
    let failed = |source| KubeletError::Folder { path: root.clone(), source };
    std::fs::create_dir_all(root.join("pods")).map_err(failed)?;
    // Volumes hold secrets.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&root, private).map_err(failed)?;
    let acceptor = server::acceptor(&config.tls)?;
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| KubeletError::Listen { address, source })?;
    let port = listener.local_addr().map_err(|source| KubeletError::Listen { address, source })?.port();
    let files = FsWatch::new().map_err(KubeletError::Files)?;

    let capacity = Capacity::read(&root, config.max_pods);
    let (recorder, writing) = Recorder::new(config.client.clone(), config.clock.clone(), &config.node_name);
    let context = Arc::new(build_context(config, &capacity, recorder).map_err(KubeletError::Files)?);
    let pods = Pods::new(context.clone(), tasks.clone());
    register_metrics(&context, &pods);

    let (link, linked) = watch::channel(RuntimeLink::default());
    let manager = NodeManager::new(context.clone(), capacity, port, linked);
    let metrics = context.config.metrics.clone();
    let api = Arc::new(Api { context: context.clone(), pods: pods.clone(), files: files.clone(), metrics });
    tasks.spawn("event-writer", writing);
    tasks.spawn("file-changes", files.clone().run());
    tasks.spawn("log-rotation", context.rotation.clone().run());
    tasks.spawn("services", context.services.clone().follow(context.config.client.clone()));
    tasks.spawn("kubelet-server", server::serve(listener, acceptor, api));
    tasks.spawn("node", manager.run(tasks.clone()));
    tasks.spawn("runtime-events", follow_runtime(context.clone(), files, pods.clone(), link));
    tasks.spawn("pods", pods.follow());
    tracing::info!(node = context.config.node_name, port, "the kubelet runs");
    tasks.stopping().cancelled().await;
    Ok(())
}

fn build_context(config: Config, capacity: &Capacity, recorder: Recorder) -> std::io::Result<Context> {
    let cri = cri::connect(&config.cri_socket);
    let clock = config.clock.clone();
    let rotation = Rotation::new(cri.clone(), clock.clone(), config.log_bytes_max, config.log_files_max)?;
    let node = NodeFacts {
        name: config.node_name.clone(),
        ip: config.node_ip.to_string(),
        allocatable: capacity.allocatable(),
    };
    let (host_servers, host_searches) = resolv_conf(&config.resolv_conf);
    Ok(Context {
        runtime_name: ArcSwap::from_pointee("coracle".to_owned()),
        images: Images::new(cri.clone(), recorder.clone(), clock.clone()),
        tokens: Tokens::new(config.client.clone(), clock.clone()),
        config_maps: Sources::new(config.client.clone()),
        secrets: Sources::new(config.client.clone()),
        services: Services::default(),
        prober: Arc::new(Prober::new(cri.clone(), config.listen_port)),
        restarts: Mutex::default(),
        node: ArcSwap::from_pointee(node),
        dns: DnsSettings {
            servers: config.cluster_dns.clone(),
            domain: config.cluster_domain.clone(),
            host_servers,
            host_searches,
        },
        memory_capacity: i64::try_from(capacity.memory).unwrap_or(i64::MAX),
        rotation,
        recorder,
        cri,
        config,
    })
}

/// Hands the runtime's events to the pods, and says whether the runtime is there.
async fn follow_runtime(context: Arc<Context>, files: FsWatch, pods: Pods, link: watch::Sender<RuntimeLink>) {
    let socket = context.config.cri_socket.clone();
    let listed = |list| {
        pods.runtime_listed(list);
        link.send_modify(|link| *link = RuntimeLink { up: true, generation: link.generation + 1 });
    };
    let lost = |status: &tonic::Status| {
        if link.borrow().up {
            tracing::warn!(%status, "the runtime is gone");
        }
        link.send_if_modified(|link| std::mem::replace(&mut link.up, false));
    };
    runtime_state::follow(context.cri.clone(), &socket, &files, listed, |event| pods.event(event), lost).await;
}

fn register_metrics(context: &Context, pods: &Pods) {
    struct Running(Box<dyn Fn() -> usize + Send + Sync>);
    impl std::fmt::Debug for Running {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Running")
        }
    }
    impl prometheus_client::collector::Collector for Running {
        fn encode(&self, mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>) -> std::fmt::Result {
            use prometheus_client::encoding::EncodeMetric;
            let count = i64::try_from((self.0)()).unwrap_or(i64::MAX);
            let gauge = prometheus_client::metrics::gauge::ConstGauge::new(count);
            let help = "Number of pods that have a worker";
            let metric = encoder.encode_descriptor("running_pods", help, None, gauge.metric_type())?;
            gauge.encode(metric)
        }
    }
    let pods = pods.clone();
    context.config.metrics.register("kubelet", |registry| {
        registry.register_collector(Box::new(Running(Box::new(move || pods.len()))));
    });
}

/// The name servers and search domains of a `resolv.conf`.
fn resolv_conf(text: &str) -> (Vec<String>, Vec<String>) {
    let mut servers = Vec::new();
    let mut searches = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
            // The last such line counts.
            Some("search" | "domain") => searches = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    (servers, searches)
}

/// A failed call in the words in which Go's gRPC shows it, which people search for.
fn rpc_error(status: &tonic::Status) -> String {
    let code = match status.code() {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "Canceled",
        tonic::Code::Unknown => "Unknown",
        tonic::Code::InvalidArgument => "InvalidArgument",
        tonic::Code::DeadlineExceeded => "DeadlineExceeded",
        tonic::Code::NotFound => "NotFound",
        tonic::Code::AlreadyExists => "AlreadyExists",
        tonic::Code::PermissionDenied => "PermissionDenied",
        tonic::Code::ResourceExhausted => "ResourceExhausted",
        tonic::Code::FailedPrecondition => "FailedPrecondition",
        tonic::Code::Aborted => "Aborted",
        tonic::Code::OutOfRange => "OutOfRange",
        tonic::Code::Unimplemented => "Unimplemented",
        tonic::Code::Internal => "Internal",
        tonic::Code::Unavailable => "Unavailable",
        tonic::Code::DataLoss => "DataLoss",
        tonic::Code::Unauthenticated => "Unauthenticated",
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolver_is_read() {
        let text = "# c\nnameserver 10.0.0.1\nsearch a b\nnameserver 10.0.0.2\nsearch c\noptions x\n";
        assert_eq!(resolv_conf(text), (vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()], vec!["c".to_owned()]));
    }

    #[test]
    fn errors_of_the_runtime_read_as_people_know_them() {
        let status = tonic::Status::failed_precondition("privileged is not possible");
        assert_eq!(rpc_error(&status), "rpc error: code = FailedPrecondition desc = privileged is not possible");
    }
}
