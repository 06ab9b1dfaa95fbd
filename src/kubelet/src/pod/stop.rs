//! Stopping containers: the preStop hook, then the runtime's call with what is left of the grace period.

use std::{collections::HashSet, time::Duration};

use cri::v1;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use tokio::time::{Instant, sleep, timeout};

use super::{
    observed::{Observed, ObservedContainer},
    operations::absent_is_fine,
    traits::{PodExt, is_sidecar},
};
use crate::{context::Context, events::Severity, probes::Target};

/// However short the grace period, a container has that long.
const GRACE_SECONDS_MIN: i64 = 2;

/// Stops one container, with an event that says why.
pub async fn stop_container(
    context: &Context,
    pod: &Pod,
    name: &str,
    id: &str,
    grace_seconds: i64,
    why: &str,
) -> Result<(), tonic::Status> {
    context.recorder.container(pod, name, Severity::Normal, "Killing", why);
    let begun = Instant::now();
    let mut left = grace_seconds;
    if grace_seconds > 0
        && let Some((container, _)) = pod.find_container(name)
        && let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
    {
        let limit = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
        if let Err(why) = run_hook(context, container, id, hook, &Target { ip }, limit).await {
            let message = format!("PreStopHook failed: {why}");
            context.recorder.container(pod, name, Severity::Warning, "FailedPreStopHook", message);
        }
        left -= i64::try_from(begun.elapsed().as_secs()).unwrap_or(0);
        left = left.max(GRACE_SECONDS_MIN);
    }
    let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: left };
    absent_is_fine(context.cri.runtime.clone().stop_container(request).await)
}

/// Runs a lifecycle hook.
pub async fn run_hook(
    context: &Context,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
    target: &Target,
    limit: Duration,
) -> Result<(), String> {
    let outcome = if let Some(pause) = &hook.sleep {
        let seconds = Duration::from_secs(u64::try_from(pause.seconds).unwrap_or(0));
        // The user asked for exactly this.
        let _ = timeout(limit, sleep(seconds)).await;
        Ok(Ok(()))
    } else if let Some(action) = &hook.http_get {
        context.prober.http_get(action, container, target, limit).await
    } else if let Some(action) = &hook.exec {
        context.prober.exec(id, action.command.clone().unwrap_or_default(), limit).await
    } else {
        Err("a tcpSocket hook is not supported".to_owned())
    };
    outcome.and_then(|verdict| verdict)
}

/// Stops everything of a pod: containers side by side, then sidecars one after the other from the last to the first,
/// then its sandboxes, also those nobody remembers. Returns what is left.
pub async fn kill_pod(
    context: &Context,
    pod: &Pod,
    observed: &Observed,
    grace_seconds: i64,
    already_told: &HashSet<String>,
) -> Result<Observed, tonic::Status> {
    let sidecar = |container: &&ObservedContainer| {
        pod.find_container(&container.name)
            .is_some_and(|(container, path)| is_sidecar(container) && path.starts_with("spec.initContainers"))
    };
    let begun = Instant::now();
    let why = |name: &str| format!("Stopping container {name}");
    let stop = async |container: &ObservedContainer, grace: i64| {
        if already_told.contains(&container.id) {
            let request = v1::StopContainerRequest { container_id: container.id.clone(), timeout: grace };
            return absent_is_fine(context.cri.runtime.clone().stop_container(request).await);
        }
        stop_container(context, pod, &container.name, &container.id, grace, &why(&container.name)).await
    };
    let main = observed.alive().filter(|container| !sidecar(container));
    for outcome in join_all(main.map(|container| stop(container, grace_seconds))).await {
        outcome?;
    }
    let order = |container: &ObservedContainer| {
        pod.init_containers().iter().position(|init| init.name == container.name).unwrap_or(usize::MAX)
    };
    let mut sidecars: Vec<&ObservedContainer> = observed.alive().filter(sidecar).collect();
    sidecars.sort_by_key(|container| std::cmp::Reverse(order(container)));
    for container in sidecars {
        let spent = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
        stop(container, grace_seconds.saturating_sub(spent).max(GRACE_SECONDS_MIN)).await?;
    }
    let uid = pod.uid();
    let mut left = crate::runtime_state::observe(&context.cri, Some(uid)).await?.remove(uid).unwrap_or_default();
    let ready: Vec<String> =
        left.sandboxes.iter().filter(|sandbox| sandbox.ready).map(|sandbox| sandbox.id.clone()).collect();
    let alive = left.alive().next().is_some();
    for id in &ready {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
        absent_is_fine(context.cri.runtime.clone().stop_pod_sandbox(request).await)?;
        left.mark_stopped(id);
    }
    if alive {
        // Stopping the sandbox ended what had been started meanwhile.
        left = crate::runtime_state::observe(&context.cri, Some(uid)).await?.remove(uid).unwrap_or_default();
    }
    Ok(left)
}
