//! The conditions of a pod.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{find, generate::Facts};
use crate::pod::traits::{PodExt, is_sidecar};

/// What the conditions are made from.
pub(super) struct Parts<'a> {
    pub pod: &'a Pod,
    pub facts: &'a Facts<'a>,
    pub phase: &'a str,
    pub init: &'a [ContainerStatus],
    pub main: &'a [ContainerStatus],
}

/// All conditions a kubelet keeps. A condition that did not change keeps the time of its last transition.
pub(super) fn conditions(parts: &Parts<'_>) -> Vec<PodCondition> {
    let containers_ready = containers_ready(parts);
    let ready = ready(parts, &containers_ready);
    let all = [network_ready(parts), initialized(parts), ready, containers_ready, condition("PodScheduled", true)];
    all.map(|condition| dated(parts, condition)).into()
}

fn condition(name: &str, status: bool) -> PodCondition {
    PodCondition {
        type_: name.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        ..Default::default()
    }
}

fn dated(parts: &Parts<'_>, mut condition: PodCondition) -> PodCondition {
    let old = parts.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let old = old.and_then(|old| old.iter().find(|old| old.type_ == condition.type_));
    condition.last_transition_time = match old {
        Some(old) if old.status == condition.status => old.last_transition_time.clone(),
        _ => None,
    }
    .or(Some(Time(parts.facts.now)));
    condition.observed_generation = parts.pod.metadata.generation;
    condition
}

fn network_ready(parts: &Parts<'_>) -> PodCondition {
    let up = |sandbox: &crate::pod::observed::ObservedSandbox| {
        sandbox.ready && (parts.pod.is_host_network() || !sandbox.ips.is_empty())
    };
    condition("PodReadyToStartContainers", parts.facts.observed.sandbox().is_some_and(up))
}

fn initialized(parts: &Parts<'_>) -> PodCondition {
    let mut unknown = Vec::new();
    let mut incomplete: Vec<&str> = Vec::new();
    for container in parts.pod.init_containers() {
        match parts.init.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if is_sidecar(container) && status.started != Some(true) => incomplete.push(&container.name),
            Some(status) if !is_sidecar(container) && !status.ready => incomplete.push(&container.name),
            Some(_) => {}
        }
    }
    if parts.phase == "Succeeded" && unknown.is_empty() {
        return because(condition("Initialized", true), "PodCompleted", String::new());
    }
    let begun = |status: &ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        state.running.is_some() || state.terminated.is_some() || last.terminated.is_some()
    };
    if parts.main.iter().any(begun) || unknown.is_empty() && incomplete.is_empty() {
        return condition("Initialized", true);
    }
    let message =
        lists(&[("containers with unknown status", &unknown), ("containers with incomplete status", &incomplete)]);
    because(condition("Initialized", false), "ContainersNotInitialized", message)
}

fn containers_ready(parts: &Parts<'_>) -> PodCondition {
    let name = "ContainersReady";
    match parts.phase {
        "Succeeded" => return because(condition(name, false), "PodCompleted", String::new()),
        "Failed" => return because(condition(name, false), "PodFailed", String::new()),
        _ => {}
    }
    let mut unknown = Vec::new();
    let mut unready = Vec::new();
    for container in parts.pod.init_containers().iter().filter(|container| is_sidecar(container)) {
        match parts.init.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    for container in parts.pod.containers() {
        match parts.main.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if unknown.is_empty() && unready.is_empty() {
        return condition(name, true);
    }
    let message = lists(&[("containers with unknown status", &unknown), ("containers with unready status", &unready)]);
    because(condition(name, false), "ContainersNotReady", message)
}

fn ready(parts: &Parts<'_>, containers_ready: &PodCondition) -> PodCondition {
    if containers_ready.status != "True" {
        return PodCondition { type_: "Ready".to_owned(), ..containers_ready.clone() };
    }
    let present = parts.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut messages = Vec::new();
    for gate in parts.pod.pod_spec().and_then(|spec| spec.readiness_gates.as_ref()).into_iter().flatten() {
        match present.iter().find(|condition| condition.type_ == gate.condition_type) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(condition) if condition.status != "True" => messages.push(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                gate.condition_type, condition.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        return condition("Ready", true);
    }
    because(condition("Ready", false), "ReadinessGatesNotReady", messages.join(", "))
}

fn because(condition: PodCondition, reason: &str, message: String) -> PodCondition {
    PodCondition {
        reason: Some(reason.to_owned()),
        message: Some(message).filter(|text| !text.is_empty()),
        ..condition
    }
}

/// `what: [a b], what else: [c]`
fn lists(lists: &[(&str, &[&str])]) -> String {
    let parts: Vec<String> = lists
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: [{}]", names.join(" ")))
        .collect();
    parts.join(", ")
}

/// Whether every init container has done its part, as the phase wants to know it.
pub(super) fn has_initialized(pod: &Pod, init: &[ContainerStatus], main: &[ContainerStatus]) -> bool {
    let begun = |status: &ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        state.running.is_some() || state.terminated.is_some() || last.terminated.is_some()
    };
    main.iter().any(begun)
        || init.iter().all(|status| {
            find(pod.init_containers(), &status.name).is_some_and(|container| {
                if is_sidecar(container) { status.started == Some(true) } else { status.ready }
            })
        })
}
