//! The downward API: fields and resources of a pod as text.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity,
};

use super::traits::PodExt;
use crate::quantity;

/// What a pod learns of the node it is on.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// The node's name.
    pub name: String,
    /// The node's address.
    pub ip: String,
    /// What pods may use of the node; the limit of a container that has none.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// Why a field has no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// There is no such field.
    #[error("unsupported fieldPath: {0}")]
    UnsupportedPath(String),
    /// There is no such container.
    #[error("container {0} not found")]
    NoContainer(String),
    /// There is no such resource.
    #[error("unsupported container resource : {0}")]
    UnsupportedResource(String),
    /// A quantity is not one.
    #[error("quantity of {0} is not a number")]
    NotANumber(String),
}

/// The text of a metadata or specification field, as environment variables and volumes may show it.
pub fn field_text(pod: &Pod, path: &str) -> Result<String, FieldError> {
    if let Some((field, key)) = subscript(path) {
        let map = match field {
            "metadata.annotations" => &pod.metadata.annotations,
            "metadata.labels" => &pod.metadata.labels,
            _ => return Err(FieldError::UnsupportedPath(path.to_owned())),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    match path {
        "metadata.annotations" => Ok(format_map(pod.metadata.annotations.as_ref())),
        "metadata.labels" => Ok(format_map(pod.metadata.labels.as_ref())),
        "metadata.name" => Ok(pod.name().to_owned()),
        "metadata.namespace" => Ok(pod.namespace().to_owned()),
        "metadata.uid" => Ok(pod.uid().to_owned()),
        _ => Err(FieldError::UnsupportedPath(path.to_owned())),
    }
}

/// As [`field_text`], with what only environment variables may show: node, service account, addresses.
pub fn field_text_env(pod: &Pod, path: &str, node: &NodeFacts, pod_ips: &[String]) -> Result<String, FieldError> {
    let spec = pod.pod_spec();
    match path {
        "spec.nodeName" => Ok(node.name.clone()),
        "spec.serviceAccountName" => Ok(spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()),
        "status.hostIP" | "status.hostIPs" => Ok(node.ip.clone()),
        "status.podIP" => Ok(pod_ips.first().cloned().unwrap_or_default()),
        "status.podIPs" => Ok(pod_ips.join(",")),
        _ => field_text(pod, path),
    }
}

/// The text of a container's request or limit. A limit that is not set is the node's.
pub fn resource_text(
    pod: &Pod,
    selector: &ResourceFieldSelector,
    container: Option<&Container>,
    node: &NodeFacts,
) -> Result<String, FieldError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => Some(
            pod.find_container(name).map(|(container, _)| container).ok_or(FieldError::NoContainer(name.to_owned()))?,
        ),
        None => container,
    };
    let container = container.ok_or(FieldError::NoContainer(String::new()))?;
    let unsupported = || FieldError::UnsupportedResource(selector.resource.clone());
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known = ["cpu", "memory", "ephemeral-storage"].contains(&resource) || resource.starts_with("hugepages-");
    let resources = container.resources.as_ref();
    let zero = Quantity("0".to_owned());
    let quantity = match list {
        "limits" if known => {
            let limit =
                resources.and_then(|resources| resources.limits.as_ref()).and_then(|limits| limits.get(resource));
            limit.or_else(|| node.allocatable.get(resource)).unwrap_or(&zero)
        }
        "requests" if known => resources
            .and_then(|resources| resources.requests.as_ref())
            .and_then(|requests| requests.get(resource))
            .unwrap_or(&zero),
        _ => return Err(unsupported()),
    };
    quantity::divided(quantity, selector.divisor.as_ref()).ok_or(FieldError::NotANumber(selector.resource.clone()))
}

/// `metadata.labels['key']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.strip_suffix("']")?.split_once("['")?;
    Some((field, rest))
}

/// A line `key="value"` an entry, sorted.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// As Go's `strconv.Quote` does for what occurs in labels and annotations.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() && u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "x\"y"}},
            "spec": {"serviceAccountName": "robot", "containers": [{"name": "c",
                "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}}]}
        }))
        .expect("a pod")
    }

    fn node() -> NodeFacts {
        let allocatable = [("cpu".to_owned(), Quantity("2".to_owned()))].into();
        NodeFacts { name: "node-1".to_owned(), ip: "127.0.0.1".to_owned(), allocatable }
    }

    #[test]
    fn fields_have_their_text() {
        let ips = ["127.64.0.2".to_owned()];
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a=\"x\\\"y\"\nb=\"2\""),
            ("spec.nodeName", "node-1"),
            ("spec.serviceAccountName", "robot"),
            ("status.podIP", "127.64.0.2"),
            ("status.hostIP", "127.0.0.1"),
        ] {
            assert_eq!(field_text_env(&pod(), path, &node(), &ips).as_deref(), Ok(expected), "{path}");
        }
        assert!(field_text(&pod(), "spec.nodeName").is_err(), "volumes do not show it");
    }

    #[test]
    fn a_missing_limit_is_the_nodes() {
        let pod = pod();
        let text = |resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                resource: resource.to_owned(),
                divisor: Some(Quantity(divisor.to_owned())),
                container_name: None,
            };
            resource_text(&pod, &selector, pod.containers().first(), &node())
        };
        assert_eq!(text("requests.cpu", "1m").as_deref(), Ok("250"));
        assert_eq!(text("limits.cpu", "1").as_deref(), Ok("2"));
        assert_eq!(text("limits.memory", "1Mi").as_deref(), Ok("64"));
        assert!(text("limits.bananas", "1").is_err());
    }
}
