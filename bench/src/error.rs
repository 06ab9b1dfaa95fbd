//! Why something could not be measured.

use std::{io, path::PathBuf};

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The cluster's answer.
    #[error("the cluster: {0}")]
    Cluster(#[from] kube::Error),
    /// No cluster.
    #[error("no cluster: {0}; name its kubeconfig with --kubeconfig")]
    Kubeconfig(String),
    /// A file or program.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("{0} did not happen within {1} s")]
    Late(String, u64),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl BenchError {
    /// About a file.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
