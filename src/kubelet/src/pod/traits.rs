//! Short questions to a pod.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// The questions.
pub trait PodExt {
    /// Its name.
    fn name(&self) -> &str;
    /// Its namespace.
    fn namespace(&self) -> &str;
    /// Its uid.
    fn uid(&self) -> &str;
    /// Its specification, when it has one; the API server admits none without.
    fn pod_spec(&self) -> Option<&PodSpec>;
    /// Its containers that run side by side.
    fn containers(&self) -> &[Container];
    /// Its containers that run one after the other before those, and sidecars.
    fn init_containers(&self) -> &[Container];
    /// `Always`, `OnFailure` or `Never`.
    fn restart_policy(&self) -> &str;
    /// `name_namespace(uid)`, as a kubelet writes it.
    fn display(&self) -> String;
    /// It shall end.
    fn is_deleted(&self) -> bool;
    /// It shares the node's address.
    fn is_host_network(&self) -> bool;
    /// The container of that name and the field path by which events name it.
    fn find_container(&self, name: &str) -> Option<(&Container, String)>;
    /// How long its containers have to end.
    fn termination_grace_seconds(&self) -> i64;
    /// Its phase is final.
    fn is_terminal(&self) -> bool;
}

impl PodExt for Pod {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn pod_spec(&self) -> Option<&PodSpec> {
        self.spec.as_ref()
    }

    fn containers(&self) -> &[Container] {
        self.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default()
    }

    fn init_containers(&self) -> &[Container] {
        self.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
    }

    fn restart_policy(&self) -> &str {
        self.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    fn display(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn is_host_network(&self) -> bool {
        self.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
    }

    fn find_container(&self, name: &str) -> Option<(&Container, String)> {
        let among = |containers: &'static str, list| {
            let find = |container: &&Container| container.name == name;
            <[Container]>::iter(list)
                .find(find)
                .map(|container| (container, format!("spec.{containers}{{{}}}", container.name)))
        };
        among("containers", self.containers()).or_else(|| among("initContainers", self.init_containers()))
    }

    fn termination_grace_seconds(&self) -> i64 {
        let spec = self.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        self.metadata.deletion_grace_period_seconds.filter(|_| self.is_deleted()).unwrap_or(spec)
    }

    fn is_terminal(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// An init container that goes on running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
