//! How much of what a `ResourceQuota` limits one object uses: what is charged on admission is what is counted anew.

use serde_json::Value;

use crate::{
    pod_resources::{self, Resources, add, read},
    quantity::{Format, Quantity},
};

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(amount: usize) -> Quantity {
    Quantity::from_i64(i64::try_from(amount).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// What one object, of the resource `plural` of `group`, uses, by the names of limits.
pub fn usage(group: &str, plural: &str, object: &Value) -> Resources {
    let counted = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    let mut used = Resources::from([(counted, number(1))]);
    match (group, plural) {
        ("", "pods") => {
            if is_over(object) {
                // It is still an object, but uses nothing.
                return used;
            }
            used.insert("pods".to_owned(), number(1));
            for (name, amount) in total(object, "requests") {
                if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
                    used.insert(name.clone(), amount.clone());
                }
                used.insert(format!("requests.{name}"), amount);
            }
            used.extend(total(object, "limits").into_iter().map(|(name, amount)| (format!("limits.{name}"), amount)));
        }
        ("", "services") => {
            let ports = list(object, "/spec/ports");
            let given = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or_default() != 0).count();
            let none_given = object.pointer("/spec/allocateLoadBalancerNodePorts") == Some(&Value::Bool(false));
            let (node_ports, balancers) = match text(object, "/spec/type") {
                "NodePort" => (ports.len(), 0),
                "LoadBalancer" => (if none_given { given } else { ports.len() }, 1),
                _ => (0, 0),
            };
            used.insert("services".to_owned(), number(1));
            used.insert("services.nodeports".to_owned(), number(node_ports));
            used.insert("services.loadbalancers".to_owned(), number(balancers));
        }
        ("", "persistentvolumeclaims") => {
            used.insert("persistentvolumeclaims".to_owned(), number(1));
            let class = text(object, "/spec/storageClassName");
            let asked = read(object.pointer("/spec/resources/requests")).remove("storage");
            let given = read(object.pointer("/status/allocatedResources")).remove("storage");
            let storage = asked.max(given);
            if !class.is_empty() {
                let prefix = format!("{class}.storageclass.storage.k8s.io");
                used.insert(format!("{prefix}/persistentvolumeclaims"), number(1));
                used.extend(storage.clone().map(|storage| (format!("{prefix}/requests.storage"), storage)));
            }
            used.extend(storage.map(|storage| ("requests.storage".to_owned(), storage)));
        }
        _ => {
            used.insert(plural.to_owned(), number(1));
        }
    }
    used
}

/// Whether a pod has ended.
fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// What a pod as a whole asks for or may use, with its overhead.
fn total(pod: &Value, side: &str) -> Resources {
    let mut sum = pod_resources::total(pod, side);
    let mut overhead = read(pod.pointer("/spec/overhead"));
    overhead.retain(|name, _| side == "requests" || sum.contains_key(name));
    add(&mut sum, &overhead);
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_ask_for_and_its_overhead_until_it_ends() {
        let containers = json!([{"resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}}]);
        let mut pod = json!({"spec": {"containers": containers, "overhead": {"cpu": "10m", "memory": "1Mi"}}});
        let used = usage("", "pods", &pod);
        for (limit, amount) in [
            ("cpu", "510m"),
            ("requests.cpu", "510m"),
            ("limits.memory", "1025Mi"),
            ("requests.memory", "1Mi"),
            ("pods", "1"),
        ] {
            assert_eq!(used[limit].canonical(), amount, "{limit}");
        }
        assert!(!used.contains_key("limits.cpu"), "it has no limit to add the overhead to");
        pod["status"] = json!({"phase": "Failed"});
        assert_eq!(usage("", "pods", &pod).into_keys().collect::<Vec<_>>(), ["count/pods"]);
    }
}
