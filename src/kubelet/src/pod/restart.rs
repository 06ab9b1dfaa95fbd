//! Whether a container that ended is started again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    observed::{Observed, ObservedContainer, Phase},
    traits::PodExt,
};

/// How a runtime says that it died under a container, and so does not know how that ended.
const LOST: &str = "ContainerStatusUnknown";
/// A container that ran this long when its runtime died is not what killed it.
const INNOCENT_AFTER: Duration = crate::backoff::DELAY_FIRST;

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

/// When a container ended that has to wait before it is started again. One that only went down with its runtime has not: it
/// serves again as soon as the runtime does, however often that dies; unless it had just been started, and then may be
/// what brings the runtime down.
pub fn failed_at(container: &ObservedContainer) -> Option<Timestamp> {
    let ran = Duration::from_nanos(u64::try_from(container.finished_at - container.started_at).unwrap_or(0));
    if container.phase != Phase::Exited || container.reason == LOST && ran >= INNOCENT_AFTER {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(container.finished_at)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::observed::tests::container;

    #[test]
    fn a_container_that_went_down_with_its_runtime_need_not_wait_unless_it_may_be_the_cause() {
        let second = 1_000_000_000;
        for (reason, ran, waits) in
            [("Error", 100, true), ("Completed", 1, true), (LOST, 9, true), (LOST, 10, false), (LOST, 1000, false)]
        {
            let mut ended = container("c", "s", 0, Phase::Exited);
            (ended.started_at, ended.finished_at) = (5 * second, (5 + ran) * second);
            ended.reason = reason.to_owned();
            let expected = waits.then(|| Timestamp::from_second(5 + ran).expect("small"));
            assert_eq!(failed_at(&ended), expected, "{reason} after {ran} s");
        }
        assert_eq!(failed_at(&container("c", "s", 0, Phase::Running)), None);
    }
}
