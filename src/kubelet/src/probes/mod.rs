//! Probes: whether a container has started, is alive, and is ready.

mod http;
mod prober;
mod worker;

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::Notify;

pub use prober::{Prober, Target};
pub use worker::{Assignment, run};

/// The three probes of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Whether it has started; the others wait for it.
    Startup,
    /// Whether requests may be sent to it.
    Readiness,
    /// Whether it must be restarted.
    Liveness,
}

impl ProbeKind {
    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Success,
    /// No.
    Failure,
}

/// What the probes of one pod's containers said last.
#[derive(Debug, Clone, Default)]
pub struct Results(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    outcomes: RwLock<HashMap<(String, ProbeKind), Outcome>>,
    changed: Notify,
}

impl Results {
    /// What the probe of a container said last.
    pub fn get(&self, container_id: &str, kind: ProbeKind) -> Option<Outcome> {
        let outcomes = self.0.outcomes.read();
        if outcomes.is_empty() {
            return None;
        }
        outcomes.get(&(container_id.to_owned(), kind)).copied()
    }

    /// Notes what it says; true when that is new.
    pub fn set(&self, container_id: &str, kind: ProbeKind, outcome: Outcome) -> bool {
        let new = self.0.outcomes.write().insert((container_id.to_owned(), kind), outcome) != Some(outcome);
        if new {
            self.0.changed.notify_waiters();
        }
        new
    }

    /// Forgets a container.
    pub fn forget(&self, container_id: &str) {
        self.0.outcomes.write().retain(|(id, _), _| id != container_id);
    }

    /// Returns once the probe of a container has said `outcome`.
    pub async fn wait_for(&self, container_id: &str, kind: ProbeKind, outcome: Outcome) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Listening begins before looking, so that nothing is missed in between.
            changed.as_mut().enable();
            if self.get(container_id, kind) == Some(outcome) {
                return;
            }
            changed.await;
        }
    }
}
