//! The worker of one pod.
//!
//! ```text
//!   API server ─┐                    ┌─ operations: sandbox, volumes, images, start, stop, status
//!   runtime  ───┼─► mailbox ─► step ─┤
//!   probes   ───┘       ▲            └─ the next moment to look again
//!                       └── what came out of operations
//! ```
//!
//! A step looks at everything that is known, decides with [`compute_pod_actions`](super::actions), and begins what is
//! to be done; it never waits. Operations run beside it, each at most once at a time for one thing, and their outcome
//! leads to the next step. News that comes while they run is seen at once: a deletion ends them.

mod ending;
mod mailbox;
mod probing;
mod reporting;
mod running;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::{sync::watch, task::JoinSet, time::Instant};

pub use mailbox::{Mailbox, News};

use self::{ending::Stage, probing::ProbeTask};
use super::{
    objects::{PodObjects, References},
    observed::{Observed, ObservedContainer, Phase},
    operations::{self, Done, Watched},
    traits::PodExt,
};
use crate::{
    context::Context,
    probes::Results,
    status::{Stall, Waiting},
    volumes::PodVolumes,
};

/// What others may see of a pod.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The pod as the API server has it, with the status that this kubelet has for it.
    pub pod: Arc<Pod>,
    /// What the runtime has.
    pub observed: Arc<Observed>,
}

/// The worker of one pod.
pub struct Worker {
    context: Arc<Context>,
    mailbox: Arc<Mailbox>,
    snapshot: watch::Sender<Snapshot>,
    pod: Arc<Pod>,
    observed: Observed,
    /// Containers that ran before this kubelet did.
    adopted: HashSet<String>,
    results: Results,
    probes: HashMap<String, Vec<ProbeTask>>,
    references: References,
    watched: Arc<Watched>,
    operations: JoinSet<Done>,
    stage: Stage,
    sandbox: Sandbox,
    volumes: Volumes,
    objects: Arc<PodObjects>,
    images: HashMap<String, Image>,
    starting: HashSet<String>,
    killing: HashSet<String>,
    restarting: HashSet<String>,
    /// Containers that are not tried again before that moment, and how often they failed.
    retries: HashMap<String, (Instant, u32)>,
    waiting: HashMap<String, Waiting>,
    failure: Option<(&'static str, String)>,
    status: Status,
    seen: Timestamp,
    gone: bool,
}

#[derive(Default)]
struct Sandbox {
    busy: bool,
    not_before: Option<Instant>,
    failures: u32,
}

#[derive(Default)]
struct Volumes {
    busy: bool,
    stale: bool,
    ready: Option<Arc<PodVolumes>>,
    not_before: Option<Instant>,
    failures: u32,
}

enum Image {
    Busy,
    Ready(String),
}

#[derive(Default)]
struct Status {
    busy: bool,
    not_before: Option<Instant>,
    failures: u32,
    /// What is being written, and to which status.
    sent: Option<(serde_json::Value, Option<PodStatus>)>,
    stall: Stall,
    last: Option<PodStatus>,
}

/// The earliest of several moments.
#[derive(Default)]
struct Alarm(Option<Instant>);

impl Alarm {
    fn at(&mut self, moment: Instant) {
        self.0 = Some(self.0.map_or(moment, |known| known.min(moment)));
    }

    fn after(&mut self, pause: Duration) {
        self.at(Instant::now() + pause);
    }
}

impl Worker {
    /// The worker of `pod`, of which the runtime has `observed` already.
    pub fn new(context: Arc<Context>, pod: Arc<Pod>, mut observed: Observed, mailbox: Arc<Mailbox>) -> Self {
        observed.containers.iter_mut().for_each(|container| container.message_read = container.phase != Phase::Exited);
        let adopted = observed.alive().map(|container| container.id.clone()).collect();
        let snapshot = Snapshot { pod: pod.clone(), observed: Arc::new(observed.clone()) };
        let seen = context.config.clock.now();
        let mut worker = Self {
            context,
            mailbox,
            snapshot: watch::Sender::new(snapshot),
            pod,
            observed,
            adopted,
            results: Results::default(),
            probes: HashMap::new(),
            references: References::default(),
            watched: Arc::default(),
            operations: JoinSet::new(),
            stage: Stage::Running,
            sandbox: Sandbox::default(),
            volumes: Volumes::default(),
            objects: Arc::default(),
            images: HashMap::new(),
            starting: HashSet::new(),
            killing: HashSet::new(),
            restarting: HashSet::new(),
            retries: HashMap::new(),
            waiting: HashMap::new(),
            failure: None,
            status: Status::default(),
            seen,
            gone: false,
        };
        worker.watch_references();
        worker.keep_old_results();
        for container in worker.observed.alive() {
            worker.context.rotation.watch(&container.id, &container.log_path);
        }
        worker
    }

    /// What others may see.
    pub fn snapshot(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// Works until nothing is left of the pod on this node.
    pub async fn run(mut self) {
        loop {
            self.take_mail();
            let alarm = self.step();
            self.publish();
            if matches!(self.stage, Stage::Removed) {
                return;
            }
            let sleeping = async {
                match alarm.0 {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.mailbox.arrived() => {}
                Some(done) = self.operations.join_next() => match done {
                    Ok(done) => self.absorb(done),
                    Err(error) if error.is_panic() => tracing::error!(%error, pod = self.pod.display(), "an operation panicked"),
                    Err(_aborted) => {}
                },
                () = sleeping => {}
            }
        }
    }

    fn step(&mut self) -> Alarm {
        let mut alarm = Alarm::default();
        self.read_termination_messages();
        match self.stage {
            Stage::Running => self.step_running(&mut alarm),
            _ => self.step_ending(&mut alarm),
        }
        self.manage_probes();
        self.report(&mut alarm);
        alarm
    }

    fn take_mail(&mut self) {
        let mail = self.mailbox.take();
        if let Some(pod) = mail.pod {
            self.adopt_pod(pod);
        }
        self.gone |= mail.gone;
        for news in mail.news {
            match news {
                News::Event(event) => {
                    let sandbox_id = event.pod_sandbox_status.as_ref().map_or("", |sandbox| sandbox.id.as_str());
                    if let Some(sandbox) = &event.pod_sandbox_status
                        // A sandbox that is being removed is not news of a new one.
                        && (self.stage_is_running() || self.observed.sandboxes.iter().any(|known| known.id == sandbox.id))
                    {
                        self.observed.merge_sandbox(super::observed::ObservedSandbox::from_cri(sandbox));
                    }
                    let removed = event.container_event_type() == cri::v1::ContainerEventType::ContainerDeletedEvent;
                    for status in &event.containers_statuses {
                        if let Some(container) = ObservedContainer::from_cri(sandbox_id, status)
                            && !(removed && container.id == event.container_id)
                        {
                            self.observed.merge_container(container);
                        }
                    }
                }
                News::Listed(observed) => {
                    self.observed.replace(*observed);
                    // The runtime is back: what it refused when it was away is tried at once.
                    self.sandbox.not_before = None;
                    self.retries.retain(|_, (_, failures)| *failures > 0);
                }
            }
        }
        if mail.objects_changed {
            self.volumes.stale = true;
            self.volumes.not_before = None;
        }
    }

    /// Takes over what the API server has, unless it is older than what is known.
    fn adopt_pod(&mut self, pod: Arc<Pod>) {
        let version = |pod: &Pod| pod.metadata.resource_version.as_deref().and_then(|text| text.parse::<u64>().ok());
        if let (Some(old), Some(new)) = (version(&self.pod), version(&pod))
            && new < old
        {
            return;
        }
        let metadata_changed = pod.metadata.labels != self.pod.metadata.labels
            || pod.metadata.annotations != self.pod.metadata.annotations;
        let spec_changed = pod.spec != self.pod.spec;
        self.pod = pod;
        if spec_changed {
            self.watch_references();
        }
        let shows_metadata = |pod: &Pod| {
            let volumes = pod.pod_spec().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
            volumes.iter().any(|volume| {
                volume.downward_api.is_some()
                    || volume
                        .projected
                        .iter()
                        .flat_map(|p| p.sources.iter().flatten())
                        .any(|s| s.downward_api.is_some())
            })
        };
        if metadata_changed && shows_metadata(&self.pod) {
            self.volumes.stale = true;
        }
    }

    fn watch_references(&mut self) {
        let references = References::of(&self.pod);
        if references == self.references {
            return;
        }
        let namespace = self.pod.namespace();
        let wake = || {
            let mailbox = self.mailbox.clone();
            let wake: crate::sources::Wake = Arc::new(move || mailbox.objects_changed());
            wake
        };
        let (maps, secrets) = (&self.context.config_maps, &self.context.secrets);
        self.watched = Arc::new(Watched {
            config_maps: references
                .config_maps
                .iter()
                .map(|name| (name.clone(), maps.refer(namespace, name, wake())))
                .collect(),
            secrets: references
                .secrets
                .iter()
                .map(|name| (name.clone(), secrets.refer(namespace, name, wake())))
                .collect(),
        });
        self.references = references;
        self.volumes.stale = self.volumes.ready.is_some();
    }

    fn absorb(&mut self, done: Done) {
        match done {
            Done::Sandbox(outcome) => {
                self.sandbox.busy = false;
                match outcome {
                    Ok(sandbox) => {
                        self.sandbox.failures = 0;
                        self.observed.merge_sandbox(sandbox);
                    }
                    Err(status) => {
                        let pause =
                            operations::sandbox_failed(&self.context, &self.pod, &status, self.sandbox.failures);
                        self.sandbox.failures += 1;
                        self.sandbox.not_before = Some(Instant::now() + pause);
                    }
                }
            }
            Done::Volumes(objects, outcome) => self.absorb_volumes(objects, outcome),
            Done::Image(name, outcome) => self.absorb_image(name, outcome),
            Done::Started(name, outcome) => self.absorb_start(name, outcome),
            Done::Stopped(id, outcome) => {
                self.killing.remove(&id);
                match outcome {
                    Ok(Some(container)) => {
                        self.observed.merge_container(container);
                    }
                    Ok(None) => self.observed.forget_container(&id),
                    Err(status) => {
                        tracing::warn!(%status, pod = self.pod.display(), "a container cannot be stopped");
                    }
                }
            }
            Done::Killed(outcome) => self.absorb_killed(outcome),
            Done::Tidied => {}
            Done::Status(outcome) => self.absorb_status(outcome),
            Done::Deleted(outcome) => self.absorb_deleted(outcome),
            Done::Removed(outcome) => self.absorb_removed(outcome),
        }
    }

    fn stage_is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    fn publish(&self) {
        self.snapshot.send_if_modified(|snapshot| {
            let new_observed = *snapshot.observed != self.observed;
            if new_observed {
                snapshot.observed = Arc::new(self.observed.clone());
            }
            let status = self.status.last.as_ref();
            let new_pod = status.is_some() && snapshot.pod.status.as_ref() != status
                || snapshot.pod.metadata != self.pod.metadata
                || snapshot.pod.spec != self.pod.spec;
            if new_pod {
                let pod = Pod { status: status.cloned().or_else(|| self.pod.status.clone()), ..(*self.pod).clone() };
                snapshot.pod = Arc::new(pod);
            }
            new_observed || new_pod
        });
    }

    /// Reads what ended containers left to say.
    fn read_termination_messages(&mut self) {
        for container in &mut self.observed.containers {
            if container.phase == Phase::Exited && !container.message_read {
                container.message_read = true;
                if let Some(message) = crate::logs::termination_message(container) {
                    container.message = message;
                }
            }
        }
    }
}
