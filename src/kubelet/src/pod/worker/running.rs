//! The worker of a pod that shall run.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Container;
use tokio::time::Instant;

use super::{Alarm, Image, Worker};
use crate::{
    events::Severity,
    images::ImageError,
    pod::{
        actions::{Kill, View, compute_pod_actions},
        config::{container_hash, log_directory, sandbox_config},
        objects::PodObjects,
        observed::{ObservedContainer, Phase},
        operations::{self, Done},
        restart::failed_at,
        start::{self, Start, StartError},
        stop,
        traits::PodExt,
    },
    probes::ProbeKind,
    status::Waiting,
    volumes::{PodVolumes, VolumeError},
};

/// A container's configuration or creation that failed is tried again after 10 s, 20 s, … 5 min.
fn again_after(failures: u32) -> Duration {
    crate::backoff::DELAY_FIRST.saturating_mul(1 << failures.min(5)).min(crate::backoff::DELAY_MAX)
}

impl Worker {
    pub(super) fn step_running(&mut self, alarm: &mut Alarm) {
        self.check_deadline(alarm);
        if self.gone || self.pod.is_deleted() || self.pod.is_terminal() || self.failure.is_some() {
            return self.begin_ending();
        }
        self.prepare_volumes(alarm);
        let results = self.results.clone();
        let probe = move |id: &str, kind| results.get(id, kind);
        let view = View { pod: &self.pod, observed: &self.observed, probe: &probe, restarting: &self.restarting };
        let actions = compute_pod_actions(&view);
        if actions.create_sandbox {
            let wanted = actions.init_to_start.iter().map(|index| (true, *index));
            let wanted: Vec<_> = wanted.chain(actions.to_start.iter().map(|index| (false, *index))).collect();
            self.make_sandbox(actions.attempt, alarm);
            // Images are fetched while the sandbox is made.
            for (init, index) in wanted {
                if let Some(container) = self.container_at(init, index) {
                    self.have_image(&container, alarm);
                }
            }
            return;
        }
        if actions.kill_pod {
            return self.begin_ending();
        }
        for kill in actions.to_kill {
            self.kill(kill);
        }
        for index in actions.init_to_start {
            if let Some(container) = self.container_at(true, index) {
                self.start(&container, alarm);
            }
        }
        for index in actions.to_start {
            if let Some(container) = self.container_at(false, index) {
                self.start(&container, alarm);
            }
        }
        self.tidy();
    }

    fn container_at(&self, init: bool, index: usize) -> Option<Container> {
        let list = if init { self.pod.init_containers() } else { self.pod.containers() };
        list.get(index).cloned()
    }

    fn check_deadline(&mut self, alarm: &mut Alarm) {
        let Some(seconds) = self.pod.pod_spec().and_then(|spec| spec.active_deadline_seconds) else { return };
        let started = self.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        let Ok(deadline) = started.unwrap_or(self.seen).checked_add(jiff::SignedDuration::from_secs(seconds)) else {
            return;
        };
        let left = deadline.duration_since(self.context.config.clock.now());
        if left.is_positive() {
            alarm.after(left.unsigned_abs());
        } else if self.failure.is_none() && !self.pod.is_terminal() {
            let message = "Pod was active on the node longer than the specified deadline";
            self.context.recorder.pod(&self.pod, Severity::Normal, "DeadlineExceeded", message);
            self.failure = Some(("DeadlineExceeded", message.to_owned()));
        }
    }

    fn make_sandbox(&mut self, attempt: u32, alarm: &mut Alarm) {
        if self.sandbox.busy {
            return;
        }
        if let Some(moment) = self.sandbox.not_before.filter(|moment| *moment > Instant::now()) {
            return alarm.at(moment);
        }
        self.sandbox.busy = true;
        let (context, pod, observed) = (self.context.clone(), self.pod.clone(), self.observed.clone());
        let leftovers =
            self.observed.alive().next().is_some() || self.observed.sandboxes.iter().any(|sandbox| sandbox.ready);
        if attempt > 0 && self.sandbox.failures == 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.context.recorder.pod(&pod, Severity::Normal, "SandboxChanged", message);
        }
        self.operations.spawn(async move {
            if leftovers {
                let grace = pod.termination_grace_seconds();
                if let Err(status) = stop::kill_pod(&context, &pod, &observed, grace, &Default::default()).await {
                    return Done::Sandbox(Err(status));
                }
            }
            Done::Sandbox(operations::create_sandbox(&context, &pod, attempt).await)
        });
    }

    fn prepare_volumes(&mut self, alarm: &mut Alarm) {
        let now = self.context.config.clock.now();
        if let Some(renew_at) = self.volumes.ready.as_ref().and_then(|volumes| volumes.renew_at) {
            let left = renew_at.duration_since(now);
            if left.is_positive() { alarm.after(left.unsigned_abs()) } else { self.volumes.stale = true }
        }
        if self.volumes.busy || self.volumes.ready.is_some() && !self.volumes.stale {
            return;
        }
        if let Some(moment) = self.volumes.not_before.filter(|moment| *moment > Instant::now()) {
            return alarm.at(moment);
        }
        self.volumes.stale = false;
        let has_volumes = self.pod.pod_spec().is_some_and(|spec| spec.volumes.as_ref().is_some_and(|v| !v.is_empty()));
        if self.watched.is_empty() && !has_volumes {
            self.volumes.ready = Some(Arc::default());
            return;
        }
        self.volumes.busy = true;
        let (context, pod, watched) = (self.context.clone(), self.pod.clone(), self.watched.clone());
        self.operations.spawn(async move {
            let node = context.node.load_full();
            operations::prepare_volumes(&context, &pod, &watched, &node).await
        });
    }

    pub(super) fn absorb_volumes(&mut self, objects: Arc<PodObjects>, outcome: Result<Arc<PodVolumes>, VolumeError>) {
        self.volumes.busy = false;
        self.objects = objects;
        // Who could not be configured may find now what was missing.
        self.retries.retain(|name, _| {
            self.waiting.get(name).is_none_or(|waiting| waiting.reason != "CreateContainerConfigError")
        });
        match outcome {
            Ok(volumes) => {
                self.volumes.failures = 0;
                self.volumes.ready = Some(volumes);
            }
            Err(error) => {
                self.context.recorder.pod(&self.pod, Severity::Warning, "FailedMount", error.to_string());
                self.volumes.not_before = Some(Instant::now() + operations::growing(self.volumes.failures));
                self.volumes.failures += 1;
                // A pod that runs keeps what it has.
                self.volumes.stale = self.volumes.ready.is_some();
            }
        }
    }

    fn kill(&mut self, kill: Kill) {
        if !self.killing.insert(kill.id.clone()) {
            return;
        }
        if kill.restart {
            self.restarting.insert(kill.name.clone());
        }
        if kill.probe == Some(ProbeKind::Liveness) || kill.probe == Some(ProbeKind::Startup) {
            self.probes.remove(&kill.id);
        }
        let own_grace = self.pod.find_container(&kill.name).and_then(|(container, _)| {
            let probe = match kill.probe? {
                ProbeKind::Liveness => container.liveness_probe.as_ref()?,
                ProbeKind::Startup => container.startup_probe.as_ref()?,
                ProbeKind::Readiness => return None,
            };
            probe.termination_grace_period_seconds
        });
        let grace = own_grace.unwrap_or_else(|| self.pod.termination_grace_seconds());
        let (context, pod) = (self.context.clone(), self.pod.clone());
        let sandbox = self.observed.sandbox().map(|sandbox| sandbox.id.clone()).unwrap_or_default();
        self.operations.spawn(async move {
            let stopped = stop::stop_container(&context, &pod, &kill.name, &kill.id, grace, &kill.message).await;
            let outcome = match stopped {
                Ok(()) => start::status_of(&context, &sandbox, &kill.id).await,
                Err(status) => Err(status),
            };
            Done::Stopped(kill.id, outcome)
        });
    }

    fn start(&mut self, container: &Container, alarm: &mut Alarm) {
        let name = &container.name;
        if self.starting.contains(name) {
            return;
        }
        let latest = self.observed.latest(name).cloned();
        if let Some(current) = self.observed.current(name) {
            match current.phase {
                // It is being stopped first.
                Phase::Running => return,
                Phase::Created | Phase::Unknown => self.discard(current.clone()),
                Phase::Exited => {}
            }
        }
        let now = self.context.config.clock.now();
        let key = format!("{}/{name}/{}", self.pod.uid(), container_hash(container));
        let finished = latest.as_ref().and_then(failed_at);
        if let Some(finished) = finished {
            let backoff = self.context.restarts.lock();
            if let Some(rest) = backoff.remaining(&key, finished, now) {
                let delay = backoff.delay(&key);
                drop(backoff);
                self.wait_after_crash(container, delay);
                return alarm.after(rest);
            }
        }
        if let Some((moment, _)) = self.retries.get(name).filter(|(moment, _)| *moment > Instant::now()) {
            return alarm.at(*moment);
        }
        let image = self.have_image(container, alarm);
        let sandbox = self.observed.sandbox().filter(|sandbox| sandbox.ready).cloned();
        let (Some(image), Some(sandbox), Some(volumes)) = (image, sandbox, self.volumes.ready.clone()) else { return };
        if self.volumes.busy && self.volumes.stale {
            return;
        }
        if let Some(finished) = finished {
            self.context.restarts.lock().next(key, finished, now);
        }
        self.images.remove(name);
        self.starting.insert(name.clone());
        self.restarting.remove(name);
        let restart_count = match &latest {
            Some(latest) => latest.restart_count + 1,
            None => self.count_from_logs(name),
        };
        let start = Start {
            pod: self.pod.clone(),
            container: name.clone(),
            image,
            restart_count,
            sandbox,
            volumes,
            objects: self.objects.clone(),
        };
        let context = self.context.clone();
        let name = name.clone();
        self.operations.spawn(async move { Done::Started(name, start::start(&context, start).await) });
    }

    /// Shows that a container waits after a crash; says so once for each crash.
    fn wait_after_crash(&mut self, container: &Container, delay: Duration) {
        let name = &container.name;
        let message =
            format!("back-off {} restarting failed container={name} pod={}", go_seconds(delay), self.pod.display());
        let waiting = Waiting { reason: "CrashLoopBackOff".to_owned(), message };
        if self.waiting.get(name) != Some(&waiting) {
            let message = format!("Back-off restarting failed container {name} in pod {}", self.pod.display());
            self.context.recorder.container(&self.pod, name, Severity::Warning, "BackOff", message);
            self.waiting.insert(name.clone(), waiting);
        }
    }

    /// The image of a container, once it is there; begins to fetch it.
    fn have_image(&mut self, container: &Container, alarm: &mut Alarm) -> Option<String> {
        match self.images.get(&container.name) {
            Some(Image::Ready(reference)) => return Some(reference.clone()),
            Some(Image::Busy) => return None,
            None => {}
        }
        if let Some((moment, _)) = self.retries.get(&container.name).filter(|(moment, _)| *moment > Instant::now()) {
            alarm.at(*moment);
            return None;
        }
        let pulls_with_secrets = self
            .pod
            .pod_spec()
            .is_some_and(|spec| spec.image_pull_secrets.as_ref().is_some_and(|list| !list.is_empty()));
        self.images.insert(container.name.clone(), Image::Busy);
        let (context, pod, container) = (self.context.clone(), self.pod.clone(), container.clone());
        let watched = self.watched.clone();
        self.operations.spawn(async move {
            let objects = if pulls_with_secrets { watched.read().await } else { PodObjects::default() };
            let sandbox = sandbox_config(&pod, 0, &context.config.root_dir, &context.dns);
            let outcome = context.images.ensure(&pod, &container, &objects, sandbox).await;
            Done::Image(container.name, outcome)
        });
        None
    }

    pub(super) fn absorb_image(&mut self, name: String, outcome: Result<String, ImageError>) {
        match outcome {
            Ok(reference) => {
                if self.waiting.get(&name).is_some_and(|waiting| waiting.reason.contains("Image")) {
                    self.waiting.remove(&name);
                    self.retries.remove(&name);
                }
                self.images.insert(name, Image::Ready(reference));
            }
            Err(error) => {
                self.images.remove(&name);
                let message = format!("Error: {}", error.reason);
                let severity = if error.reason == "ImagePullBackOff" { Severity::Normal } else { Severity::Warning };
                let reason = if error.reason == "ImagePullBackOff" { "BackOff" } else { "Failed" };
                if error.reason != "ImagePullBackOff" {
                    self.context.recorder.container(&self.pod, &name, severity, reason, message);
                }
                let pause = error.retry_in.unwrap_or(crate::backoff::DELAY_MAX);
                self.retries.insert(name.clone(), (Instant::now() + pause, 1));
                self.waiting.insert(name, Waiting { reason: error.reason.to_owned(), message: error.message });
            }
        }
    }

    pub(super) fn absorb_start(&mut self, name: String, outcome: Result<ObservedContainer, StartError>) {
        self.starting.remove(&name);
        match outcome {
            Ok(container) => {
                self.retries.remove(&name);
                self.waiting.remove(&name);
                if container.phase == Phase::Running {
                    self.context.rotation.watch(&container.id, &container.log_path);
                }
                self.observed.merge_container(container);
            }
            Err(error) if error.runtime_away => {
                // It is tried when the runtime is back, and in any case soon.
                self.retries.insert(name, (Instant::now() + Duration::from_secs(1), 0));
            }
            Err(error) => {
                let failures = self.retries.get(&name).map_or(0, |(_, failures)| *failures);
                self.retries.insert(name.clone(), (Instant::now() + again_after(failures), failures + 1));
                self.waiting.insert(name, Waiting { reason: error.reason.to_owned(), message: error.message });
            }
        }
    }

    /// A container whose record is lost may have left logs, by which it is known how often it was started.
    fn count_from_logs(&self, name: &str) -> u32 {
        let folder = log_directory(&self.context.config.root_dir, &self.pod).join(name);
        let number = |entry: std::io::Result<std::fs::DirEntry>| {
            let file = entry.ok()?.file_name();
            file.to_str()?.split('.').next()?.parse::<u32>().ok()
        };
        std::fs::read_dir(folder).ok().and_then(|files| files.filter_map(number).max()).map_or(0, |last| last + 1)
    }

    fn discard(&mut self, container: ObservedContainer) {
        self.observed.forget_container(&container.id);
        let context = self.context.clone();
        self.operations.spawn(async move {
            operations::remove_container(&context, container).await;
            Done::Tidied
        });
    }

    /// Of each container the present and the last instance are kept, and sandboxes as long as something is in them.
    fn tidy(&mut self) {
        let names: Vec<String> =
            self.pod.containers().iter().chain(self.pod.init_containers()).map(|c| c.name.clone()).collect();
        for name in names {
            let old: Vec<ObservedContainer> =
                self.observed.all(&name).skip(2).filter(|old| old.phase == Phase::Exited).cloned().collect();
            for container in old {
                self.results.forget(&container.id);
                self.discard(container);
            }
        }
        let occupied = |id: &str| self.observed.containers.iter().any(|container| container.sandbox_id == id);
        let empty: Vec<String> = self
            .observed
            .sandboxes
            .iter()
            .skip(1)
            .filter(|sandbox| !sandbox.ready && !occupied(&sandbox.id))
            .map(|sandbox| sandbox.id.clone())
            .collect();
        for id in empty {
            self.observed.forget_sandbox(&id);
            let context = self.context.clone();
            self.operations.spawn(async move {
                operations::remove_sandbox(&context, id).await;
                Done::Tidied
            });
        }
    }
}

/// Whole seconds as Go writes them: `10s`, `2m40s`, `5m0s`.
fn go_seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}
