//! How much of what a namespace uses, as its quotas count it. Objects are plain JSON: they are of any kind.

use std::collections::BTreeMap;

use apimachinery::{
    quantity::{Format, Quantity},
    quota_scopes::in_scope,
    quota_usage::usage,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The resource, as `group` and `plural`, that a limit of this name is about; `None` for a name nobody counts.
pub fn resource_of(limit: &str) -> Option<(&str, &str)> {
    if let Some(counted) = limit.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some((group, plural));
    }
    Some(match limit {
        "pods" | "cpu" | "memory" | "ephemeral-storage" => ("", "pods"),
        "services" | "services.nodeports" | "services.loadbalancers" => ("", "services"),
        "persistentvolumeclaims" | "requests.storage" => ("", "persistentvolumeclaims"),
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => ("", limit),
        _ if limit.contains(".storageclass.storage.k8s.io/") => ("", "persistentvolumeclaims"),
        _ if limit.contains(".deviceclass.resource.k8s.io/") => return None,
        _ if ["requests.", "limits.", "hugepages-"].iter().any(|prefix| limit.starts_with(prefix)) => ("", "pods"),
        _ => return None,
    })
}

/// The quota's status as it should be, given what there is of each resource that its limits are about; `None` when it is.
pub fn plan(quota: &Value, objects: &BTreeMap<(String, String), Vec<Value>>, now: Timestamp) -> Option<Value> {
    let empty = Map::new();
    let hard = quota.pointer("/spec/hard").and_then(Value::as_object).unwrap_or(&empty);
    let mut used = Map::new();
    for limit in hard.keys() {
        let Some((group, plural)) = resource_of(limit) else { continue };
        let mut sum = Quantity::from_i64(0, Format::DecimalSi);
        for object in objects.get(&(group.to_owned(), plural.to_owned())).into_iter().flatten() {
            if counts(group, plural, object, quota, now)
                && let Some(amount) = usage(group, plural, object).get(limit)
            {
                sum.add(amount);
            }
        }
        used.insert(limit.clone(), sum.canonical().into());
    }
    let status = json!({"hard": hard, "used": used});
    let same = |field: &str| {
        let current = quota.pointer(&format!("/status/{field}")).and_then(Value::as_object).unwrap_or(&empty);
        let wanted = status[field].as_object().unwrap_or(&empty);
        let read = |value: &Value| Quantity::from_json(value).ok();
        current.len() == wanted.len()
            && wanted.iter().all(|(name, value)| current.get(name).and_then(read) == read(value))
    };
    (!same("hard") || !same("used")).then_some(status)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a pod that is being deleted should be gone by now.
fn is_overdue(pod: &Value, now: Timestamp) -> bool {
    let at = text(pod, "/metadata/deletionTimestamp").parse::<Timestamp>();
    at.is_ok_and(|at| now > at)
}

/// Whether an object is among those that the quota is about.
fn counts(group: &str, plural: &str, object: &Value, quota: &Value, now: Timestamp) -> bool {
    let overdue = (group, plural) == ("", "pods") && is_overdue(object, now);
    !overdue && in_scope(group, plural, object, quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(spec: Value, plural: &str, objects: Vec<Value>) -> Value {
        let objects = BTreeMap::from([((String::new(), plural.to_owned()), objects)]);
        let now = "2026-01-01T00:00:00Z".parse().expect("a moment");
        let quota = json!({"spec": spec});
        let status = plan(&quota, &objects, now).expect("it is new");
        let again = json!({"spec": quota["spec"], "status": status});
        assert_eq!(plan(&again, &objects, now), None, "it has come to rest");
        status["used"].clone()
    }

    fn pod(cpu: &str, phase: &str) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "300m"}}}], "overhead": {"cpu": "10m"}}, "status": {"phase": phase}})
    }

    #[test]
    fn pods_use_what_they_ask_for_until_they_end() {
        let hard = json!({"hard": {"pods": "9", "count/pods": "9", "requests.cpu": "9", "limits.memory": "9Gi", "requests.example.com/x": "1"}});
        let pods = vec![pod("500m", "Running"), pod("100m", "Pending"), pod("1", "Failed")];
        let expected = json!({"pods": "2", "count/pods": "3", "requests.cpu": "820m", "limits.memory": "2Gi", "requests.example.com/x": "0"});
        assert_eq!(used(hard, "pods", pods), expected);
    }

    #[test]
    fn scopes_choose_the_pods_that_count() {
        let short = json!({"spec": {"containers": [], "activeDeadlineSeconds": 5}});
        let pods = vec![short, pod("1", "Running")];
        for (scope, count) in [
            ("Terminating", "1"),
            ("NotTerminating", "1"),
            ("BestEffort", "1"),
            ("NotBestEffort", "1"),
            ("PriorityClass", "0"),
        ] {
            assert_eq!(
                used(json!({"hard": {"pods": "9"}, "scopes": [scope]}), "pods", pods.clone())["pods"],
                count,
                "{scope}"
            );
        }
    }

    #[test]
    fn services_and_claims_count_what_they_take() {
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        let services = vec![
            json!({"spec": {"type": "NodePort", "ports": ports}}),
            json!({"spec": {"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false}}),
            json!({"spec": {"type": "ClusterIP", "ports": ports}}),
        ];
        let hard = json!({"hard": {"services": "9", "services.nodeports": "9", "services.loadbalancers": "9"}});
        assert_eq!(
            used(hard, "services", services),
            json!({"services": "3", "services.nodeports": "3", "services.loadbalancers": "1"})
        );
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
        let hard =
            json!({"hard": {"requests.storage": "9Gi", "fast.storageclass.storage.k8s.io/requests.storage": "9Gi"}});
        let claims = used(hard, "persistentvolumeclaims", vec![claim.clone(), claim]);
        assert_eq!(
            claims,
            json!({"requests.storage": "2Gi", "fast.storageclass.storage.k8s.io/requests.storage": "2Gi"})
        );
    }
}
