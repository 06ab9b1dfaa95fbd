//! Sandboxes and containers in CRI's words, and the events about them.

use cri::v1::{self, ContainerEventType, ContainerState, PodSandboxState};
use tonic::Status;

use super::{Container, Life, Pods, Sandbox, filter, shown};

impl Pods {
    /// The status of a sandbox.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, Status> {
        self.sandbox(id).map(|sandbox| sandbox_status(&sandbox))
    }

    /// The status of a container.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn container_status(&self, id: &str) -> Result<v1::ContainerStatus, Status> {
        self.container(id).map(|container| container_status(&container))
    }

    /// All sandboxes that the filter lets through.
    pub fn list_sandboxes(&self, filter: &v1::PodSandboxFilter) -> Vec<v1::PodSandbox> {
        let table = self.table.lock();
        table
            .candidates(Some(&filter.label_selector))
            .map(|pod| &pod.sandbox)
            .filter(|sandbox| filter::sandbox(filter, sandbox.id(), state(sandbox), &sandbox.record.config.labels))
            .map(|sandbox| v1::PodSandbox {
                id: sandbox.id().to_owned(),
                metadata: sandbox.record.config.metadata.clone(),
                state: state(sandbox) as i32,
                created_at: sandbox.record.created_at,
                labels: sandbox.record.config.labels.clone(),
                annotations: sandbox.record.config.annotations.clone(),
                runtime_handler: sandbox.record.runtime_handler.clone(),
            })
            .collect()
    }

    /// All containers that the filter lets through.
    pub fn list_containers(&self, filter: &v1::ContainerFilter) -> Vec<v1::Container> {
        let table = self.table.lock();
        table
            .candidates(Some(&filter.label_selector))
            .flat_map(|pod| &pod.containers)
            .filter_map(|container| {
                let (state, ..) = life(container);
                let (sandbox, record) = (container.sandbox.id(), &container.record);
                filter::container(filter, container.id(), sandbox, state, &record.labels).then(|| v1::Container {
                    id: record.id.clone(),
                    pod_sandbox_id: sandbox.to_owned(),
                    metadata: Some(record.metadata.clone()),
                    image: Some(record.image.clone()),
                    image_ref: record.image_ref.clone(),
                    state: state as i32,
                    created_at: record.created_at,
                    labels: record.labels.clone(),
                    annotations: record.annotations.clone(),
                    image_id: record.image_id.clone(),
                })
            })
            .collect()
    }

    /// A container that has not ended and uses that image.
    pub fn user_of_image(&self, image_id: &str) -> Option<String> {
        let table = self.table.lock();
        let mut users = table.containers.values().filter(|container| container.record.image_id == image_id);
        users.find(|user| !matches!(*user.life.lock(), Life::Exited { .. })).map(|user| user.id().to_owned())
    }

    /// What an operator may want to know.
    pub fn info(&self) -> Vec<(String, String)> {
        let table = self.table.lock();
        let addresses = self.ipam.lock().as_ref().map_or(0, |ipam| ipam.in_use());
        let facts = serde_json::json!({
            "sandboxes": table.pods.len(),
            "containers": table.containers.len(),
            "addressesInUse": addresses,
            "guestsMax": self.wasm.guests_max(),
        });
        vec![("runtime".to_owned(), facts.to_string())]
    }

    /// Tells what happened to the container or sandbox `id`, with all of its pod as it is now.
    pub(super) fn tell(&self, id: &str, sandbox: &Sandbox, what: ContainerEventType) {
        self.events.tell(|| v1::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: what as i32,
            created_at: self.now(),
            pod_sandbox_status: Some(sandbox_status(sandbox)),
            containers_statuses: self
                .containers_in(sandbox)
                .iter()
                .map(|container| container_status(container))
                .collect(),
        });
    }
}

fn state(sandbox: &Sandbox) -> PodSandboxState {
    if sandbox.is_ready() { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready }
}

fn sandbox_status(sandbox: &Sandbox) -> v1::PodSandboxStatus {
    let record = &sandbox.record;
    let namespaces = record
        .config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref()?.namespace_options.clone())
        .map(|options| v1::Namespace { options: Some(options) });
    v1::PodSandboxStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: state(sandbox) as i32,
        created_at: record.created_at,
        network: Some(v1::PodSandboxNetworkStatus { ip: shown(record.ip), ..Default::default() }),
        linux: Some(v1::LinuxPodSandboxStatus { namespaces }),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

fn container_status(container: &Container) -> v1::ContainerStatus {
    let (state, started_at, exit) = life(container);
    let (record, exit) = (&container.record, exit.unwrap_or_default());
    v1::ContainerStatus {
        id: record.id.clone(),
        metadata: Some(record.metadata.clone()),
        state: state as i32,
        created_at: record.created_at,
        started_at,
        finished_at: exit.at,
        exit_code: exit.code,
        image: Some(record.image.clone()),
        image_ref: record.image_ref.clone(),
        reason: exit.reason,
        message: exit.message,
        labels: record.labels.clone(),
        annotations: record.annotations.clone(),
        mounts: record.mounts.clone(),
        log_path: record.log_path.clone(),
        resources: container
            .resources
            .lock()
            .clone()
            .map(|linux| v1::ContainerResources { linux: Some(linux), windows: None }),
        image_id: record.image_id.clone(),
        user: None,
    }
}

/// State, start and end.
fn life(container: &Container) -> (ContainerState, i64, Option<crate::records::ExitRecord>) {
    match &*container.life.lock() {
        Life::Created(_) => (ContainerState::ContainerCreated, 0, None),
        Life::Running { since, .. } => (ContainerState::ContainerRunning, *since, None),
        Life::Exited { since, exit } => (ContainerState::ContainerExited, *since, Some(exit.clone())),
    }
}
