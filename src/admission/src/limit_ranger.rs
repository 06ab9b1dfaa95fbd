//! `LimitRanger`: what a pod's containers get when they do not say, and how much pods, containers and claims may ask for.

use apimachinery::{
    field,
    pod_resources::{self, Resources, containers},
    quantity::Quantity,
    status::Status,
};
use auth::ObjectReader;
use serde_json::{Value, json};

use crate::{Operation, Request, text};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Whether limits are asked about this request.
fn concerns(request: &Request<'_>) -> bool {
    let whole = request.subresource.is_empty();
    match (request.group, request.resource) {
        ("", "pods") => whole && request.operation == Operation::Create || request.subresource == "resize",
        ("", "persistentvolumeclaims") => whole && matches!(request.operation, Operation::Create | Operation::Update),
        _ => false,
    }
}

/// Fills in what a new pod's containers do not say.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader) {
    if !request.creates("pods") {
        return;
    }
    let ranges = reader.list("", "limitranges", Some(request.namespace));
    let Some(pod) = request.object.as_deref_mut() else { return };
    for range in ranges {
        let mut done = Vec::new();
        for limit in limits(&range, "Container") {
            for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
                let items = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
                for container in items.into_iter().flatten().filter(|container| container.is_object()) {
                    fill(container, limit, word, &mut done);
                }
            }
        }
        if !done.is_empty() && pod["metadata"].is_object() {
            if !pod["metadata"]["annotations"].is_object() {
                pod["metadata"]["annotations"] = json!({});
            }
            pod["metadata"]["annotations"][ANNOTATION] = format!("LimitRanger plugin set: {}", done.join("; ")).into();
        }
    }
}

fn limits<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let list = range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten();
    list.filter(move |limit| limit["type"] == kind)
}

fn fill(container: &mut Value, limit: &Value, word: &str, done: &mut Vec<String>) {
    let name = text(container, "/name").to_owned();
    for (side, source, what) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
        let mut set = Vec::new();
        for (resource, quantity) in limit.get(source).and_then(Value::as_object).into_iter().flatten() {
            if !container["resources"].is_object() {
                container["resources"] = json!({});
            }
            let present = &mut container["resources"][side];
            if !present.is_object() {
                *present = json!({});
            }
            if present.get(resource).is_none() {
                present[resource.as_str()] = quantity.clone();
                set.push(resource.as_str());
            }
        }
        if !set.is_empty() {
            set.sort_unstable();
            done.push(format!("{} {what} for {word} {name}", set.join(", ")));
        }
    }
}

/// Refuses what is beyond the limits of its namespace.
pub fn validate(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    if !concerns(request) {
        return Ok(());
    }
    let Some(object) = request.object.as_deref() else { return Ok(()) };
    for range in reader.list("", "limitranges", Some(request.namespace)) {
        let problems = if request.resource == "pods" { of_pod(object, &range) } else { of_claim(object, &range) };
        if let Some(why) = field::aggregate(&problems) {
            return Err(request.forbidden(&why));
        }
    }
    Ok(())
}

fn of_pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for limit in range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten() {
        match text(limit, "/type") {
            "Container" => {
                for container in containers(pod, "containers").chain(containers(pod, "initContainers")) {
                    let side = |side: &str| pod_resources::read(container.pointer(&format!("/resources/{side}")));
                    check(limit, "Container", &side("requests"), &side("limits"), &mut problems);
                }
            }
            "Pod" => {
                let (requests, may) = (pod_resources::total(pod, "requests"), pod_resources::total(pod, "limits"));
                check(limit, "Pod", &requests, &may, &mut problems);
            }
            _ => {}
        }
    }
    problems
}

fn check(limit: &Value, kind: &str, requests: &Resources, limits: &Resources, problems: &mut Vec<String>) {
    for (resource, least) in pod_resources::read(limit.get("min")) {
        problems.extend(below(kind, &resource, &least, requests.get(&resource), limits.get(&resource)));
    }
    for (resource, most) in pod_resources::read(limit.get("max")) {
        problems.extend(above(kind, &resource, &most, requests.get(&resource), limits.get(&resource)));
    }
    for (resource, ratio) in pod_resources::read(limit.get("maxLimitRequestRatio")) {
        problems.extend(beyond_ratio(kind, &resource, &ratio, requests.get(&resource), limits.get(&resource)));
    }
}

fn below(
    kind: &str,
    resource: &str,
    least: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let words = format!("minimum {resource} usage per {kind} is {least}");
    let Some(request) = request else { return Some(format!("{words}.  No request is specified")) };
    if request < least {
        return Some(format!("{words}, but request is {request}"));
    }
    limit.filter(|limit| *limit < least).map(|limit| format!("{words}, but limit is {limit}"))
}

fn above(
    kind: &str,
    resource: &str,
    most: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let words = format!("maximum {resource} usage per {kind} is {most}");
    let Some(limit) = limit else { return Some(format!("{words}.  No limit is specified")) };
    if limit > most {
        return Some(format!("{words}, but limit is {limit}"));
    }
    request.filter(|request| *request > most).map(|request| format!("{words}, but request is {request}"))
}

fn beyond_ratio(
    kind: &str,
    resource: &str,
    ratio: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let words = format!("{resource} max limit to request ratio per {kind} is {ratio}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{words}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{words}, but no limit is specified or limit is 0"));
    };
    let observed = limit.as_f64() / request.as_f64();
    (observed > ratio.as_f64()).then(|| format!("{words}, but provided ratio is {observed:.6}"))
}

fn of_claim(claim: &Value, range: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = pod_resources::read(claim.pointer("/spec/resources/requests"));
    let mut problems = Vec::new();
    for limit in limits(range, KIND) {
        for (resource, least) in pod_resources::read(limit.get("min")) {
            problems.extend(below(KIND, &resource, &least, requests.get(&resource), None));
        }
        for (resource, most) in pod_resources::read(limit.get("max")) {
            let words = format!("maximum {resource} usage per {KIND} is {most}");
            match requests.get(&resource) {
                None => problems.push(format!("{words}.  No request is specified")),
                Some(request) if *request > most => problems.push(format!("{words}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> Value {
        json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "200m", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
             "max": {"cpu": "1"}, "min": {"memory": "8Mi"}, "maxLimitRequestRatio": {"cpu": "4"}},
            {"type": "Pod", "max": {"memory": "256Mi"}}]}})
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let mut container = json!({"name": "c", "resources": {"limits": {"cpu": "1"}}});
        let mut done = Vec::new();
        fill(&mut container, limits(&range(), "Container").next().unwrap(), "container", &mut done);
        assert_eq!(done, ["cpu, memory request for container c", "memory limit for container c"]);
        assert_eq!(container["resources"]["limits"], json!({"cpu": "1", "memory": "64Mi"}));
    }

    #[test]
    fn what_is_beyond_the_limits_is_named() {
        let container = |limits: Value, requests: Value| json!({"resources": {"limits": limits, "requests": requests}});
        for (containers, want) in [
            (
                vec![container(json!({"cpu": "3", "memory": "1Mi"}), json!({"cpu": "3", "memory": "1Mi"}))],
                vec![
                    "minimum memory usage per Container is 8Mi, but request is 1Mi",
                    "maximum cpu usage per Container is 1, but limit is 3",
                ],
            ),
            (
                vec![
                    container(json!({"cpu": "1", "memory": "200Mi"}), json!({"cpu": "10m", "memory": "200Mi"})),
                    container(json!({"cpu": "200m", "memory": "200Mi"}), json!({"cpu": "100m", "memory": "200Mi"})),
                ],
                vec![
                    "cpu max limit to request ratio per Container is 4, but provided ratio is 100.000000",
                    "maximum memory usage per Pod is 256Mi, but limit is 400Mi",
                ],
            ),
        ] {
            assert_eq!(of_pod(&json!({"spec": {"containers": containers}}), &range()), want);
        }
    }
}
