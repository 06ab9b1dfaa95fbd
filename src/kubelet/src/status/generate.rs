//! The whole status of a pod.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{conditions, containers, phase, qos_class};
use crate::{
    pod::{observed::Observed, traits::PodExt},
    probes::{Outcome, ProbeKind},
};

/// Why a container is not running, in the words of its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `CrashLoopBackOff`, `ImagePullBackOff`, …
    pub reason: String,
    /// What a person reads.
    pub message: String,
}

/// What a status is made from, besides the pod.
pub struct Facts<'a> {
    /// What the runtime has.
    pub observed: &'a Observed,
    /// What a probe of a container said last.
    pub probe: &'a dyn Fn(&str, ProbeKind) -> Option<Outcome>,
    /// Why containers (by name) are not running.
    pub waiting: &'a HashMap<String, Waiting>,
    /// The pod's containers have ended and none starts again.
    pub terminated: bool,
    /// Why the kubelet ended the pod by itself: a reason and a message.
    pub failure: Option<(&'a str, &'a str)>,
    /// The runtime's name, which begins every container id.
    pub runtime_name: &'a str,
    /// The node's address.
    pub node_ip: &'a str,
    /// When the kubelet first saw the pod.
    pub seen: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}

/// The status of `pod`.
pub fn generate(pod: &Pod, facts: &Facts<'_>) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let init = containers::statuses(pod, pod.init_containers(), facts, true);
    let main = containers::statuses(pod, pod.containers(), facts, false);
    let initialized = conditions::has_initialized(pod, &init, &main);
    let phase = match (facts.failure, old.phase.as_deref()) {
        // What is final stays.
        (_, Some(last @ ("Succeeded" | "Failed"))) => last,
        (Some(_), _) => "Failed",
        (None, _) => phase::phase(pod, &init, &main, facts.terminated, initialized),
    };
    let parts = conditions::Parts { pod, facts, phase, init: &init, main: &main };
    let conditions = conditions::conditions(&parts);
    let ips: Vec<String> = match facts.observed.sandbox() {
        _ if pod.is_host_network() => vec![facts.node_ip.to_owned()],
        Some(sandbox) if sandbox.ready || facts.terminated => sandbox.ips.clone(),
        _ => Vec::new(),
    };
    let old_ips = || old.pod_ips.clone().filter(|_| facts.terminated || pod.is_terminal());
    let pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|ips| !ips.is_empty());
    let pod_ips = pod_ips.or_else(old_ips);
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: facts.failure.map(|(reason, _)| reason.to_owned()).or(old.reason),
        message: facts.failure.map(|(_, message)| message.to_owned()).or(old.message),
        conditions: Some(conditions),
        host_ip: Some(facts.node_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: facts.node_ip.to_owned() }]),
        pod_ip: pod_ips.as_ref().and_then(|ips| ips.first()).map(|ip| ip.ip.clone()),
        pod_ips,
        start_time: old.start_time.or(Some(Time(facts.seen))),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        container_statuses: Some(main),
        qos_class: old.qos_class.or_else(|| Some(qos_class(pod).to_owned())),
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

#[cfg(test)]
#[path = "generate_test.rs"]
mod tests;
