//! Amounts of resources, and what a pod asks for.

use std::collections::BTreeMap;

use apimachinery::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity as Text,
};

/// What a container without a CPU request weighs when nodes are scored, in millicores.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request weighs when nodes are scored, in bytes.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource name: `cpu` in millicores, all others in whole units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, i64>);

impl Resources {
    /// The amounts of a Kubernetes resource list. What does not parse counts as nothing: the API server refuses it.
    pub fn from_list(list: Option<&BTreeMap<String, Text>>) -> Self {
        let amounts = list.into_iter().flatten().map(|(name, text)| (name.clone(), amount(name, &text.0)));
        Self(amounts.collect())
    }

    /// The amount of `name`; nothing when it is not there.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Sets an amount.
    pub fn set(&mut self, name: &str, value: i64) {
        self.0.insert(name.to_owned(), value);
    }

    /// Every name with its amount.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Adds `other`, name by name.
    pub fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*value);
        }
    }

    /// Takes `other` away, name by name.
    pub fn subtract(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*value);
        }
    }

    /// Raises each amount to that of `other`, where that is more.
    fn raise(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            let most = self.0.entry(name.clone()).or_insert(*value);
            *most = (*most).max(*value);
        }
    }
}

fn amount(name: &str, text: &str) -> i64 {
    let Ok(quantity) = text.parse::<Quantity>() else { return 0 };
    if name == "cpu" { quantity.milli_value() } else { quantity.value() }
}

/// What a pod asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// As the node's allocatable amounts must cover it.
    pub real: Resources,
    /// CPU and memory as scoring sees them, where a container without a request weighs something.
    pub weighed: Resources,
}

impl Requests {
    /// The requests of a pod: its containers' sum, or the peak of its init containers if that is more, and its overhead.
    /// Init containers that keep running (sidecars) add to all that comes after them.
    pub fn of(spec: &PodSpec) -> Self {
        let overhead = Resources::from_list(spec.overhead.as_ref());
        let total = |request: &dyn Fn(&Container) -> Resources| {
            let mut sum = Resources::default();
            spec.containers.iter().for_each(|container| sum.add(&request(container)));
            let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
            for container in spec.init_containers.iter().flatten() {
                let own = request(container);
                if container.restart_policy.as_deref() == Some("Always") {
                    sum.add(&own);
                    sidecars.add(&own);
                    peak.raise(&sidecars);
                } else {
                    let mut beside = sidecars.clone();
                    beside.add(&own);
                    peak.raise(&beside);
                }
            }
            sum.raise(&peak);
            if let Some(pod_level) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
                Resources::from_list(Some(pod_level)).iter().for_each(|(name, value)| sum.set(name, value));
            }
            sum.add(&overhead);
            sum
        };
        Self { real: total(&requested), weighed: total(&weighed) }
    }
}

fn requested(container: &Container) -> Resources {
    Resources::from_list(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn weighed(container: &Container) -> Resources {
    let real = requested(container);
    let or = |name: &str, default| if real.0.contains_key(name) { real.get(name) } else { default };
    let mut weighed = Resources::default();
    weighed.set("cpu", or("cpu", DEFAULT_MILLI_CPU));
    weighed.set("memory", or("memory", DEFAULT_MEMORY));
    weighed
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn cpu(spec: serde_json::Value) -> i64 {
        Requests::of(&from_value(spec).expect("a PodSpec")).real.get("cpu")
    }

    #[test]
    fn init_containers_count_by_their_peak() {
        let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let spec = json!({"containers": [container("a", "1"), container("b", "500m")],
                          "initContainers": [container("i", "2"), container("j", "1")]});
        assert_eq!(cpu(spec), 2000);
    }

    #[test]
    fn sidecars_add_to_what_comes_after_them() {
        let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("s", "1");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({"containers": [container("a", "1")], "initContainers": [sidecar, container("i", "2")]});
        assert_eq!(cpu(spec), 3000);
    }

    #[test]
    fn an_empty_request_weighs_but_takes_nothing() {
        let requests = Requests::of(&from_value(json!({"containers": [{"name": "a"}]})).expect("a PodSpec"));
        assert_eq!(requests.real.get("cpu"), 0);
        assert_eq!(requests.weighed.get("cpu"), DEFAULT_MILLI_CPU);
        assert_eq!(requests.weighed.get("memory"), DEFAULT_MEMORY);
    }
}
