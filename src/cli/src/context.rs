//! What all verbs share: errors, output, the async runtime, signals, defaults of this machine.

use std::{
    future::Future,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use tokio::signal::unix::{SignalKind, signal};

/// Why a verb failed; each says what to do about it where there is something to be done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The log filter.
    #[error(transparent)]
    Logs(#[from] component_base::logs::InvalidFilter),
    /// The server role.
    #[error(transparent)]
    Server(#[from] ::server::ServerError),
    /// The agent role.
    #[error(transparent)]
    Agent(#[from] ::agent::AgentError),
    /// The runtime role.
    #[error(transparent)]
    Runtime(#[from] ::runtime::Error),
    /// Images.
    #[error(transparent)]
    Images(#[from] ::images::ImageError),
    /// A file of the user's.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A kubeconfig that cannot be used.
    #[error("kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The cluster.
    #[error("the cluster did not answer as expected: {0}")]
    Cluster(#[from] kube::Error),
    /// The system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Anything that a user can put right.
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Says a line on standard output. A reader who has left (a closed pipe) wants no more.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Says on standard error why the verb failed, with all causes.
pub fn complain(error: &CliError) {
    let mut text = format!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Runs a verb's future on the process's async runtime.
pub fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    // Without a provider chosen, TLS would not know which of several to take.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::System { what: "start the async runtime", source })?;
    let result = runtime.block_on(future);
    // What still runs in threads (a blocking read) is no reason to linger.
    runtime.shutdown_background();
    result
}

/// Resolves when the process is told to end (SIGTERM, SIGINT).
pub async fn told_to_end() -> Result<(), CliError> {
    let watch = |kind| signal(kind).map_err(|source| CliError::System { what: "watch for signals", source });
    let (mut term, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// This machine's name as a node.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    let valid = |byte: char| byte.is_ascii_alphanumeric() || matches!(byte, '-' | '.');
    let name: String = name.chars().map(|byte| if valid(byte) { byte } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// The address from which this machine reaches others; none where it reaches none. Nothing is sent.
pub fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address that is nobody's (RFC 5737): only the route to it counts.
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// How this machine resolves names; nothing where it does not say.
pub fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// The resolvers this machine is configured with.
pub fn resolvers() -> Vec<SocketAddr> {
    let text = resolv_conf();
    let addresses =
        text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, 53)).collect()
}

/// This program's own file, which is started again as the runtime.
pub fn own_executable() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(|source| CliError::System { what: "find this program's own file", source })
}
