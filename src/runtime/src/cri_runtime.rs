//! CRI's runtime service: each call, in terms of [`Pods`].

use std::{sync::Arc, time::Duration};

use cri::v1::{self, runtime_service_server::RuntimeService};
use tonic::{Request, Response, Status};

use crate::{events::EventStream, pods::Pods, refuse::RUNTIME_HANDLERS};

/// What this runtime is called, in `containerID` and in the node's `containerRuntimeVersion`.
const NAME: &str = "coracle";
const API_VERSION: &str = "v1";

/// The service.
#[derive(Clone)]
pub struct CriRuntime(pub Arc<Pods>);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(value: T) -> Answer<T> {
    Ok(Response::new(value))
}

fn not_yet<T>(what: &str) -> Answer<T> {
    Err(Status::unimplemented(format!("{what} is not available for WebAssembly containers yet")))
}

#[async_trait::async_trait]
impl RuntimeService for CriRuntime {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        answer(v1::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: NAME.to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: API_VERSION.to_owned(),
        })
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let cidr = self.0.pod_cidr();
        let condition = |kind: &str, fault: Option<(&str, &str)>| v1::RuntimeCondition {
            r#type: kind.to_owned(),
            status: fault.is_none(),
            reason: fault.map(|(reason, _)| reason.to_owned()).unwrap_or_default(),
            message: fault.map(|(_, message)| message.to_owned()).unwrap_or_default(),
        };
        let ending = self.0.ending.is_cancelled().then_some(("RuntimeEnding", "the runtime was told to end"));
        let no_range = cidr.is_none().then_some(("NoPodCIDR", "the range of pod addresses is not known yet"));
        let conditions = vec![condition("RuntimeReady", ending), condition("NetworkReady", no_range)];
        let handlers = RUNTIME_HANDLERS.iter().map(|name| v1::RuntimeHandler {
            name: (*name).to_owned(),
            features: Some(v1::RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: false }),
        });
        let info = if request.into_inner().verbose { self.0.info() } else { Vec::new() };
        answer(v1::StatusResponse {
            status: Some(v1::RuntimeStatus { conditions }),
            info: info.into_iter().collect(),
            runtime_handlers: handlers.collect(),
            features: Some(v1::RuntimeFeatures { supplemental_groups_policy: false }),
        })
    }

    async fn run_pod_sandbox(&self, request: Request<v1::RunPodSandboxRequest>) -> Answer<v1::RunPodSandboxResponse> {
        let v1::RunPodSandboxRequest { config, runtime_handler } = request.into_inner();
        let config = config.ok_or_else(|| Status::invalid_argument("the request has no config"))?;
        let pod_sandbox_id = self.0.run_sandbox(config, runtime_handler)?;
        answer(v1::RunPodSandboxResponse { pod_sandbox_id })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        self.0.stop_sandbox(&request.into_inner().pod_sandbox_id).await?;
        answer(v1::StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        self.0.remove_sandbox(&request.into_inner().pod_sandbox_id).await?;
        answer(v1::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let status = self.0.sandbox_status(&request.into_inner().pod_sandbox_id)?;
        answer(v1::PodSandboxStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        answer(v1::ListPodSandboxResponse { items: self.0.list_sandboxes(&filter) })
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let v1::CreateContainerRequest { pod_sandbox_id, config, .. } = request.into_inner();
        let config = config.ok_or_else(|| Status::invalid_argument("the request has no config"))?;
        let container_id = self.0.create_container(&pod_sandbox_id, config).await?;
        answer(v1::CreateContainerResponse { container_id })
    }

    async fn start_container(&self, request: Request<v1::StartContainerRequest>) -> Answer<v1::StartContainerResponse> {
        self.0.start_container(&request.into_inner().container_id)?;
        answer(v1::StartContainerResponse {})
    }

    async fn stop_container(&self, request: Request<v1::StopContainerRequest>) -> Answer<v1::StopContainerResponse> {
        let v1::StopContainerRequest { container_id, timeout } = request.into_inner();
        let grace = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
        self.0.stop_container(&container_id, grace).await?;
        answer(v1::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        self.0.remove_container(&request.into_inner().container_id).await?;
        answer(v1::RemoveContainerResponse {})
    }

    async fn list_containers(&self, request: Request<v1::ListContainersRequest>) -> Answer<v1::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        answer(v1::ListContainersResponse { containers: self.0.list_containers(&filter) })
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let status = self.0.container_status(&request.into_inner().container_id)?;
        answer(v1::ContainerStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let v1::UpdateContainerResourcesRequest { container_id, linux, windows, .. } = request.into_inner();
        if windows.is_some() {
            return Err(Status::invalid_argument("this is not a Windows node"));
        }
        self.0.update_resources(&container_id, linux.unwrap_or_default())?;
        answer(v1::UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        self.0.reopen_log(&request.into_inner().container_id)?;
        answer(v1::ReopenContainerLogResponse {})
    }

    async fn exec_sync(&self, _: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        not_yet("exec")
    }

    async fn exec(&self, _: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        not_yet("exec")
    }

    async fn attach(&self, _: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        not_yet("attach")
    }

    async fn port_forward(&self, _: Request<v1::PortForwardRequest>) -> Answer<v1::PortForwardResponse> {
        not_yet("port-forward")
    }

    async fn container_stats(&self, request: Request<v1::ContainerStatsRequest>) -> Answer<v1::ContainerStatsResponse> {
        let stats = self.0.container_stats(&request.into_inner().container_id)?;
        answer(v1::ContainerStatsResponse { stats: Some(stats) })
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        answer(v1::ListContainerStatsResponse { stats: self.0.list_container_stats(&filter) })
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        let stats = self.0.sandbox_stats(&request.into_inner().pod_sandbox_id)?;
        answer(v1::PodSandboxStatsResponse { stats: Some(stats) })
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        answer(v1::ListPodSandboxStatsResponse { stats: self.0.list_sandbox_stats(&filter) })
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        if let Some(network) = network.filter(|network| !network.pod_cidr.is_empty()) {
            // A node of two families has two ranges; pods of this runtime have addresses of the first.
            let cidr = network.pod_cidr.split(',').next().unwrap_or_default().trim();
            self.0.set_pod_cidr(cidr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        }
        answer(v1::UpdateRuntimeConfigResponse {})
    }

    async fn checkpoint_container(
        &self,
        _: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        not_yet("checkpoint")
    }

    type GetContainerEventsStream = EventStream;

    async fn get_container_events(&self, _: Request<v1::GetEventsRequest>) -> Answer<EventStream> {
        answer(self.0.events.listen(self.0.ending.clone()))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        not_yet("metrics over CRI")
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        not_yet("metrics over CRI")
    }

    async fn runtime_config(&self, _: Request<v1::RuntimeConfigRequest>) -> Answer<v1::RuntimeConfigResponse> {
        // Guests are in no cgroups, so the kubelet's usual driver will do.
        let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs as i32 };
        answer(v1::RuntimeConfigResponse { linux: Some(linux) })
    }
}
