//! The versions of a kind that has more than one, to and from the one in which it is stored.
//!
//! `events.k8s.io` and core events are one store under two names for most fields; `autoscaling/v1` is what is left of
//! `autoscaling/v2` when only CPU counts.

use serde_json::{Map, Value, json};

use crate::{endpoints::body::Target, resources::Resource, schemas};

/// Where `autoscaling/v1` keeps what it has no fields for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

/// Fields of core events and their names in `events.k8s.io`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Whether what is stored differs from what the resource serves.
pub fn is_needed(resource: &Resource) -> bool {
    matches!((resource.group.as_str(), resource.version.as_str()), ("events.k8s.io", _) | ("autoscaling", "v1"))
        && matches!(resource.name.as_str(), "events" | "horizontalpodautoscalers")
}

/// What is stored, in the version that `resource` serves.
pub fn from_storage(resource: &Resource, mut object: Value) -> Value {
    if resource.custom.is_some() {
        object["apiVersion"] = resource.api_version().into();
        return object;
    }
    if !is_needed(resource) {
        return object;
    }
    match resource.name.as_str() {
        "events" => rename(&mut object, |(core, new)| (core, new)),
        _ => autoscaler_to_v1(&mut object),
    }
    object["apiVersion"] = resource.api_version().into();
    canonical(&Target::of(resource), object)
}

/// The form in which fields are prepared and checked: that of the store where a kind has versions.
pub fn to_checked(resource: &Resource, mut object: Value) -> Value {
    if is_needed(resource) && resource.group == "autoscaling" {
        autoscaler_from_v1(&mut object);
        object["apiVersion"] = "autoscaling/v2".into();
    }
    object
}

/// What is to be stored: the stored version, in canonical form whatever was put into the object on its way.
pub fn to_storage(resource: &Resource, object: Value) -> Value {
    let mut object = object;
    if let Some(custom) = &resource.custom {
        object["apiVersion"] = format!("{}/{}", resource.group, custom.storage_version).into();
        return object;
    }
    let mut target = Target::of(resource);
    if is_needed(resource) && resource.group == "autoscaling" {
        object = to_checked(resource, object);
        target.version = "v2".into();
    } else if is_needed(resource) {
        rename(&mut object, |(core, new)| (new, core));
        object["apiVersion"] = "v1".into();
        target = Target { group: String::new(), version: "v1".into(), kind: "Event".into(), custom: None };
    }
    canonical(&target, object)
}

/// The canonical form of an object that was decoded before, and in which whatever was set since has the right type.
fn canonical(target: &Target, object: Value) -> Value {
    schemas::stored(target, object.clone()).unwrap_or_else(|why| {
        tracing::error!(kind = target.kind, why, "an object was changed into one that its schema does not allow");
        object
    })
}

fn rename(object: &mut Value, direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(fields) = object.as_object_mut() else { return };
    for pair in EVENT_FIELDS {
        let (from, to) = direction(*pair);
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && metric.pointer("/resource/target/averageUtilization").is_some()
}

fn autoscaler_from_v1(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let mut metrics = Vec::new();
    if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
        metrics.push(json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
        }));
    }
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let kept = annotations.and_then(|annotations| annotations.remove(METRICS));
    if let Some(Value::Array(more)) =
        kept.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok())
    {
        metrics.extend(more);
    }
    if !metrics.is_empty() {
        object["spec"]["metrics"] = Value::Array(metrics);
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
        && let Some(current) = status.remove("currentCPUUtilizationPercentage")
    {
        let metric =
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": current}}});
        status.insert("currentMetrics".into(), json!([metric]));
    }
}

fn autoscaler_to_v1(object: &mut Value) {
    let metrics = object.get_mut("spec").and_then(Value::as_object_mut).and_then(|spec| spec.remove("metrics"));
    let Value::Array(mut metrics) = metrics.unwrap_or_default() else { return tidy_status(object) };
    if let Some(at) = metrics.iter().position(is_cpu) {
        let cpu = metrics.remove(at);
        object["spec"]["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"].clone();
    }
    if !metrics.is_empty() {
        let text = Value::Array(metrics).to_string();
        let metadata = crate::registry::meta::metadata(object);
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        annotations[METRICS] = text.into();
    }
    tidy_status(object);
}

fn tidy_status(object: &mut Value) {
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else { return };
    status.remove("conditions");
    let Some(Value::Array(current)) = status.remove("currentMetrics") else { return };
    let cpu = current.iter().find_map(|metric| metric.pointer("/resource/current/averageUtilization"));
    if let Some(cpu) = cpu {
        status.insert("currentCPUUtilizationPercentage".into(), cpu.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Table;

    #[test]
    fn an_event_is_the_same_through_both_groups() {
        let table = Table::builtin();
        let events = table.find("events.k8s.io", "v1", "events").unwrap();
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "n", "regarding": {"name": "p"}, "metadata": {"name": "e"}});
        let stored = to_storage(events, event.clone());
        assert_eq!(stored["message"], "n");
        assert_eq!(stored["apiVersion"], "v1");
        let again = from_storage(events, stored);
        assert_eq!((&again["note"], &again["regarding"]["name"]), (&event["note"], &event["regarding"]["name"]));
        assert!(again.get("message").is_none());
    }

    #[test]
    fn the_older_autoscaler_keeps_its_cpu_target_and_hides_other_metrics() {
        let table = Table::builtin();
        let v1 = table.find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let target = json!({"kind": "Deployment", "name": "d"});
        let object = json!({"apiVersion": "autoscaling/v1", "metadata": {},
            "spec": {"targetCPUUtilizationPercentage": 70, "maxReplicas": 3, "scaleTargetRef": target},
            "status": {"currentReplicas": 0, "desiredReplicas": 0}});
        let stored = to_storage(v1, object.clone());
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
        let mut more = stored.clone();
        more["spec"]["metrics"].as_array_mut().unwrap().push(json!({"type": "Pods"}));
        assert_eq!(from_storage(v1, stored), object);
        let seen = from_storage(v1, more.clone());
        assert_eq!(to_storage(v1, seen)["spec"], more["spec"]);
    }
}
