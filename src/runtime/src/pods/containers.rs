//! The life of a container: created, running, exited, removed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cri::v1::{self, ContainerEventType as Event};
use images::ImageError;
use runtime_wasm::{Exit, RuntimeError};
use tonic::Status;

use super::{Container, EXIT_KILLED, Guest, Life, Pods, Sandbox};
use crate::{
    records::{ContainerRecord, ExitRecord},
    refuse::check_container,
    spec::{Surroundings, guest_spec, limits},
};

impl Pods {
    /// Makes a container: its program is loaded, its files prepared, its log opened.
    ///
    /// # Errors
    /// When the sandbox or the image is not there, or the container cannot be so.
    pub async fn create_container(
        self: &Arc<Self>,
        sandbox_id: &str,
        config: v1::ContainerConfig,
    ) -> Result<String, Status> {
        self.check_serving()?;
        let sandbox = self.sandbox(sandbox_id)?;
        if !sandbox.is_ready() {
            return Err(Status::failed_precondition(format!("sandbox {} is stopped", sandbox.id())));
        }
        let Some(metadata) = config.metadata.clone() else {
            return Err(Status::invalid_argument("the container has no metadata"));
        };
        let asked = config.image.clone().unwrap_or_default();
        check_container(&config).map_err(|refused| Status::failed_precondition(refused.to_string()))?;
        if let Some(known) = self.containers_in(&sandbox).iter().find(|known| known.record.metadata == metadata) {
            let v1::ContainerMetadata { name, attempt } = metadata;
            return Err(Status::already_exists(format!("container {attempt} of name {name} is there: {}", known.id())));
        }
        let image = self.images.resolve(&asked.image).await.map_err(image_failed)?;
        let id = self.fresh_id();
        let log_path = log_path(&sandbox, &config.log_path);
        let record = ContainerRecord {
            id: id.clone(),
            metadata,
            image: v1::ImageSpec {
                image: image.record.tags.first().cloned().unwrap_or_else(|| asked.image.clone()),
                ..asked
            },
            image_ref: image.record.digests.first().cloned().unwrap_or_else(|| image.record.id.to_string()),
            image_id: image.record.id.to_string(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: log_path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            resources: config.linux.as_ref().and_then(|linux| linux.resources.clone()),
            created_at: self.now(),
        };
        let around = Surroundings {
            sandbox: &sandbox.record.config,
            pod_ip: sandbox.record.ip,
            folder: self.records.container_folder(sandbox.id(), &id),
            log_path,
        };
        let spec = guest_spec(&id, config, image, around).map_err(Status::invalid_argument)?;
        let pods = self.clone();
        let create = move || {
            let guest = pods.wasm.create(spec).map_err(guest_failed);
            let made = guest.and_then(|guest| {
                pods.records.container_made(sandbox.id(), &record).map_err(failed)?;
                Ok(Container::new(record, sandbox.clone(), Life::Created(Arc::new(guest))))
            });
            match made {
                Ok(container) => pods.admit(container),
                Err(status) => {
                    pods.discard(sandbox.id(), &id);
                    Err(status)
                }
            }
        };
        // Copying an image's files may take a while.
        blocking(create).await
    }

    /// Enters a container that is made, unless its sandbox was stopped meanwhile.
    fn admit(&self, container: Arc<Container>) -> Result<String, Status> {
        let id = container.id().to_owned();
        let entered = {
            let mut table = self.table.lock();
            let there = container.sandbox.is_ready() && table.pods.contains_key(container.sandbox.id());
            if there {
                table.insert_container(container.clone());
            }
            there
        };
        if !entered {
            self.discard(container.sandbox.id(), &id);
            return Err(Status::failed_precondition(format!("sandbox {} was stopped", container.sandbox.id())));
        }
        self.tell(&id, &container.sandbox, Event::ContainerCreatedEvent);
        Ok(id)
    }

    fn discard(&self, sandbox: &str, id: &str) {
        if let Err(error) = self.records.container_removed(sandbox, id) {
            tracing::warn!(%error, container = id, "leftovers of a container are removed at the next start only");
        }
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When it was started before, its address is taken, or this node has no room.
    pub fn start_container(self: &Arc<Self>, id: &str) -> Result<(), Status> {
        self.check_serving()?;
        let container = self.container(id)?;
        let guest = {
            let mut life = container.life.lock();
            let guest = match &*life {
                Life::Created(guest) => guest.clone(),
                Life::Running { .. } => {
                    return Err(Status::failed_precondition(format!("container {id} runs already")));
                }
                Life::Exited { .. } => return Err(Status::failed_precondition(format!("container {id} has exited"))),
            };
            if !container.sandbox.is_ready() {
                return Err(Status::failed_precondition(format!("sandbox {} is stopped", container.sandbox.id())));
            }
            let (sandbox, since) = (container.sandbox.id(), self.now());
            // First, so that a guest of which nobody hears again is known to have run.
            self.records.container_starts(sandbox, container.id(), since).map_err(failed)?;
            if let Err(error) = guest.start() {
                // Otherwise the next process takes it for one that ran, which is wrong but harmless.
                let _ = self.records.container_did_not_start(sandbox, container.id());
                return Err(guest_failed(error));
            }
            *life = Life::Running { guest: guest.clone(), since };
            guest
        };
        if let Some(address) = guest.http_address() {
            self.table.lock().serving.insert(address, container.clone());
        }
        self.tell(container.id(), &container.sandbox, Event::ContainerStartedEvent);
        let (pods, mut exited) = (self.clone(), guest.exited());
        drop(guest);
        self.tasks.spawn(async move {
            // The sender lives as long as the guest, which the container holds until it exited.
            if let Ok(exit) = exited.wait_for(Option::is_some).await
                && let Some(exit) = exit.clone()
            {
                pods.note_exit(&container, exit_record(&exit), |life| matches!(life, Life::Running { .. }));
            }
        });
        Ok(())
    }

    /// Ends a container within `grace`. One that has ended or is gone is no error.
    ///
    /// # Errors
    /// When ending it fails, which would be a fault of this program.
    pub async fn stop_container(self: &Arc<Self>, id: &str, grace: Duration) -> Result<(), Status> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let pods = self.clone();
        let end = async move {
            pods.end(&container, grace).await;
            Ok(())
        };
        self.to_its_end(end).await
    }

    /// Does `work` in a task of its own: whoever asked for it may go away, and it is done all the same.
    pub(super) async fn to_its_end(
        &self,
        work: impl Future<Output = Result<(), Status>> + Send + 'static,
    ) -> Result<(), Status> {
        let outcome = self.tasks.spawn(work).await;
        outcome.unwrap_or_else(|error| Err(Status::internal(error.to_string())))
    }

    /// Ends what runs in a sandbox, at once.
    pub(super) async fn end_all_in(&self, sandbox: &Arc<Sandbox>) {
        let containers = self.containers_in(sandbox);
        futures::future::join_all(containers.iter().map(|container| self.end(container, Duration::ZERO))).await;
    }

    /// Ends everything, within `grace`; the process is about to.
    pub async fn stop_everything(&self, grace: Duration) {
        let running: Vec<_> = self.table.lock().containers.values().cloned().collect();
        let running = running.iter().filter(|container| matches!(*container.life.lock(), Life::Running { .. }));
        futures::future::join_all(running.map(|container| self.end(container, grace))).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn end(&self, container: &Arc<Container>, grace: Duration) {
        let life = container.life.lock().clone();
        if matches!(life, Life::Created(_)) {
            let exit = ExitRecord {
                code: EXIT_KILLED,
                reason: "Error".to_owned(),
                message: "stopped before it was started".to_owned(),
                at: self.now(),
            };
            if self.note_exit(container, exit, |life| matches!(life, Life::Created(_))) {
                return;
            }
        }
        // Read again: it may have been started meanwhile.
        let Ok(guest) = running(container) else { return };
        guest.stop(grace).await;
        let exit = guest.exited().borrow().clone();
        drop(guest);
        if let Some(exit) = exit {
            self.note_exit(container, exit_record(&exit), |life| matches!(life, Life::Running { .. }));
        }
    }

    /// Notes how a container ended whose life is as `expected`; the first to say so counts.
    fn note_exit(&self, container: &Arc<Container>, exit: ExitRecord, expected: fn(&Life) -> bool) -> bool {
        let guest = {
            let mut life = container.life.lock();
            if !expected(&life) {
                return false;
            }
            let (since, guest) = match &*life {
                Life::Created(guest) => (0, guest.clone()),
                Life::Running { guest, since } => (*since, guest.clone()),
                Life::Exited { .. } => return false,
            };
            if let Err(error) = self.records.container_ended(container.sandbox.id(), container.id(), &exit) {
                tracing::warn!(%error, container = container.id(), "how a container ended is not on disk");
            }
            *life = Life::Exited { since, exit };
            guest
        };
        if let Some(address) = guest.http_address() {
            let mut table = self.table.lock();
            // By now the next container may serve there.
            if table.serving.get(&address).is_some_and(|serving| serving.id() == container.id()) {
                table.serving.remove(&address);
            }
        }
        self.tell(container.id(), &container.sandbox, Event::ContainerStoppedEvent);
        true
    }

    /// Removes a container, which is ended first if it runs. One that is gone is no error.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub async fn remove_container(self: &Arc<Self>, id: &str) -> Result<(), Status> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        let pods = self.clone();
        self.to_its_end(async move { pods.remove(&container).await }).await
    }

    pub(super) async fn remove(&self, container: &Arc<Container>) -> Result<(), Status> {
        self.end(container, Duration::ZERO).await;
        self.records.container_removed(container.sandbox.id(), container.id()).map_err(failed)?;
        self.table.lock().remove_container(container);
        self.tell(container.id(), &container.sandbox, Event::ContainerDeletedEvent);
        Ok(())
    }

    /// Goes on in a new log file.
    ///
    /// # Errors
    /// When the container does not run, or the file cannot be made.
    pub fn reopen_log(&self, id: &str) -> Result<(), Status> {
        let container = self.container(id)?;
        let reopened = running(&container)?.reopen_log();
        reopened.map_err(|error| Status::internal(format!("reopen {}: {error}", container.record.log_path)))
    }

    /// Changes what a container may use. A part that is zero stays as it is.
    ///
    /// # Errors
    /// When the container has exited, or a part cannot be had.
    pub fn update_resources(&self, id: &str, news: v1::LinuxContainerResources) -> Result<(), Status> {
        let container = self.container(id)?;
        let guest = match &*container.life.lock() {
            Life::Created(guest) | Life::Running { guest, .. } => guest.clone(),
            Life::Exited { .. } => return Err(Status::failed_precondition(format!("container {id} has exited"))),
        };
        let wanted = v1::LinuxContainerConfig { resources: Some(news.clone()), ..Default::default() };
        check_container(&v1::ContainerConfig { linux: Some(wanted), ..Default::default() })
            .map_err(|refused| Status::failed_precondition(refused.to_string()))?;
        let mut resources = container.resources.lock();
        let merged = merge(resources.clone().unwrap_or_default(), news);
        guest.update(limits(&merged));
        *resources = Some(merged);
        Ok(())
    }

    pub(super) fn containers_in(&self, sandbox: &Sandbox) -> Vec<Arc<Container>> {
        self.table.lock().pods.get(sandbox.id()).map(|pod| pod.containers.clone()).unwrap_or_default()
    }
}

/// The guest of a container that runs.
pub(super) fn running(container: &Container) -> Result<Arc<Guest>, Status> {
    match &*container.life.lock() {
        Life::Running { guest, .. } => Ok(guest.clone()),
        Life::Created(_) | Life::Exited { .. } => {
            Err(Status::failed_precondition(format!("container {} does not run", container.id())))
        }
    }
}

fn exit_record(exit: &Exit) -> ExitRecord {
    ExitRecord {
        code: exit.code,
        reason: exit.reason.to_owned(),
        message: exit.message.clone(),
        at: i64::try_from(exit.at.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

fn log_path(sandbox: &Sandbox, path: &str) -> Option<PathBuf> {
    let folder = &sandbox.record.config.log_directory;
    (!folder.is_empty() && !path.is_empty()).then(|| PathBuf::from(folder).join(path))
}

fn merge(old: v1::LinuxContainerResources, new: v1::LinuxContainerResources) -> v1::LinuxContainerResources {
    let pick = |old: i64, new: i64| if new == 0 { old } else { new };
    v1::LinuxContainerResources {
        cpu_period: pick(old.cpu_period, new.cpu_period),
        cpu_quota: pick(old.cpu_quota, new.cpu_quota),
        cpu_shares: pick(old.cpu_shares, new.cpu_shares),
        memory_limit_in_bytes: pick(old.memory_limit_in_bytes, new.memory_limit_in_bytes),
        oom_score_adj: pick(old.oom_score_adj, new.oom_score_adj),
        ..old
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Status::internal(error.to_string())))
}

/// What the system did not let us do.
pub(super) fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn guest_failed(error: RuntimeError) -> Status {
    let message = error.to_string();
    match error {
        RuntimeError::Load(_) | RuntimeError::AlreadyStarted | RuntimeError::Listen { .. } => {
            Status::failed_precondition(message)
        }
        RuntimeError::Mount(_) => Status::invalid_argument(message),
        RuntimeError::NoSlot { .. } => Status::resource_exhausted(message),
        RuntimeError::Engine(_) | RuntimeError::Thread(_) | RuntimeError::Log { .. } => Status::internal(message),
    }
}

/// An image's failure in gRPC's words.
pub(crate) fn image_failed(error: ImageError) -> Status {
    let message = error.to_string();
    match error {
        ImageError::InvalidReference { .. } | ImageError::UnsupportedDigest { .. } => Status::invalid_argument(message),
        ImageError::NotFound { .. } => Status::not_found(message),
        ImageError::Stalled { .. } => Status::deadline_exceeded(message),
        ImageError::WrongDigest { .. } => Status::data_loss(message),
        ImageError::TooLarge { .. } => Status::resource_exhausted(message),
        ImageError::Layout { .. }
        | ImageError::NeedsLinux { .. }
        | ImageError::BrokenWasm { .. }
        | ImageError::Archive { .. } => Status::failed_precondition(message),
        ImageError::Registry { .. } => Status::unknown(message),
        ImageError::Compile { .. } | ImageError::Io { .. } => Status::internal(message),
    }
}
