//! The worker of a pod that ends: stop, report, delete, remove.

use std::time::Duration;

use tokio::time::Instant;

use super::{Alarm, Worker};
use crate::{
    events::Severity,
    pod::{
        config::log_directory,
        observed::Observed,
        operations::{self, Done},
        stop,
        traits::PodExt,
    },
};

/// How far the pod is.
pub(super) enum Stage {
    /// It shall run.
    Running,
    /// Its containers are being stopped.
    Stopping {
        /// How long they have.
        grace: i64,
        /// How many calls to stop are under way.
        calls: u32,
        /// A call failed, and is made again then.
        not_before: Option<Instant>,
    },
    /// Nothing of it runs any more.
    Stopped {
        /// The API server is being told to delete it.
        deleting: bool,
        /// A deletion failed, and is tried again then.
        not_before: Option<Instant>,
    },
    /// What is left on the node is being removed.
    Removing {
        /// The removal is under way.
        busy: bool,
        /// It failed, and is tried again then.
        not_before: Option<Instant>,
    },
    /// Nothing is left.
    Removed,
}

const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Worker {
    /// Stops everything. What was being prepared is given up.
    pub(super) fn begin_ending(&mut self) {
        self.operations.abort_all();
        self.sandbox.busy = false;
        self.volumes.busy = false;
        self.status.busy = false;
        self.images.clear();
        self.starting.clear();
        self.probes.clear();
        let grace = self.grace();
        self.stage = Stage::Stopping { grace, calls: 0, not_before: None };
        self.stop_all(grace);
    }

    fn grace(&self) -> i64 {
        self.pod.termination_grace_seconds().max(if self.pod.is_deleted() { 0 } else { 1 })
    }

    fn stop_all(&mut self, grace: i64) {
        if let Stage::Stopping { calls, .. } = &mut self.stage {
            *calls += 1;
        }
        let (context, pod, observed) = (self.context.clone(), self.pod.clone(), self.observed.clone());
        let told = self.killing.clone();
        self.killing.extend(observed.alive().map(|container| container.id.clone()));
        self.operations
            .spawn(async move { Done::Killed(stop::kill_pod(&context, &pod, &observed, grace, &told).await) });
    }

    pub(super) fn absorb_killed(&mut self, outcome: Result<Observed, tonic::Status>) {
        let Stage::Stopping { calls, not_before, .. } = &mut self.stage else { return };
        *calls = calls.saturating_sub(1);
        match outcome {
            Ok(observed) => {
                self.observed.replace(observed);
                self.killing.clear();
                self.waiting.clear();
                self.stage = Stage::Stopped { deleting: false, not_before: None };
            }
            Err(status) => {
                *not_before = Some(Instant::now() + AGAIN_AFTER);
                let message = format!("error killing pod: {}", crate::rpc_error(&status));
                self.context.recorder.pod(&self.pod, Severity::Warning, "FailedKillPod", message);
            }
        }
    }

    pub(super) fn step_ending(&mut self, alarm: &mut Alarm) {
        let due = |moment: Option<Instant>| moment.is_none_or(|moment| moment <= Instant::now());
        let wanted = self.grace();
        match &mut self.stage {
            Stage::Running | Stage::Removed => {}
            Stage::Stopping { grace, calls, not_before } => {
                // Somebody has lost patience, or the last call failed.
                if wanted < *grace {
                    *grace = wanted;
                    self.stop_all(wanted);
                } else if *calls == 0 && due(*not_before) {
                    self.stop_all(wanted);
                } else if let Some(moment) = *not_before {
                    alarm.at(moment);
                }
            }
            Stage::Stopped { deleting, not_before } => {
                if self.gone {
                    self.stage = Stage::Removing { busy: false, not_before: None };
                    return self.step_ending(alarm);
                }
                if !self.pod.is_deleted() || *deleting {
                    return;
                }
                if !due(*not_before) {
                    return alarm.at(not_before.unwrap_or_else(Instant::now));
                }
                // First the last word of its status, then the end.
                if self.status.busy || self.has_unreported() {
                    return;
                }
                if let Stage::Stopped { deleting, .. } = &mut self.stage {
                    *deleting = true;
                }
                let (context, pod) = (self.context.clone(), self.pod.clone());
                self.operations.spawn(async move { Done::Deleted(operations::delete(&context, &pod).await) });
            }
            Stage::Removing { busy, not_before } => {
                if *busy {
                    return;
                }
                if !due(*not_before) {
                    return alarm.at(not_before.unwrap_or_else(Instant::now));
                }
                *busy = true;
                let (context, pod) = (self.context.clone(), self.pod.clone());
                let logs = log_directory(&self.context.config.root_dir, &self.pod);
                self.operations
                    .spawn(async move { Done::Removed(operations::remove_pod(&context, pod.uid(), Some(logs)).await) });
            }
        }
    }

    pub(super) fn absorb_deleted(&mut self, outcome: Result<(), kube::Error>) {
        let Stage::Stopped { deleting, not_before } = &mut self.stage else { return };
        *deleting = false;
        match outcome {
            Ok(()) => self.gone = true,
            // Not there, or another pod has the name by now.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => self.gone = true,
            Err(error) => {
                tracing::warn!(%error, pod = self.pod.display(), "the end of a pod cannot be told");
                *not_before = Some(Instant::now() + AGAIN_AFTER);
            }
        }
    }

    pub(super) fn absorb_removed(&mut self, outcome: Result<(), tonic::Status>) {
        match outcome {
            Ok(()) => {
                self.context.tokens.forget(self.pod.uid());
                self.context.images.forget_pod(&self.pod);
                self.stage = Stage::Removed;
            }
            Err(status) => {
                tracing::debug!(%status, pod = self.pod.display(), "a pod cannot be removed");
                self.stage = Stage::Removing { busy: false, not_before: Some(Instant::now() + AGAIN_AFTER) };
            }
        }
    }

    /// All containers have ended, and none starts again.
    pub(super) fn has_stopped(&self) -> bool {
        matches!(self.stage, Stage::Stopped { .. } | Stage::Removing { .. } | Stage::Removed)
    }
}
