//! The first failure of the disk, kept for all who ask later.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use storage::StoreError;
use tokio_util::sync::CancellationToken;

/// Why the store stopped, if it did. openraft hands on a storage error only as text; this keeps the error itself, so
/// that every later request is told which file is broken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    first: Arc<OnceLock<StoreError>>,
    noted: CancellationToken,
}

impl Failure {
    /// Keeps `error` if it is the first, and wraps it for openraft.
    pub(crate) fn note(&self, error: StoreError) -> io::Error {
        tracing::error!(%error, "the store failed");
        let kept = self.first.get_or_init(|| error);
        self.noted.cancel();
        io::Error::other(kept.clone())
    }

    /// The failure, if there was one.
    pub(crate) fn get(&self) -> Option<StoreError> {
        self.first.get().cloned()
    }

    /// Waits until there is a failure.
    pub(crate) async fn noted(&self) -> StoreError {
        self.noted.cancelled().await;
        self.get().expect("it is kept before it is noted")
    }

    /// Fails when there was a failure before.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.get().map_or(Ok(()), |error| Err(io::Error::other(error)))
    }

    /// The failure, or else what openraft says.
    pub(crate) fn or(&self, stopped: &dyn std::error::Error) -> StoreError {
        self.get().unwrap_or_else(|| StoreError::Unavailable(format!("it has stopped: {stopped}")))
    }
}
