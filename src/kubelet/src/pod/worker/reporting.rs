//! How a worker reports its pod's status: at once when it changes, one write at a time.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use std::sync::Arc;
use tokio::time::Instant;

use super::{Alarm, Worker};
use crate::{
    pod::{
        operations::{self, Done},
        traits::PodExt,
    },
    status::{Facts, generate, status_patch},
};

impl Worker {
    /// The status as things are.
    fn present_status(&self) -> PodStatus {
        let results = &self.results;
        let probe = |id: &str, kind| results.get(id, kind);
        let runtime_name = self.context.runtime_name.load();
        let node_ip = self.context.config.node_ip.to_string();
        generate(
            &self.pod,
            &Facts {
                observed: &self.observed,
                probe: &probe,
                waiting: &self.waiting,
                terminated: self.has_stopped(),
                failure: self.failure.as_ref().map(|(reason, message)| (*reason, message.as_str())),
                runtime_name: &runtime_name,
                node_ip: &node_ip,
                seen: self.seen,
                now: self.context.config.clock.now(),
            },
        )
    }

    /// Something is left to write.
    pub(super) fn has_unreported(&self) -> bool {
        status_patch(&self.pod, &self.present_status()).is_some()
    }

    pub(super) fn report(&mut self, alarm: &mut Alarm) {
        if self.gone {
            return;
        }
        let status = self.present_status();
        let patch = status_patch(&self.pod, &status);
        self.status.last = Some(status);
        let Some(patch) = patch else { return };
        if self.status.busy {
            return;
        }
        let now = Instant::now();
        let failed = self.status.not_before.filter(|moment| *moment > now);
        if let Some(moment) = failed.or_else(|| self.status.stall.holds(&patch, now)) {
            return alarm.at(moment);
        }
        self.status.busy = true;
        self.status.sent = Some((patch.clone(), self.pod.status.clone()));
        tracing::debug!(pod = self.pod.display(), %patch, "reporting a status");
        let (context, pod) = (self.context.clone(), self.pod.clone());
        self.operations.spawn(async move { Done::Status(operations::write_status(&context, &pod, &patch).await) });
    }

    pub(super) fn absorb_status(&mut self, outcome: Result<Pod, kube::Error>) {
        self.status.busy = false;
        match outcome {
            Ok(pod) if pod.metadata.uid == self.pod.metadata.uid => {
                self.status.failures = 0;
                self.status.not_before = None;
                if let Some((sent, before)) = self.status.sent.take() {
                    self.status.stall.answered(&sent, before.as_ref(), pod.status.as_ref(), Instant::now());
                }
                self.adopt_pod(Arc::new(pod));
            }
            // Another pod has the name by now.
            Ok(_) => self.gone = true,
            Err(kube::Error::Api(status)) if status.code == 404 => self.gone = true,
            Err(error) => {
                // A conflict is a new pod of that name, or a race; the watch tells which.
                tracing::debug!(%error, "a pod's status cannot be written");
                self.status.not_before = Some(Instant::now() + operations::growing(self.status.failures));
                self.status.failures += 1;
            }
        }
    }
}
