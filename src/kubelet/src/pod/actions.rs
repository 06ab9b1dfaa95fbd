//! What to do for a pod, from what is wanted and what was seen. Pure.
//!
//! The decisions are those of Kubernetes' kubelet, in its order: the sandbox, then init containers one after the
//! other (sidecars among them stay), then the containers side by side.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    config::container_hash,
    observed::{Observed, ObservedContainer, Phase},
    restart::{restarts_after, should_start},
    traits::{PodExt, is_sidecar},
};
use crate::probes::{Outcome, ProbeKind};

/// What [`compute_pod_actions`] looks at.
pub struct View<'a> {
    /// What is wanted.
    pub pod: &'a Pod,
    /// What the runtime has.
    pub observed: &'a Observed,
    /// What a probe of a container said last.
    pub probe: &'a dyn Fn(&str, ProbeKind) -> Option<Outcome>,
    /// Containers (by name) that were stopped in order to be started again, whatever their policy says.
    pub restarting: &'a HashSet<String>,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PodActions {
    /// Everything of the pod ends; with `create_sandbox` it then begins anew.
    pub kill_pod: bool,
    /// A sandbox is made.
    pub create_sandbox: bool,
    /// The how-manieth one it is.
    pub attempt: u32,
    /// Init containers to start, by index.
    pub init_to_start: Vec<usize>,
    /// Containers to start, by index.
    pub to_start: Vec<usize>,
    /// Containers to stop.
    pub to_kill: Vec<Kill>,
}

/// A container to stop, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The runtime's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// What the event says.
    pub message: String,
    /// The probe that failed, whose own grace period counts.
    pub probe: Option<ProbeKind>,
    /// It is started again, whatever its policy says.
    pub restart: bool,
}

/// What to do for a pod.
pub fn compute_pod_actions(view: &View<'_>) -> PodActions {
    let (pod, observed) = (view.pod, view.observed);
    let mut actions = PodActions::default();
    let restarts = pod.restart_policy() != "Never";
    let sandbox = observed.sandbox();
    let usable = |sandbox: &super::observed::ObservedSandbox| {
        sandbox.ready && (pod.is_host_network() || !sandbox.ips.is_empty())
    };
    if !sandbox.is_some_and(usable) {
        actions.kill_pod = true;
        actions.attempt = sandbox.map_or(0, |sandbox| sandbox.attempt + 1);
        if !restarts && actions.attempt != 0 && !observed.containers.is_empty() {
            return actions;
        }
        let to_start: Vec<usize> = wanted_in_new_sandbox(pod, observed);
        if to_start.is_empty() {
            return actions;
        }
        actions.create_sandbox = true;
        if pod.init_containers().is_empty() {
            actions.to_start = to_start;
        } else {
            actions.init_to_start = vec![0];
        }
        return actions;
    }

    let initialized = plan_init_containers(view, restarts, &mut actions);
    if actions.kill_pod || !initialized {
        return actions;
    }
    let mut keep = 0;
    for (index, container) in pod.containers().iter().enumerate() {
        let Some(status) = observed.current(&container.name).filter(|status| status.phase == Phase::Running) else {
            if should_start(pod, container, observed) || view.restarting.contains(&container.name) {
                actions.to_start.push(index);
            }
            continue;
        };
        let Some((what, probe, always)) = why_kill(view, container, status) else {
            keep += 1;
            continue;
        };
        let restart = always || restarts_after(pod, container, -1);
        let mut message = format!("Container {} {what}", container.name);
        if restart {
            message.push_str(", will be restarted");
            actions.to_start.push(index);
        }
        actions.to_kill.push(Kill {
            id: status.id.clone(),
            name: container.name.clone(),
            message,
            probe,
            restart: always,
        });
    }
    if keep == 0 && actions.to_start.is_empty() {
        actions.kill_pod = true;
        // Sidecars do not keep a pod alive.
        actions.init_to_start.clear();
    }
    actions
}

/// With a new sandbox all containers begin again, except those that have done what they had to do.
fn wanted_in_new_sandbox(pod: &Pod, observed: &Observed) -> Vec<usize> {
    let done = |container: &Container| {
        observed
            .latest(&container.name)
            .is_some_and(|status| status.phase == Phase::Exited && !restarts_after(pod, container, status.exit_code))
    };
    let all = pod.containers().iter().enumerate();
    all.filter(|(_, container)| !done(container)).map(|(index, _)| index).collect()
}

/// Why a running container is stopped, and whether it starts again whatever its policy says.
fn why_kill(
    view: &View<'_>,
    container: &Container,
    status: &ObservedContainer,
) -> Option<(&'static str, Option<ProbeKind>, bool)> {
    let failed = |kind| (view.probe)(&status.id, kind) == Some(Outcome::Failure);
    if !status.hash.is_empty() && status.hash != container_hash(container) {
        Some(("definition changed", None, true))
    } else if failed(ProbeKind::Liveness) {
        Some(("failed liveness probe", Some(ProbeKind::Liveness), false))
    } else if failed(ProbeKind::Startup) {
        Some(("failed startup probe", Some(ProbeKind::Startup), false))
    } else {
        None
    }
}

/// Plans the init containers; true when all have done their part.
///
/// It looks from the last to the first, since the records of those that are done may have been removed: the last that
/// has a record tells how far the pod is. Behind it only sidecars are looked after.
fn plan_init_containers(view: &View<'_>, restarts: bool, actions: &mut PodActions) -> bool {
    let (pod, observed) = (view.pod, view.observed);
    let containers = pod.init_containers();
    if containers.is_empty() {
        return true;
    }
    let begun = |container: &Container| {
        observed
            .current(&container.name)
            .is_some_and(|status| matches!(status.phase, Phase::Created | Phase::Running | Phase::Exited))
    };
    let mut initialized = pod.containers().iter().any(begun);
    let mut found = initialized;
    for (index, container) in containers.iter().enumerate().rev() {
        let sidecar = is_sidecar(container);
        let Some(status) = observed.current(&container.name) else {
            if found && sidecar {
                actions.init_to_start.push(index);
            }
            continue;
        };
        if found && !sidecar {
            continue;
        }
        let last = index + 1 == containers.len();
        // What comes after this one, when this is the one that tells how far the pod is.
        let mut advance = |actions: &mut PodActions| {
            if last {
                initialized = true;
            } else if !found {
                actions.init_to_start.push(index + 1);
            }
        };
        match status.phase {
            Phase::Created => actions.init_to_start.push(index),
            Phase::Running if sidecar => match why_kill(view, container, status) {
                Some((what, probe, always)) => {
                    let message = format!("Init container {} {what}, will be restarted", container.name);
                    let (id, name) = (status.id.clone(), container.name.clone());
                    actions.to_kill.push(Kill { id, name, message, probe, restart: always });
                    actions.init_to_start.push(index);
                }
                None => {
                    let started = container.startup_probe.is_none()
                        || (view.probe)(&status.id, ProbeKind::Startup) == Some(Outcome::Success);
                    if started {
                        advance(actions);
                    }
                }
            },
            Phase::Running => {}
            Phase::Exited if sidecar => actions.init_to_start.push(index),
            Phase::Exited if status.exit_code == 0 => advance(actions),
            Phase::Exited | Phase::Unknown => {
                if !restarts && !restarts_after(pod, container, status.exit_code) {
                    actions.kill_pod = true;
                    actions.init_to_start.clear();
                    return false;
                }
                actions.init_to_start.push(index);
            }
        }
        found = true;
    }
    if !found {
        actions.init_to_start.push(0);
    }
    actions.init_to_start.reverse();
    initialized
}

#[cfg(test)]
#[path = "actions_test.rs"]
mod tests;
