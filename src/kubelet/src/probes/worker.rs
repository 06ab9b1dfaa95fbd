//! One probe of one running container, again and again.
//!
//! A container that has just started gets a second look soon: until the first success, and for no longer than one
//! period, a readiness or startup probe that failed is repeated after 5 ms, 10 ms, 20 ms, … These looks count neither
//! as failures nor as events. A pod is thereby ready when it is, not up to a period later.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Pod, Probe};
use tokio::time::{Instant, sleep};

use super::{
    Outcome, ProbeKind, Results,
    prober::{Prober, Target},
};
use crate::{
    events::{Recorder, Severity},
    pod::traits::PodExt,
};

const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(5);

/// What a worker does.
pub struct Assignment {
    /// The pod as it was when the container started.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub container: String,
    /// The runtime's id of it.
    pub container_id: String,
    /// Which probe.
    pub kind: ProbeKind,
    /// Its specification.
    pub probe: Probe,
    /// Where it goes.
    pub target: Target,
    /// How long the container has been running.
    pub running_for: Duration,
    /// It ran before this kubelet did: the first look is spread over a period, so that a thousand adopted pods are
    /// not all asked at once.
    pub adopted: bool,
    /// A number below one, for that.
    pub spread: f64,
}

/// Probes until it is dropped, or until the container must be restarted. Calls `changed` when the outcome changes.
pub async fn run(
    work: Assignment,
    prober: Arc<Prober>,
    results: Results,
    recorder: Recorder,
    changed: Arc<dyn Fn() + Send + Sync>,
) {
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
    };
    let period = seconds(work.probe.period_seconds, 10).max(Duration::from_secs(1));
    let threshold =
        |value: Option<i32>, default: u32| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default).max(1);
    let (successes_wanted, failures_wanted) =
        (threshold(work.probe.success_threshold, 1), threshold(work.probe.failure_threshold, 3));
    let delay = seconds(work.probe.initial_delay_seconds, 0).saturating_sub(work.running_for);
    sleep(if work.adopted { delay + period.mul_f64(work.spread) } else { delay }).await;
    if work.kind != ProbeKind::Startup {
        wait_for_start(&work, &results).await;
    }
    let (mut successes, mut failures) = (0, 0);
    let mut eager =
        (!work.adopted && work.kind != ProbeKind::Liveness).then(|| (Instant::now() + period, LOOK_AGAIN_FIRST));
    loop {
        let begun = Instant::now();
        let verdict = prober.probe(&work).await;
        let outcome = match &verdict {
            Ok(Ok(())) => Outcome::Success,
            Ok(Err(_)) | Err(_) => Outcome::Failure,
        };
        if outcome == Outcome::Failure
            && let Some((until, pause)) = &mut eager
            && Instant::now() + *pause < *until
        {
            sleep(*pause).await;
            *pause *= 2;
            continue;
        }
        eager = None;
        match verdict {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                let message = format!("{} probe failed: {why}", work.kind.as_str());
                recorder.container(&work.pod, &work.container, Severity::Warning, "Unhealthy", message);
            }
            Err(why) => {
                let message = format!("{} probe errored and resulted in unknown state: {why}", work.kind.as_str());
                recorder.container(&work.pod, &work.container, Severity::Warning, "Unhealthy", message);
            }
        }
        let settled = match outcome {
            Outcome::Success => {
                (successes, failures) = (successes + 1, 0);
                successes >= successes_wanted
            }
            Outcome::Failure => {
                (successes, failures) = (0, failures + 1);
                failures >= failures_wanted
            }
        };
        if settled {
            if results.set(&work.container_id, work.kind, outcome) {
                changed();
            }
            match (work.kind, outcome) {
                // It has started, and is not asked again; or it is about to be restarted.
                (ProbeKind::Startup, _) | (ProbeKind::Liveness, Outcome::Failure) => return,
                _ => {}
            }
        }
        sleep(period.saturating_sub(begun.elapsed())).await;
    }
}

/// Until the startup probe has succeeded, if there is one.
async fn wait_for_start(work: &Assignment, results: &Results) {
    let has_startup =
        work.pod.find_container(&work.container).is_some_and(|(container, _)| container.startup_probe.is_some());
    if has_startup {
        results.wait_for(&work.container_id, ProbeKind::Startup, Outcome::Success).await;
    }
}
