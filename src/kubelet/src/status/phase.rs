//! The phase of a pod, from its containers' statuses.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pod::traits::{PodExt, is_sidecar};

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub(super) fn phase(
    pod: &Pod,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    terminated: bool,
    initialized: bool,
) -> &'static str {
    let (mut pending_init, mut failed_init) = (0, 0);
    let (mut unknown, mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0, 0);
    for container in pod.init_containers() {
        let Some(status) = init.iter().find(|status| status.name == container.name) else {
            pending_init += 1;
            continue;
        };
        let state = status.state.as_ref();
        let last_exit = status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).map(|end| end.exit_code);
        if is_sidecar(container) {
            if state.is_some_and(|state| state.running.is_some()) {
                pending_init += usize::from(status.started != Some(true));
                running += 1;
            } else if state.is_some_and(|state| state.terminated.is_none()) && last_exit.is_none() {
                pending_init += 1;
                waiting += 1;
            }
        } else if let Some(end) = state.and_then(|state| state.terminated.as_ref()) {
            failed_init += usize::from(end.exit_code != 0);
        } else {
            match last_exit.filter(|_| state.is_some_and(|state| state.waiting.is_some())) {
                Some(exit_code) => failed_init += usize::from(exit_code != 0),
                None => pending_init += 1,
            }
        }
    }
    for container in pod.containers() {
        let Some(status) = main.iter().find(|status| status.name == container.name) else {
            unknown += 1;
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if state.running.is_some() {
            running += 1;
        } else if let Some(end) = state.terminated {
            stopped += 1;
            succeeded += usize::from(end.exit_code == 0);
        } else if state.waiting.is_some() {
            if last.is_some() { stopped += 1 } else { waiting += 1 }
        } else {
            unknown += 1;
        }
    }
    if failed_init > 0 && pod.restart_policy() == "Never" {
        return "Failed";
    }
    if (pending_init > 0 || failed_init > 0) && !initialized {
        return if terminated { "Failed" } else { "Pending" };
    }
    if waiting > 0 {
        return if terminated && running == 0 { "Failed" } else { "Pending" };
    }
    if unknown > 0 {
        return "Pending";
    }
    if running > 0 {
        return "Running";
    }
    if stopped == 0 {
        return "Pending";
    }
    match (stopped == succeeded, pod.restart_policy()) {
        (true, _) if terminated => "Succeeded",
        (false, _) if terminated => "Failed",
        (_, "Always") => "Running",
        (true, _) => "Succeeded",
        (false, "Never") => "Failed",
        (false, _) => "Running",
    }
}
