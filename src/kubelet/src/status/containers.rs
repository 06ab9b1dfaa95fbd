//! The status of each container.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, Pod, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::generate::Facts;
use crate::{
    pod::{
        observed::{ObservedContainer, Phase},
        restart,
        traits::{PodExt, is_sidecar},
    },
    probes::{Outcome, ProbeKind},
};

/// A moment as Kubernetes writes it: whole seconds. `None` for 0, which is never.
pub fn seconds(nanoseconds: i64) -> Option<Time> {
    let whole = nanoseconds.div_euclid(1_000_000_000);
    Timestamp::from_second(whole).ok().filter(|_| nanoseconds != 0).map(Time)
}

/// The statuses of `containers`, in their order. `initializing` is what such a container waits for.
pub(super) fn statuses(pod: &Pod, containers: &[Container], facts: &Facts<'_>, init: bool) -> Vec<ContainerStatus> {
    containers.iter().map(|container| status(pod, container, facts, init)).collect()
}

fn status(pod: &Pod, container: &Container, facts: &Facts<'_>, init: bool) -> ContainerStatus {
    let old = old_status(pod, &container.name, init);
    let mut records = facts.observed.all(&container.name);
    let waiting = |reason: &str, message: Option<&str>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message: message.map(str::to_owned) }),
        ..Default::default()
    };
    let default_reason = if pod.init_containers().is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(default_reason, None)),
        restart_count: old.map_or(0, |old| old.restart_count),
        last_state: Some(old.and_then(|old| old.last_state.clone()).unwrap_or_default()),
        started: Some(false),
        volume_mounts: volume_mounts(container),
        resources: Some(container.resources.clone().unwrap_or_default()).filter(|_| container.resources.is_some()),
        ..Default::default()
    };
    let reason = facts.waiting.get(&container.name);
    if let Some(newest) = records.next() {
        status.image = newest.image.clone();
        status.image_id = newest.image_id.clone();
        status.container_id = Some(format!("{}://{}", facts.runtime_name, newest.id));
        status.restart_count = i32::try_from(newest.restart_count).unwrap_or(i32::MAX);
        let state = state(newest, facts);
        let previous = records.next().map(|previous| self::state(previous, facts));
        status.last_state = Some(previous.or(status.last_state).unwrap_or_default());
        // It ended and is about to start again: it waits, and what it was is its last state.
        let restarts = newest.phase == Phase::Exited
            && !facts.terminated
            && (restart::should_start(pod, container, facts.observed) || is_sidecar(container) && !pod.is_deleted());
        match reason {
            Some(reason) if restarts || newest.phase == Phase::Created => {
                if restarts {
                    status.last_state = Some(state);
                }
                status.state = Some(waiting(&reason.reason, Some(&reason.message)));
            }
            _ => status.state = Some(state),
        }
        if newest.phase == Phase::Running {
            status.started = Some(is_started(container, newest, facts));
            status.ready = is_ready(container, newest, facts);
        }
        if init && !is_sidecar(container) {
            status.ready = newest.phase == Phase::Exited && newest.exit_code == 0;
        }
    } else if facts.terminated && facts.observed.sandboxes.is_empty() && old.is_some_and(was_final) {
        // The record is gone, but it is known how it ended.
        if let Some(old) = old {
            status = old.clone();
        }
    } else if let Some(reason) = reason {
        status.state = Some(waiting(&reason.reason, Some(&reason.message)));
    }
    status
}

fn was_final(old: &ContainerStatus) -> bool {
    old.state.as_ref().is_some_and(|state| state.terminated.is_some())
}

pub(super) fn old_status<'a>(pod: &'a Pod, name: &str, init: bool) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let list = if init { &status.init_container_statuses } else { &status.container_statuses };
    list.as_ref()?.iter().find(|status| status.name == name)
}

fn state(container: &ObservedContainer, facts: &Facts<'_>) -> ContainerState {
    match container.phase {
        Phase::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: seconds(container.started_at) }),
            ..Default::default()
        },
        Phase::Created | Phase::Unknown => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some("ContainerCreating".to_owned()), message: None }),
            ..Default::default()
        },
        Phase::Exited => ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: container.exit_code,
                reason: Some(container.reason.clone()).filter(|reason| !reason.is_empty()),
                message: Some(container.message.clone()).filter(|message| !message.is_empty()),
                started_at: seconds(container.started_at),
                finished_at: seconds(container.finished_at),
                container_id: Some(format!("{}://{}", facts.runtime_name, container.id)),
                signal: None,
            }),
            ..Default::default()
        },
    }
}

fn is_started(container: &Container, running: &ObservedContainer, facts: &Facts<'_>) -> bool {
    container.startup_probe.is_none() || (facts.probe)(&running.id, ProbeKind::Startup) == Some(Outcome::Success)
}

fn is_ready(container: &Container, running: &ObservedContainer, facts: &Facts<'_>) -> bool {
    is_started(container, running, facts)
        && (container.readiness_probe.is_none()
            || (facts.probe)(&running.id, ProbeKind::Readiness) == Some(Outcome::Success))
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.iter().flatten().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.unwrap_or(false).then(|| "Disabled".to_owned()),
        ..Default::default()
    });
    Some(mounts.collect::<Vec<_>>()).filter(|mounts| !mounts.is_empty())
}
