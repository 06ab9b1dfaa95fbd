//! What the runtime has, asked for as a whole.

use std::{collections::HashMap, path::Path, time::Duration};

use cri::{labels, v1};
use futures::{StreamExt, TryStreamExt, stream};

use crate::fs_watch::FsWatch;
use crate::pod::observed::{Observed, ObservedContainer, ObservedSandbox};

/// So many status calls are under way at once.
const CALLS_AT_ONCE: usize = 32;

/// All that the runtime has, by the uids of pods; of one pod only when `uid` is given.
pub async fn observe(cri: &cri::Clients, uid: Option<&str>) -> Result<HashMap<String, Observed>, tonic::Status> {
    let selector: HashMap<String, String> =
        uid.into_iter().map(|uid| (labels::POD_UID.to_owned(), uid.to_owned())).collect();
    let sandbox_filter = v1::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
    let container_filter = v1::ContainerFilter { label_selector: selector, ..Default::default() };
    let (mut sandboxes, mut containers) = (cri.runtime.clone(), cri.runtime.clone());
    let (sandboxes, containers) = tokio::try_join!(
        sandboxes.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(sandbox_filter) }),
        containers.list_containers(v1::ListContainersRequest { filter: Some(container_filter) }),
    )?;
    let mut found: HashMap<String, Observed> = HashMap::new();
    let statuses = stream::iter(sandboxes.into_inner().items).map(|sandbox| {
        let mut client = cri.runtime.clone();
        async move {
            let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id.clone(), verbose: false };
            let status = gone_is_none(client.pod_sandbox_status(request).await)?.and_then(|answer| answer.status);
            Ok::<_, tonic::Status>((sandbox, status))
        }
    });
    let statuses: Vec<_> = statuses.buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
    for (sandbox, status) in statuses {
        let uid = sandbox.labels.get(labels::POD_UID).cloned().or_else(|| Some(sandbox.metadata?.uid));
        if let (Some(uid), Some(status)) = (uid, status) {
            found.entry(uid).or_default().sandboxes.push(ObservedSandbox::from_cri(&status));
        }
    }
    let statuses = stream::iter(containers.into_inner().containers).map(|container| {
        let mut client = cri.runtime.clone();
        async move {
            let request = v1::ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
            let status = gone_is_none(client.container_status(request).await)?.and_then(|answer| answer.status);
            Ok::<_, tonic::Status>((container, status))
        }
    });
    let statuses: Vec<_> = statuses.buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
    for (container, status) in statuses {
        let uid = container.labels.get(labels::POD_UID).cloned();
        let observed = status.and_then(|status| ObservedContainer::from_cri(&container.pod_sandbox_id, &status));
        if let (Some(uid), Some(observed)) = (uid, observed) {
            found.entry(uid).or_default().containers.push(observed);
        }
    }
    for observed in found.values_mut() {
        let all = std::mem::take(observed);
        observed.replace(all);
    }
    Ok(found)
}

/// What disappeared between the list and the question is not an error.
fn gone_is_none<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<Option<T>, tonic::Status> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// Streams container events for ever: calls `listed` with a full list whenever the stream is new, then `event` with
/// each event. A runtime that went away is looked for at once, and again as soon as its socket appears.
pub async fn follow(
    cri: cri::Clients,
    socket: &Path,
    files: &FsWatch,
    listed: impl Fn(HashMap<String, Observed>),
    event: impl Fn(v1::ContainerEventResponse),
    lost: impl Fn(&tonic::Status),
) {
    let mut pause = Duration::from_millis(5);
    loop {
        let attempt = async {
            // The stream first, so that nothing happens unseen between the list and it.
            let events = cri.runtime.clone().get_container_events(v1::GetEventsRequest {}).await?.into_inner();
            let list = observe(&cri, None).await?;
            Ok::<_, tonic::Status>((events, list))
        };
        match attempt.await {
            Ok((mut events, list)) => {
                pause = Duration::from_millis(5);
                listed(list);
                loop {
                    match events.message().await {
                        Ok(Some(message)) => event(message),
                        Ok(None) => {
                            lost(&tonic::Status::unavailable("the runtime ended the stream"));
                            break;
                        }
                        Err(status) => {
                            lost(&status);
                            break;
                        }
                    }
                }
            }
            Err(status) => lost(&status),
        }
        socket_appears(socket, files, pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// The agent starts the runtime anew: its socket appearing is the sign; the pause is only a net.
async fn socket_appears(socket: &Path, files: &FsWatch, pause: Duration) {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    match files.watch(folder) {
        Ok(watch) if !socket.exists() => {
            let _ = tokio::time::timeout(pause, watch.changed()).await;
        }
        // A socket whose process is gone, or that is not listened to yet.
        _ => tokio::time::sleep(pause).await,
    }
}
