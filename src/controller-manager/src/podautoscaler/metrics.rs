//! What the three metrics APIs say. Whoever serves them, they are asked through the API server.

use apimachinery::{kinds::split_api_version, quantity::Quantity, selectors::LabelSelector};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier, MetricSpec},
    apimachinery::pkg::apis::meta::v1,
};
use kube::Client;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    replicas::{Sample, Samples},
    words,
};
use crate::inventory::Inventory;

const CUSTOM: &str = "custom.metrics.k8s.io";
const CUSTOM_VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];
/// What a measurement spans when it does not say.
const WINDOW: SignedDuration = SignedDuration::from_mins(1);
/// What stands in paths and queries as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// Something of each pod.
    Pods(Samples),
    /// One value for all, in thousandths.
    Value(i64),
}

/// Asks them.
pub struct Metrics {
    client: Client,
    inventory: Inventory,
}

impl Metrics {
    /// Asks as `client`.
    pub fn new(client: Client, inventory: Inventory) -> Self {
        Self { client, inventory }
    }

    /// What `spec` asks to be measured, of the pods that `selector` selects.
    ///
    /// # Errors
    /// Why there is none, in Kubernetes' words.
    pub async fn measure(&self, spec: &MetricSpec, namespace: &str, selector: &str) -> Result<Measured, String> {
        if let Some(source) = &spec.resource {
            return self.resource(&source.name, None, namespace, selector).await.map(Measured::Pods);
        }
        if let Some(source) = &spec.container_resource {
            let container = Some(source.container.as_str());
            return self.resource(&source.name, container, namespace, selector).await.map(Measured::Pods);
        }
        if let Some(source) = &spec.pods {
            let measured = self.of_pods(&source.metric, namespace, selector).await;
            return measured
                .map(Measured::Pods)
                .map_err(|error| format!("unable to get metric {}: {error}", source.metric.name));
        }
        if let Some(source) = &spec.object {
            let (name, object) = (&source.metric.name, &source.described_object);
            let measured = self.of_object(&source.metric, namespace, object).await;
            let on =
                |error| format!("unable to get metric {name}: {} on {namespace} {}/{error}", object.kind, object.name);
            return measured.map(Measured::Value).map_err(on);
        }
        if let Some(source) = &spec.external {
            let metric = &source.metric;
            let shown = words::selector(metric.selector.as_ref());
            let of = |error| format!("unable to get external metric {namespace}/{}/{shown}: {error}", metric.name);
            return self.external(metric, namespace).await.map(Measured::Value).map_err(of);
        }
        Err(format!("unknown metric source type {:?}", spec.type_))
    }

    async fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
        namespace: &str,
        selector: &str,
    ) -> Result<Samples, String> {
        let path =
            format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={}", encoded(selector));
        let told = match self.get::<List<PodMetrics>>(&path).await {
            Ok(list) => samples_of(list.items, resource, container, namespace),
            Err(error) => {
                let error = words::of(&error, "get", "pods.metrics.k8s.io", None);
                Err(format!("unable to fetch metrics from resource metrics API: {error}"))
            }
        };
        told.map_err(|error| format!("unable to get metrics for resource {resource}: {error}"))
    }

    async fn of_pods(&self, metric: &MetricIdentifier, namespace: &str, selector: &str) -> Result<Samples, String> {
        let path = format!(
            "namespaces/{namespace}/pods/*/{}?labelSelector={}{}",
            encoded(&metric.name),
            encoded(selector),
            metric_selector('&', metric.selector.as_ref())?,
        );
        let list = self.custom(&path, "pods", "*").await?;
        if list.is_empty() {
            return Err("no metrics returned from custom metrics API".to_owned());
        }
        Ok(list.into_iter().map(|value| (value.described_object.name.clone(), value.sample())).collect())
    }

    async fn of_object(
        &self,
        metric: &MetricIdentifier,
        namespace: &str,
        object: &CrossVersionObjectReference,
    ) -> Result<i64, String> {
        let (name, query) = (encoded(&metric.name), metric_selector('?', metric.selector.as_ref())?);
        let group = split_api_version(object.api_version.as_deref().unwrap_or_default()).0;
        let (path, resource) = if group.is_empty() && object.kind == "Namespace" {
            (format!("namespaces/{namespace}/metrics/{name}{query}"), "metrics".to_owned())
        } else {
            let found = self.inventory.of_kind(group, &object.kind).ok_or_else(|| {
                format!(
                    "unable to map kind {} to resource: no matches for kind {:?} in group {group:?}",
                    object.kind, object.kind
                )
            })?;
            let plural = if group.is_empty() { found.plural.clone() } else { format!("{}.{group}", found.plural) };
            (format!("namespaces/{namespace}/{plural}/{}/{name}{query}", encoded(&object.name)), plural)
        };
        let asked = if resource == "metrics" { &metric.name } else { &object.name };
        let list = self.custom(&path, &resource, asked).await?;
        match list.as_slice() {
            [value] => Ok(value.value.milli_value()),
            more => Err(format!(
                "unable to fetch metrics from custom metrics API: the custom metrics API server returned {} results when we asked for \
                 exactly one",
                more.len()
            )),
        }
    }

    /// Asks the version of the custom metrics API that is served.
    async fn custom(&self, path: &str, resource: &str, name: &str) -> Result<Vec<MetricValue>, String> {
        let failed = |error: String| format!("unable to fetch metrics from custom metrics API: {error}");
        let group: Result<Group, _> = self.get(&format!("/apis/{CUSTOM}")).await;
        let version = match group {
            Ok(group) => group.version(),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => return Err(failed(words::of(&error, "get", CUSTOM, None))),
        };
        let version = version.ok_or_else(|| failed(format!("no custom metrics API ({CUSTOM}) registered")))?;
        match self.get::<List<MetricValue>>(&format!("/apis/{CUSTOM}/{version}/{path}")).await {
            Ok(list) => Ok(list.items),
            Err(error) => Err(failed(words::of(&error, "get", &format!("{resource}.{CUSTOM}"), Some(name)))),
        }
    }

    async fn external(&self, metric: &MetricIdentifier, namespace: &str) -> Result<i64, String> {
        let name = encoded(&metric.name);
        let query = match &metric.selector {
            Some(selector) => format!("?labelSelector={}", encoded(&text_of(selector)?)),
            None => String::new(),
        };
        let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}{query}");
        let list = self.get::<List<ExternalValue>>(&path).await.map_err(|error| {
            let error = words::of(&error, "get", &format!("{}.external.metrics.k8s.io", metric.name), None);
            format!("unable to fetch metrics from external metrics API: {error}")
        })?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        Ok(list.items.iter().fold(0, |sum, one| sum.saturating_add(one.value.milli_value())))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> kube::Result<T> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn text_of(selector: &v1::LabelSelector) -> Result<String, String> {
    let value = serde_json::to_value(selector).map_err(|error| error.to_string())?;
    LabelSelector::from_value(&value).map(|selector| selector.to_string()).map_err(|error| error.to_string())
}

fn metric_selector(before: char, selector: Option<&v1::LabelSelector>) -> Result<String, String> {
    let Some(selector) = selector else { return Ok(String::new()) };
    Ok(format!("{before}metricLabelSelector={}", encoded(&text_of(selector)?)))
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    versions: Vec<Version>,
    preferred_version: Option<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl Group {
    fn version(&self) -> Option<&'static str> {
        let served = self.preferred_version.iter().chain(&self.versions);
        let known = |version: &Version| CUSTOM_VERSIONS.into_iter().find(|known| *known == version.version);
        served.filter_map(known).next()
    }
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Timestamp,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: serde_json::Map<String, Value>,
}

impl ContainerMetrics {
    fn usage(&self, resource: &str) -> Option<i64> {
        self.usage.get(resource).and_then(|value| Quantity::from_json(value).ok()).map(|amount| amount.milli_value())
    }
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: Named,
    timestamp: Timestamp,
    #[serde(alias = "window")]
    window_seconds: Option<i64>,
    #[serde(deserialize_with = "quantity")]
    value: Quantity,
}

impl MetricValue {
    fn sample(&self) -> Sample {
        let window = self.window_seconds.map_or(WINDOW, SignedDuration::from_secs);
        Sample { value: self.value.milli_value(), at: self.timestamp, window }
    }
}

#[derive(Deserialize)]
struct ExternalValue {
    #[serde(deserialize_with = "quantity")]
    value: Quantity,
}

fn quantity<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Quantity, D::Error> {
    Quantity::from_json(&Value::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// What each pod, or one container of each, uses of a resource; a pod of which a container says nothing is left out.
fn samples_of(
    pods: Vec<PodMetrics>,
    resource: &str,
    container: Option<&str>,
    namespace: &str,
) -> Result<Samples, String> {
    if pods.is_empty() {
        return Err("no metrics returned from resource metrics API".to_owned());
    }
    let mut samples = Samples::new();
    for pod in pods {
        let used = match container {
            Some(container) => {
                let found = pod.containers.iter().find(|one| one.name == container).ok_or_else(|| {
                    format!("container {container} not present in metrics for pod {namespace}/{}", pod.metadata.name)
                })?;
                found.usage(resource)
            }
            None if pod.containers.is_empty() => None,
            None => pod
                .containers
                .iter()
                .try_fold(0_i64, |sum, one| one.usage(resource).map(|used| sum.saturating_add(used))),
        };
        if let Some(value) = used {
            let window = apimachinery::duration::parse_go(&pod.window).map_or(WINDOW, SignedDuration::from_nanos);
            samples.insert(pod.metadata.name, Sample { value, at: pod.timestamp, window });
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_use_when_all_say_so() {
        let list = || -> List<PodMetrics> {
            from_value(json!({"items": [
                {"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "20s", "containers": [
                    {"name": "c", "usage": {"cpu": "1500u", "memory": "1Ki"}}, {"name": "d", "usage": {"cpu": "2"}}]},
                {"metadata": {"name": "b"}, "timestamp": "2026-01-01T00:00:00Z", "window": "20s", "containers": [
                    {"name": "c", "usage": {"cpu": "3"}}, {"name": "d", "usage": {}}]},
                {"metadata": {"name": "e"}, "timestamp": "2026-01-01T00:00:00Z", "containers": []},
            ]}))
            .expect("a list")
        };
        let of = |resource, container| samples_of(list().items, resource, container, "n");
        let all = of("cpu", None).expect("samples");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((all["a"].value, all["a"].window), (2002, SignedDuration::from_secs(20)));
        let error = of("cpu", Some("c")).expect_err("e has none");
        assert_eq!(error, "container c not present in metrics for pod n/e");
        let none = samples_of(Vec::new(), "cpu", None, "n");
        assert_eq!(none, Err("no metrics returned from resource metrics API".to_owned()));
    }

    #[test]
    fn the_preferred_version_that_is_known_is_asked() {
        let version = |preferred: &str, served: &[&str]| {
            let served: Vec<_> = served.iter().map(|version| json!({"version": version})).collect();
            let group: Group =
                from_value(json!({"preferredVersion": {"version": preferred}, "versions": served})).expect("a group");
            group.version()
        };
        assert_eq!(version("v1beta1", &["v1beta2", "v1beta1"]), Some("v1beta1"));
        assert_eq!(version("v2", &["v2", "v1beta2"]), Some("v1beta2"));
        assert_eq!(version("v2", &["v2"]), None);
    }

    #[test]
    fn selectors_and_names_are_safe_in_a_query() {
        let selector: v1::LabelSelector = from_value(json!({"matchLabels": {"a": "b c"}})).expect("a selector");
        assert!(metric_selector('?', Some(&selector)).is_err(), "no label has that value");
        let selector: v1::LabelSelector = from_value(json!({"matchLabels": {"a/x": "b"}})).expect("a selector");
        assert_eq!(metric_selector('?', Some(&selector)), Ok("?metricLabelSelector=a%2Fx%3Db".to_owned()));
        assert_eq!(encoded("a|b:c"), "a%7Cb%3Ac");
    }
}
