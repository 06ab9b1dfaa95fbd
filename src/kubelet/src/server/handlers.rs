//! The paths of the kubelet's API.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use component_base::metrics::Metrics;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{stats, tls::Caller};
use crate::{
    context::Context,
    fs_watch::FsWatch,
    logs::{self, Options},
    pod::{
        observed::{ObservedContainer, Phase},
        traits::PodExt,
        worker::Snapshot,
    },
    pods::Pods,
};

/// What the API shows.
pub struct Api {
    /// What all parts share.
    pub context: Arc<Context>,
    /// All pods.
    pub pods: Pods,
    /// Changes of log files.
    pub files: FsWatch,
    /// The process's metrics.
    pub metrics: Metrics,
}

type Shared = State<Arc<Api>>;

pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/pods", get(all_pods))
        .route("/pods/", get(all_pods))
        .route("/runningpods/", get(all_pods))
        .route("/metrics", get(metrics))
        .route("/stats/summary", get(stats_summary))
        .route("/exec/{*rest}", any(|| refused("exec")))
        .route("/run/{*rest}", any(|| refused("run")))
        .route("/attach/{*rest}", any(|| refused("attach")))
        .route("/portForward/{*rest}", any(|| refused("port-forward")))
        .layer(middleware::from_fn(only_trusted))
        // Whether it is healthy may be asked by anybody.
        .route("/healthz", get(async || "ok"))
        .route("/healthz/ping", get(async || "ok"))
        .with_state(api)
}

async fn only_trusted(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    if caller.is_trusted() {
        return next.run(request).await;
    }
    if caller.name.is_empty() {
        return (StatusCode::UNAUTHORIZED, "Unauthorized").into_response();
    }
    let message = format!("Forbidden (user={}, path={})", caller.name, request.uri().path());
    (StatusCode::FORBIDDEN, message).into_response()
}

async fn refused(what: &'static str) -> Response {
    let message = format!("{what} is not supported by this node yet");
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "NotImplemented", "code": 501});
    (StatusCode::NOT_IMPLEMENTED, Json(status)).into_response()
}

async fn all_pods(State(api): Shared) -> Response {
    let items: Vec<Pod> = api.pods.all().into_iter().map(|snapshot| (*snapshot.pod).clone()).collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})).into_response()
}

async fn metrics(State(api): Shared) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}

async fn stats_summary(State(api): Shared) -> Response {
    match stats::summary(&api.context, &api.pods).await {
        Ok(summary) => Json(summary).into_response(),
        Err(status) => (StatusCode::INTERNAL_SERVER_ERROR, crate::rpc_error(&status)).into_response(),
    }
}

async fn container_logs(
    State(api): Shared,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let (options, previous) = match options(&query, api.context.config.clock.now()) {
        Ok(options) => options,
        Err(message) => return (StatusCode::UNPROCESSABLE_ENTITY, message).into_response(),
    };
    let Some(mut snapshots) = api.pods.find(&namespace, &pod) else {
        return (StatusCode::NOT_FOUND, format!("pod \"{pod}\" not found\n")).into_response();
    };
    let snapshot = snapshots.borrow_and_update().clone();
    let instance = match choose(&snapshot, &container, previous) {
        Ok(instance) => instance,
        Err(Refusal(code, message)) => return (code, message).into_response(),
    };
    let path = instance.log_path.clone();
    if !path.exists() {
        let message = format!("the log of container \"{container}\" in pod \"{pod}\" is not there: {}", path.display());
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let id = instance.id.clone();
    let ended = async move {
        let is_over = |snapshot: &Snapshot| snapshot.observed.alive().all(|container| container.id != id);
        // A worker that is gone has no containers left.
        let _ = snapshots.wait_for(is_over).await;
    };
    let (sink, source) = mpsc::channel(16);
    tokio::spawn(logs::follow(path, options, api.files.clone(), ended, sink));
    let body = Body::from_stream(ReceiverStream::new(source));
    ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
}

struct Refusal(StatusCode, String);

/// The instance of a container whose log is wanted.
fn choose(snapshot: &Snapshot, container: &str, previous: bool) -> Result<ObservedContainer, Refusal> {
    let pod = &snapshot.pod;
    if pod.find_container(container).is_none() {
        let message = format!("container {container} is not valid for pod {}", pod.name());
        return Err(Refusal(StatusCode::NOT_FOUND, message));
    }
    let mut instances = snapshot.observed.all(container);
    let newest = instances.next();
    let refuse = |what: String| Refusal(StatusCode::BAD_REQUEST, what);
    let name = pod.name();
    if previous {
        // While it waits to be started again, the one that ended is the present one; once started, the previous.
        let previous = instances.find(|instance| instance.phase == Phase::Exited);
        return previous.cloned().ok_or_else(|| {
            refuse(format!("previous terminated container \"{container}\" in pod \"{name}\" not found"))
        });
    }
    match newest {
        Some(newest) if newest.phase != Phase::Created || newest.log_path.exists() => Ok(newest.clone()),
        _ => {
            let reason = waiting_reason(pod, container).unwrap_or_else(|| "ContainerCreating".to_owned());
            Err(refuse(match reason.as_str() {
                "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
                    format!(
                        "container \"{container}\" in pod \"{name}\" is waiting to start: trying and failing to pull image"
                    )
                }
                _ => format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"),
            }))
        }
    }
}

fn waiting_reason(pod: &Pod, container: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let state: ContainerState = all.into_iter().find(|status| status.name == container)?.state.clone()?;
    state.waiting?.reason
}

fn options(query: &HashMap<String, String>, now: Timestamp) -> Result<(Options, bool), String> {
    let flag = |name: &str| match query.get(name).map(String::as_str) {
        None | Some("" | "false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(format!("invalid value {other:?} of {name}")),
    };
    let number = |name: &str| -> Result<Option<i64>, String> {
        let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let number = text.parse::<i64>().ok().filter(|number| *number >= 0);
        number.map(Some).ok_or_else(|| format!("invalid value {text:?} of {name}"))
    };
    let since = match (number("sinceSeconds")?, query.get("sinceTime").filter(|text| !text.is_empty())) {
        (Some(seconds), _) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, Some(text)) => Some(text.parse().map_err(|_| format!("invalid value {text:?} of sinceTime"))?),
        (None, None) => None,
    };
    let size = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    let stream = match query.get("stream").map(String::as_str) {
        Some("Stdout") => Some("stdout".to_owned()),
        Some("Stderr") => Some("stderr".to_owned()),
        _ => None,
    };
    let options = Options {
        follow: flag("follow")?,
        tail: size(number("tailLines")?),
        since,
        timestamps: flag("timestamps")?,
        limit: size(number("limitBytes")?),
        stream,
    };
    Ok((options, flag("previous")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<(Options, bool), String> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        options(&query, "2026-11-24T02:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn log_options_are_read_and_nonsense_is_refused() {
        let query = [("follow", "true"), ("tailLines", "5"), ("sinceSeconds", "60"), ("previous", "true")];
        let (options, previous) = parse(&query).expect("options");
        assert!(options.follow && previous);
        assert_eq!(options.tail, Some(5));
        assert_eq!(options.since, "2026-11-24T01:59:00Z".parse().ok());
        for (name, value) in [("tailLines", "-1"), ("follow", "maybe"), ("sinceTime", "yesterday"), ("limitBytes", "x")]
        {
            assert!(parse(&[(name, value)]).is_err(), "{name}={value}");
        }
    }
}
