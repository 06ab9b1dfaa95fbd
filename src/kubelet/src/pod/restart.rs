//! Whether a container that ended is started again.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    observed::{Observed, Phase},
    traits::PodExt,
};

/// Whether `container` is to be started, as things are: it never was, or ended and its rules say so.
pub fn should_start(pod: &Pod, container: &Container, observed: &Observed) -> bool {
    if pod.is_deleted() {
        return false;
    }
    match observed.current(&container.name) {
        Some(status) => match status.phase {
            Phase::Running => false,
            // It should have been started in the same breath as it was made.
            Phase::Created | Phase::Unknown => true,
            Phase::Exited => restarts_after(pod, container, status.exit_code),
        },
        // In an earlier sandbox it may have done what it had to do.
        None => match observed.latest(&container.name) {
            Some(earlier) if earlier.phase == Phase::Exited => restarts_after(pod, container, earlier.exit_code),
            _ => true,
        },
    }
}

/// Whether a container that ended with `exit_code` is started again: by its own rules, its own policy, or its pod's.
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(exit_codes) = &rule.exit_codes else { continue };
        let listed = exit_codes.values.as_ref().is_some_and(|values| values.contains(&exit_code));
        let matches = match exit_codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| pod.restart_policy()) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}
