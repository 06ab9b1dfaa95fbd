//! `pods/log`: what a container wrote, from the kubelet of its node.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use super::kubelet;
use crate::{
    core::Core,
    endpoints::{Answer, Context, Failure},
    fail, keys,
    query::{self, Query},
    resources::Resource,
};

/// Options that are handed on to the kubelet as they are.
const OPTIONS: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// Answers with a container's log.
pub async fn log(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>) -> Answer {
    let info = &context.info;
    let query = Query::of(&context.uri);
    core.cacher.fresh().await?;
    let entry = resource.cache(&core.cacher).get(&keys::object(&info.namespace, &info.name));
    let pod = entry.ok_or_else(|| Box::new(fail::not_found("", "pods", &info.name)))?.object();
    check_options(&query, &info.name)?;
    let container = container(&pod, query.text("container"), &info.name)?;
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if node.is_empty() {
        // Nothing has been written yet, which is no error.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let location = kubelet::locate(core, node)?;
    let mut path = format!("/containerLogs/{}/{}/{container}", info.namespace, info.name);
    let mut separator = '?';
    for option in OPTIONS {
        if let Some(value) = query.get(option) {
            path.push(separator);
            separator = '&';
            path.push_str(&format!("{option}={}", query::encode(value)));
        }
    }
    let answer = core.kubelets.send(&location, kubelet::request(Method::GET, &path)?).await?;
    let status = answer.status();
    let (parts, body) = answer.into_parts();
    if !status.is_success() {
        let bytes =
            http_body_util::BodyExt::collect(body).await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        return Err(refused(status, &text, &info.name).into());
    }
    let mut response = Response::new(Body::new(body));
    let kind = parts.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// A kubelet's refusal as a status.
fn refused(status: StatusCode, text: &str, name: &str) -> apimachinery::status::Status {
    match status {
        StatusCode::BAD_REQUEST => fail::bad_request(text),
        StatusCode::NOT_FOUND => {
            fail::status(404, "NotFound", text, Some(serde_json::json!({"kind": "pods/log", "name": name})))
        }
        _ => fail::internal(text),
    }
}

fn check_options(query: &Query, name: &str) -> Result<(), Failure> {
    let mut causes = Vec::new();
    for (option, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let value = query.integer(option).map_err(|why| Box::new(fail::bad_request(why)))?;
        if let Some(value) = value.filter(|value| *value < least) {
            let message = if least == 0 {
                format!("Invalid value: {value}: must be greater than or equal to 0")
            } else {
                format!("Invalid value: {value}: must be greater than 0")
            };
            causes.push((option.to_owned(), "FieldValueInvalid".to_owned(), message));
        }
    }
    if query.text("sinceSeconds").is_some() && query.text("sinceTime").is_some() {
        let message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned();
        causes.push((String::new(), "FieldValueForbidden".to_owned(), message));
    }
    if causes.is_empty() { Ok(()) } else { Err(fail::invalid("", "PodLogOptions", name, &causes).into()) }
}

/// The container meant: the one asked for, or the only one.
///
/// # Errors
/// 400 when there is no such container, or several and none was named.
pub fn container(pod: &Value, asked: Option<&str>, name: &str) -> Result<String, Failure> {
    let names = |field: &str| -> Vec<&str> {
        let list = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
    };
    let (containers, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    match asked {
        Some(asked) if containers.iter().chain(&init).chain(&ephemeral).any(|container| *container == asked) => {
            Ok(asked.to_owned())
        }
        Some(asked) => Err(fail::bad_request(format!("container {asked} is not valid for pod {name}")).into()),
        None if containers.len() == 1 && init.is_empty() && ephemeral.is_empty() => Ok(containers[0].to_owned()),
        None => {
            let annotated = pod
                .pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container")
                .and_then(Value::as_str)
                .filter(|container| containers.contains(container));
            if let Some(container) = annotated {
                return Ok(container.to_owned());
            }
            let mut why =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", containers.join(" "));
            for (kind, names) in [("init", &init), ("ephemeral", &ephemeral)] {
                if !names.is_empty() {
                    why.push_str(&format!(" or one of the {kind} containers: [{}]", names.join(" ")));
                }
            }
            Err(fail::bad_request(why).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let one = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&one, None, "p").unwrap(), "a");
        let refused = serde_json::to_value(container(&one, Some("z"), "p").unwrap_err()).unwrap();
        assert_eq!(refused["message"], "container z is not valid for pod p");
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let refused = serde_json::to_value(container(&two, None, "p").unwrap_err()).unwrap();
        assert_eq!(
            refused["message"],
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(container(&two, Some("i"), "p").unwrap(), "i");
    }
}
