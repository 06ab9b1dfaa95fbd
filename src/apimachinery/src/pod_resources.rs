//! What a pod as a whole asks for and may use: its containers together, against the init containers that run before them.

use std::collections::BTreeMap;

use crate::quantity::Quantity;
use serde_json::Value;

/// Quantities by resource.
pub type Resources = BTreeMap<String, Quantity>;

/// The quantities of a map in an object; what is none is left out.
pub fn read(map: Option<&Value>) -> Resources {
    let fields = map.and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value).ok()?))).collect()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        match sum.get_mut(name) {
            Some(present) => present.add(quantity),
            None => {
                sum.insert(name.clone(), quantity.clone());
            }
        }
    }
}

fn raise(sum: &mut Resources, least: &Resources) {
    for (name, quantity) in least {
        match sum.get_mut(name) {
            Some(present) if *present >= *quantity => {}
            _ => {
                sum.insert(name.clone(), quantity.clone());
            }
        }
    }
}

/// The containers of one list.
pub fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten()
}

/// The sum of `side` (`requests` or `limits`) over a pod: containers and restarting init containers together, or the
/// largest init container with the restarting ones that began before it, whichever is more.
pub fn total(pod: &Value, side: &str) -> Resources {
    let of = |container: &Value| read(container.pointer(&format!("/resources/{side}")));
    let mut sum = Resources::new();
    for container in containers(pod, "containers") {
        add(&mut sum, &of(container));
    }
    let (mut restarting, mut init) = (Resources::new(), Resources::new());
    for container in containers(pod, "initContainers") {
        let mut own = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut sum, &own);
            add(&mut restarting, &own);
            own.clone_from(&restarting);
        } else {
            add(&mut own, &restarting);
        }
        raise(&mut init, &own);
    }
    raise(&mut sum, &init);
    // What is said of the pod as a whole counts instead.
    for (name, quantity) in read(pod.pointer(&format!("/spec/resources/{side}"))) {
        sum.insert(name, quantity);
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_the_more_of_its_containers_and_its_init_containers() {
        let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
        let mut sidecar = cpu("100m");
        sidecar["restartPolicy"] = "Always".into();
        let pod = json!({"spec": {"containers": [cpu("1"), cpu("500m")], "initContainers": [sidecar, cpu("2")]}});
        assert_eq!(total(&pod, "requests")["cpu"].to_string(), "2100m");
        assert!(total(&pod, "limits").is_empty());
        let pod = json!({"spec": {"containers": [cpu("1")], "resources": {"requests": {"cpu": "3"}}}});
        assert_eq!(total(&pod, "requests")["cpu"].to_string(), "3");
    }
}
