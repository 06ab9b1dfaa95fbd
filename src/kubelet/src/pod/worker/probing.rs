//! Which probes of a pod's containers are at work.

use std::{sync::Arc, time::Duration};

use super::{Worker, ending::Stage};
use crate::{
    pod::{
        observed::Phase,
        traits::{PodExt, is_sidecar},
    },
    probes::{Assignment, Outcome, ProbeKind, Target, run},
};

/// Ends the probe when it is dropped.
pub(super) struct ProbeTask(tokio::task::AbortHandle);

impl Drop for ProbeTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    /// A container that this kubelet's predecessor found ready is ready until a probe says otherwise.
    pub(super) fn keep_old_results(&self) {
        let statuses = self.pod.status.iter().flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        });
        for status in statuses {
            let Some(id) = status.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id) else {
                continue;
            };
            if status.ready {
                self.results.set(id, ProbeKind::Readiness, Outcome::Success);
            }
            if status.started == Some(true) {
                self.results.set(id, ProbeKind::Startup, Outcome::Success);
            }
        }
    }

    /// Begins the probes of containers that run, and ends those of containers that do not.
    pub(super) fn manage_probes(&mut self) {
        if !matches!(self.stage, Stage::Running) {
            return;
        }
        let running = |id: &str| {
            self.observed.containers.iter().any(|container| container.id == id && container.phase == Phase::Running)
        };
        let ended: Vec<String> = self.probes.keys().filter(|id| !running(id)).cloned().collect();
        for id in ended {
            self.probes.remove(&id);
            self.results.forget(&id);
        }
        let Some(sandbox) = self.observed.sandbox() else { return };
        let ip = if self.pod.is_host_network() {
            self.context.config.node_ip.to_string()
        } else {
            sandbox.ips.first().cloned().unwrap_or_default()
        };
        let sidecars = self.pod.init_containers().iter().filter(|container| is_sidecar(container));
        for container in self.pod.containers().iter().chain(sidecars) {
            let probes = [
                (ProbeKind::Startup, &container.startup_probe),
                (ProbeKind::Readiness, &container.readiness_probe),
                (ProbeKind::Liveness, &container.liveness_probe),
            ];
            if probes.iter().all(|(_, probe)| probe.is_none()) {
                continue;
            }
            let Some(current) = self.observed.current(&container.name) else { continue };
            if current.phase != Phase::Running
                || self.probes.contains_key(&current.id)
                || self.killing.contains(&current.id)
            {
                continue;
            }
            let now = i64::try_from(self.context.config.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
            let running_for = Duration::from_nanos(u64::try_from(now - current.started_at).unwrap_or(0));
            let adopted = self.adopted.contains(&current.id);
            let tasks = probes.into_iter().filter_map(|(kind, probe)| {
                let started = kind == ProbeKind::Startup
                    && self.results.get(&current.id, ProbeKind::Startup) == Some(Outcome::Success);
                let probe = probe.clone().filter(|_| !started)?;
                let mut random = [0];
                self.context.config.entropy.fill(&mut random);
                let work = Assignment {
                    pod: self.pod.clone(),
                    container: container.name.clone(),
                    container_id: current.id.clone(),
                    kind,
                    probe,
                    target: Target { ip: ip.clone() },
                    running_for,
                    adopted,
                    spread: f64::from(random[0]) / 256.0,
                };
                let mailbox = self.mailbox.clone();
                let changed: Arc<dyn Fn() + Send + Sync> = Arc::new(move || mailbox.wake());
                let context = &self.context;
                let task = tokio::spawn(run(
                    work,
                    context.prober.clone(),
                    self.results.clone(),
                    context.recorder.clone(),
                    changed,
                ));
                Some(ProbeTask(task.abort_handle()))
            });
            let tasks: Vec<ProbeTask> = tasks.collect();
            self.probes.insert(current.id.clone(), tasks);
        }
    }
}
