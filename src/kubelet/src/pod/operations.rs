//! The operations of a pod's worker, and what comes out of them.

use std::{sync::Arc, time::Duration};

use cri::v1;
use k8s_openapi::api::{core::v1::Pod, node::v1::RuntimeClass};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::Value;

use super::{
    config::{log_directory, sandbox_config},
    fields::NodeFacts,
    objects::PodObjects,
    observed::{Observed, ObservedContainer, ObservedSandbox},
    start::StartError,
    traits::PodExt,
};
use crate::{
    context::Context,
    events::Severity,
    images::ImageError,
    sources::Reference,
    volumes::{self, PodVolumes, VolumeError},
};

/// What came out of an operation.
#[expect(clippy::large_enum_variant, reason = "moved once from an operation to its worker and never kept")]
pub enum Done {
    /// A sandbox was made.
    Sandbox(Result<ObservedSandbox, tonic::Status>),
    /// The pod's objects were read and its volumes prepared.
    Volumes(Arc<PodObjects>, Result<Arc<PodVolumes>, VolumeError>),
    /// An image is there.
    Image(String, Result<String, ImageError>),
    /// A container was started.
    Started(String, Result<ObservedContainer, StartError>),
    /// A container was told to stop.
    Stopped(String, Result<Option<ObservedContainer>, tonic::Status>),
    /// Everything of the pod was told to stop.
    Killed(Result<Observed, tonic::Status>),
    /// Leftovers were removed.
    Tidied,
    /// The status was written; the pod as it is now.
    Status(Result<Pod, kube::Error>),
    /// The API server was told that the pod is gone.
    Deleted(Result<(), kube::Error>),
    /// Nothing is left of the pod on this node.
    Removed(Result<(), tonic::Status>),
}

/// The objects a pod refers to, each watched as long as this is kept.
#[derive(Default)]
pub struct Watched {
    /// ConfigMaps by name.
    pub config_maps: Vec<(String, Reference<k8s_openapi::api::core::v1::ConfigMap>)>,
    /// Secrets by name.
    pub secrets: Vec<(String, Reference<k8s_openapi::api::core::v1::Secret>)>,
}

impl Watched {
    /// All objects as they are now, once each is known.
    pub async fn read(&self) -> PodObjects {
        let maps = futures::future::join_all(
            self.config_maps.iter().map(|(name, reference)| async { (name.clone(), reference.get().await) }),
        );
        let secrets = futures::future::join_all(
            self.secrets.iter().map(|(name, reference)| async { (name.clone(), reference.get().await) }),
        );
        let (config_maps, secrets) = futures::join!(maps, secrets);
        PodObjects { config_maps: config_maps.into_iter().collect(), secrets: secrets.into_iter().collect() }
    }

    /// None is watched.
    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}

/// Makes a sandbox.
pub async fn create_sandbox(context: &Context, pod: &Pod, attempt: u32) -> Result<ObservedSandbox, tonic::Status> {
    let config = sandbox_config(pod, attempt, &context.config.root_dir, &context.dns);
    let logs = log_directory(&context.config.root_dir, pod);
    std::fs::create_dir_all(&logs)
        .map_err(|error| tonic::Status::internal(format!("create {}: {error}", logs.display())))?;
    let runtime_handler = runtime_handler(context, pod).await?;
    let mut runtime = context.cri.runtime.clone();
    let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler };
    let id = runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id, verbose: false };
    let status = runtime.pod_sandbox_status(request).await?.into_inner().status;
    status
        .map(|status| ObservedSandbox::from_cri(&status))
        .ok_or_else(|| tonic::Status::internal("the runtime has no status of the sandbox it made"))
}

async fn runtime_handler(context: &Context, pod: &Pod) -> Result<String, tonic::Status> {
    let Some(class) =
        pod.pod_spec().and_then(|spec| spec.runtime_class_name.as_deref()).filter(|name| !name.is_empty())
    else {
        return Ok(String::new());
    };
    let api: Api<RuntimeClass> = Api::all(context.config.client.clone());
    match api.get_opt(class).await {
        Ok(Some(class)) => Ok(class.handler),
        Ok(None) => Err(tonic::Status::not_found(format!(
            "failed to get sandbox runtime: RuntimeClass.node.k8s.io \"{class}\" not found"
        ))),
        Err(error) => Err(tonic::Status::internal(format!("failed to get RuntimeClass \"{class}\": {error}"))),
    }
}

/// Reads the pod's objects and prepares its volumes.
pub async fn prepare_volumes(context: &Context, pod: &Arc<Pod>, watched: &Watched, node: &NodeFacts) -> Done {
    let objects = Arc::new(watched.read().await);
    let prepared = volumes::prepare(&context.config.root_dir, pod, &objects, node, &context.tokens).await;
    Done::Volumes(objects, prepared.map(Arc::new))
}

/// Writes the status.
pub async fn write_status(context: &Context, pod: &Pod, patch: &Value) -> Result<Pod, kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.config.client.clone(), pod.namespace());
    api.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(patch)).await
}

/// Tells the API server that the pod is gone from this node.
pub async fn delete(context: &Context, pod: &Pod) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.config.client.clone(), pod.namespace());
    let exactly = Preconditions { uid: pod.metadata.uid.clone(), ..Default::default() };
    api.delete(pod.name(), &DeleteParams::default().grace_period(0).preconditions(exactly)).await.map(drop)
}

/// Removes a container that has ended, with its log.
pub async fn remove_container(context: &Context, container: ObservedContainer) {
    let request = v1::RemoveContainerRequest { container_id: container.id.clone() };
    match context.cri.runtime.clone().remove_container(request).await {
        Ok(_) => context.rotation.remove(&container.log_path).await,
        Err(status) => tracing::debug!(%status, id = container.id, "an ended container cannot be removed"),
    }
}

/// Removes a sandbox that nothing is in.
pub async fn remove_sandbox(context: &Context, id: String) {
    let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id };
    if let Err(status) = context.cri.runtime.clone().remove_pod_sandbox(request).await {
        tracing::debug!(%status, "an old sandbox cannot be removed");
    }
}

/// Removes all that this node still has of a pod: containers, sandboxes, volumes, logs.
pub async fn remove_pod(context: &Context, uid: &str, logs: Option<std::path::PathBuf>) -> Result<(), tonic::Status> {
    let observed = crate::runtime_state::observe(&context.cri, Some(uid)).await?.remove(uid).unwrap_or_default();
    let mut runtime = context.cri.runtime.clone();
    for container in &observed.containers {
        let request = v1::RemoveContainerRequest { container_id: container.id.clone() };
        absent_is_fine(runtime.remove_container(request).await)?;
    }
    for sandbox in &observed.sandboxes {
        let id = sandbox.id.clone();
        absent_is_fine(runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await)?;
        absent_is_fine(runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id }).await)?;
    }
    volumes::remove(&context.config.root_dir, uid).await;
    if let Some(logs) = logs {
        // Logs that were never written are as good as removed.
        let _ = tokio::fs::remove_dir_all(logs).await;
    }
    Ok(())
}

pub(super) fn absent_is_fine<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<(), tonic::Status> {
    match answer {
        Err(status) if status.code() != tonic::Code::NotFound => Err(status),
        _ => Ok(()),
    }
}

/// Says that a sandbox could not be made, and how long to wait.
pub fn sandbox_failed(context: &Context, pod: &Pod, status: &tonic::Status, failures: u32) -> Duration {
    let message = format!("Failed to create pod sandbox: {}", crate::rpc_error(status));
    context.recorder.pod(pod, Severity::Warning, "FailedCreatePodSandBox", message);
    growing(failures)
}

/// 250 ms, 500 ms, … 30 s.
pub fn growing(failures: u32) -> Duration {
    Duration::from_millis(250).saturating_mul(1 << failures.min(7)).min(Duration::from_secs(30))
}
