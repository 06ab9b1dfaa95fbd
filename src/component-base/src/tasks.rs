//! Named tasks that end together.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// The tasks of one role: each has a name in the logs, all are told to stop at once, and the role waits for them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the set is told to stop; tasks that hold state select on it.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `future` until it ends or the set stops, whichever comes first.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let task = async move {
            tokio::select! {
                () = future => {}
                () = stop.cancelled() => {}
            }
        };
        self.tracker.spawn(task.instrument(tracing::info_span!("task", name)));
    }

    /// Runs `future` to its own end; it must watch [`Tasks::stopping`] by itself.
    pub fn spawn_graceful<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(future.instrument(tracing::info_span!("task", name)));
    }

    /// Tells every task to stop and waits until all have ended.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
