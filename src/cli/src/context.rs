//! What all verbs share: errors, output, the async runtime, signals, defaults of this machine.

use std::{
    future::Future,
    io::{self, Write},
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
