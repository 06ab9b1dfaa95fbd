//! What the scheduler reads of a Pod, computed once.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::{
    NodeSelector, Pod, PodAffinityTerm, PreferredSchedulingTerm, Toleration, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};
use kube::ResourceExt;

use crate::{labels::Labels, resources::Requests};

/// A port of the node that a pod takes: protocol, address (empty for all) and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `0.0.0.0` for every address.
    pub ip: String,
    /// The port's number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == any || other.ip == any)
    }
}

/// A Pod as filters and scores see it.
#[derive(Debug, Clone)]
pub struct PodInfo {
    /// The object itself.
    pub pod: Arc<Pod>,
    /// Identity over time; a pod of the same name that is made anew has another.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What it asks for.
    pub requests: Requests,
    /// The node's ports that it takes.
    pub host_ports: BTreeSet<HostPort>,
    /// More is more important.
    pub priority: i32,
}

impl PodInfo {
    /// Reads `pod`.
    pub fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.as_ref();
        let requests = spec.map(Requests::of).unwrap_or_default();
        let containers = spec.into_iter().flat_map(|spec| {
            let sidecars = spec.init_containers.iter().flatten();
            spec.containers.iter().chain(sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always")))
        });
        let host_ports = containers
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                let number = port.host_port.filter(|number| *number > 0)?;
                let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
                Some(HostPort { protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), ip, port: number })
            })
            .collect();
        Self {
            uid: pod.uid().unwrap_or_default(),
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            labels: pod.labels().clone(),
            priority: spec.and_then(|spec| spec.priority).unwrap_or_default(),
            requests,
            host_ports,
            pod,
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it is being deleted.
    pub fn terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The node it was bound to.
    pub fn node_name(&self) -> Option<&str> {
        self.pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// Whether it has ended, and so takes nothing any more.
    pub fn ended(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// `spec.nodeSelector`.
    pub fn node_selector(&self) -> Option<&Labels> {
        self.pod.spec.as_ref()?.node_selector.as_ref()
    }

    /// Required node affinity.
    pub fn node_affinity(&self) -> Option<&NodeSelector> {
        let affinity = self.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        affinity.required_during_scheduling_ignored_during_execution.as_ref()
    }

    /// Preferred node affinity.
    pub fn preferred_nodes(&self) -> &[PreferredSchedulingTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
        affinity
            .and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_deref())
            .unwrap_or_default()
    }

    /// Required pod affinity.
    pub fn affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
        affinity.and_then(|pod| pod.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// Required pod anti-affinity.
    pub fn anti_affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
        affinity.and_then(|pod| pod.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// Preferred pod affinity.
    pub fn preferred_affinity(&self) -> &[WeightedPodAffinityTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
        affinity.and_then(|pod| pod.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// Preferred pod anti-affinity.
    pub fn preferred_anti_affinity(&self) -> &[WeightedPodAffinityTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
        affinity.and_then(|pod| pod.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// Whether any term of pod affinity or anti-affinity is there.
    pub fn has_pod_affinity(&self) -> bool {
        self.pod
            .spec
            .as_ref()
            .and_then(|spec| spec.affinity.as_ref())
            .is_some_and(|affinity| affinity.pod_affinity.is_some() || affinity.pod_anti_affinity.is_some())
    }

    /// What it tolerates.
    pub fn tolerations(&self) -> &[Toleration] {
        self.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    /// How it wants to be spread.
    pub fn spread(&self) -> &[TopologySpreadConstraint] {
        self.pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default()
    }
}
