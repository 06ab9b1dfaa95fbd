//! Starting one container: environment, mounts, then the runtime's two calls and the postStart hook.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cri::v1;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    config::{
        ContainerParts, TERMINATION_MESSAGE_PATH, container_config, log_directory, pod_directory, sandbox_config,
    },
    environment::{Sources, environment},
    objects::PodObjects,
    observed::{ObservedContainer, ObservedSandbox, Phase},
    traits::PodExt,
};
use crate::{
    context::Context,
    events::Severity,
    probes::Target,
    volumes::{PodVolumes, mounts},
};

/// What a start needs.
pub struct Start {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub container: String,
    /// How the runtime names its image.
    pub image: String,
    /// How often it was started before.
    pub restart_count: u32,
    /// Where it runs.
    pub sandbox: ObservedSandbox,
    /// The pod's volumes.
    pub volumes: Arc<PodVolumes>,
    /// The pod's ConfigMaps and Secrets.
    pub objects: Arc<PodObjects>,
}

/// Why a container was not started, as its waiting reason.
#[derive(Debug, Clone)]
pub struct StartError {
    /// `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`, `PostStartHookError`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// The runtime is not there: it is tried again when it is back.
    pub runtime_away: bool,
}

impl StartError {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), runtime_away: false }
    }

    fn of_runtime(reason: &'static str, status: &tonic::Status) -> Self {
        let runtime_away = status.code() == tonic::Code::Unavailable;
        Self { reason, message: status.message().to_owned(), runtime_away }
    }
}

/// Starts a container. Returns it as it runs.
pub async fn start(context: &Context, start: Start) -> Result<ObservedContainer, StartError> {
    let pod = start.pod.clone();
    let outcome = attempt(context, &start).await;
    if let Err(error) = &outcome
        && !error.runtime_away
        && error.reason != "PostStartHookError"
    {
        let message = format!("Error: {}", error.message);
        context.recorder.container(&pod, &start.container, Severity::Warning, "Failed", message);
    }
    outcome
}

async fn attempt(context: &Context, start: &Start) -> Result<ObservedContainer, StartError> {
    let pod = &start.pod;
    let Some((container, _)) = pod.find_container(&start.container) else {
        return Err(StartError::new("CreateContainerConfigError", "the container is not in the pod any more"));
    };
    let config = configure(context, start, container)
        .await
        .map_err(|message| StartError::new("CreateContainerConfigError", message))?;
    let sandbox_config = sandbox_config(pod, start.sandbox.attempt, &context.config.root_dir, &context.dns);
    let mut runtime = context.cri.runtime.clone();
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: start.sandbox.id.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox_config),
    };
    let created = runtime.create_container(request).await;
    let id =
        created.map_err(|status| StartError::of_runtime("CreateContainerError", &status))?.into_inner().container_id;
    context.recorder.container(pod, &container.name, Severity::Normal, "Created", "Container created");
    let started = runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await;
    if let Err(status) = started {
        let seen = status_of(context, &start.sandbox.id, &id).await.ok().flatten();
        if seen.is_none_or(|seen| seen.phase != Phase::Exited) {
            // It never ran: its record would only be in the way.
            let _ = runtime.remove_container(v1::RemoveContainerRequest { container_id: id }).await;
        }
        return Err(StartError::of_runtime("RunContainerError", &status));
    }
    context.recorder.container(pod, &container.name, Severity::Normal, "Started", "Container started");
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) {
        let target = Target { ip: start.sandbox.ips.first().cloned().unwrap_or_default() };
        let limit = Duration::from_secs(60);
        if let Err(why) = super::stop::run_hook(context, container, &id, hook, &target, limit).await {
            let message = format!("PostStartHook failed: {why}");
            context.recorder.container(pod, &container.name, Severity::Warning, "FailedPostStartHook", &*message);
            let grace = pod.termination_grace_seconds();
            let _ = super::stop::stop_container(context, pod, &container.name, &id, grace, "FailedPostStartHook").await;
            return Err(StartError::new("PostStartHookError", why));
        }
    }
    let running = status_of(context, &start.sandbox.id, &id).await;
    let running = running.map_err(|status| StartError::of_runtime("RunContainerError", &status))?;
    running.ok_or_else(|| StartError::new("RunContainerError", "the container ended and was removed at once"))
}

/// The container as the runtime has it now.
pub async fn status_of(
    context: &Context,
    sandbox_id: &str,
    id: &str,
) -> Result<Option<ObservedContainer>, tonic::Status> {
    let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    match context.cri.runtime.clone().container_status(request).await {
        Ok(answer) => {
            let status = answer.into_inner().status;
            Ok(status.and_then(|status| ObservedContainer::from_cri(sandbox_id, &status)))
        }
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

async fn configure(context: &Context, start: &Start, container: &Container) -> Result<v1::ContainerConfig, String> {
    let pod = &start.pod;
    let root = &context.config.root_dir;
    let services = context.services.seen_from(pod.namespace()).await;
    let node = context.node.load_full();
    let ips = if pod.is_host_network() { vec![node.ip.clone()] } else { start.sandbox.ips.clone() };
    let sources = Sources { objects: &start.objects, services: &services, node: &node, pod_ips: &ips };
    let environment = environment(pod, container, &sources).map_err(|error| error.to_string())?;
    let mut mounts = mounts(container, &start.volumes, &environment).map_err(|error| error.to_string())?;
    let logs = log_directory(root, pod).join(&container.name);
    std::fs::create_dir_all(&logs).map_err(|error| format!("create {}: {error}", logs.display()))?;
    let message_path = container.termination_message_path.as_deref().unwrap_or(TERMINATION_MESSAGE_PATH);
    if !message_path.is_empty() {
        let host_path = termination_file(context, pod, container, root)?;
        mounts.push(v1::Mount {
            container_path: message_path.to_owned(),
            host_path: host_path.to_string_lossy().into_owned(),
            ..Default::default()
        });
    }
    Ok(container_config(ContainerParts {
        pod,
        container,
        restart_count: start.restart_count,
        image_ref: start.image.clone(),
        environment,
        mounts,
        memory_capacity: context.memory_capacity,
    }))
}

/// An empty file for the termination message; each instance of a container has its own.
fn termination_file(context: &Context, pod: &Pod, container: &Container, root: &Path) -> Result<PathBuf, String> {
    let mut random = [0; 4];
    context.config.entropy.fill(&mut random);
    let folder = pod_directory(root, pod.uid()).join("containers").join(&container.name);
    let path = folder.join(hex::encode(random));
    let make = || {
        std::fs::create_dir_all(&folder)?;
        std::fs::File::create(&path)?;
        // The guest may run as somebody else.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
    };
    make().map_err(|error| format!("create {}: {error}", path.display()))?;
    Ok(path)
}
