//! A status as the patch that brings it about.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};

/// The strategic merge patch that turns the status of `pod` into `wanted`; `None` when nothing differs.
///
/// Conditions merge by their type, so that those of others (readiness gates) stay. The uid makes the API server refuse
/// the patch when a new pod has taken the name.
pub fn status_patch(pod: &Pod, wanted: &PodStatus) -> Option<Value> {
    let encode = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let old = encode(&pod.status.clone().unwrap_or_default());
    let new = encode(wanted);
    let mut fields = Map::new();
    for (name, value) in &new {
        if old.get(name) == Some(value) {
            continue;
        }
        if name == "conditions" {
            let before = old.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            let items = value.as_array().into_iter().flatten();
            let changed: Vec<Value> =
                items.filter(|item| !before.contains(item)).map(|item| replacing(item, &before)).collect();
            if !changed.is_empty() {
                fields.insert(name.clone(), Value::Array(changed));
            }
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    const OWNED: [&str; 4] = ["podIP", "podIPs", "reason", "message"];
    for name in OWNED {
        if old.contains_key(name) && !new.contains_key(name) {
            fields.insert(name.to_owned(), Value::Null);
        }
    }
    // A list that merges by a key is replaced when it shrinks to other members.
    if let Some(Value::Array(ips)) = fields.get_mut("podIPs")
        && old.contains_key("podIPs")
    {
        ips.insert(0, json!({"$patch": "replace"}));
    }
    if fields.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": fields}))
}

/// A condition as what it is merged into has to be told: a reason or message that is no more is taken away by name.
fn replacing(condition: &Value, before: &[Value]) -> Value {
    let mut told = condition.clone();
    let old = before.iter().find(|old| old["type"] == condition["type"]).and_then(Value::as_object);
    if let Some(told) = told.as_object_mut() {
        for field in old.into_iter().flatten().map(|(field, _)| field) {
            told.entry(field.clone()).or_insert(Value::Null);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_loses_the_message_that_is_no_more_true() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready"}]}}))
        .expect("a pod");
        let wanted = serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        let patch = status_patch(&pod, &wanted.expect("a status")).expect("a difference");
        let told = json!([{"type": "Ready", "status": "True", "reason": null, "message": null}]);
        assert_eq!(patch["status"]["conditions"], told, "a merge keeps what is not named");
    }

    #[test]
    fn only_what_changed_is_sent() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u"},
            "status": {"phase": "Pending", "hostIP": "1.1.1.1", "podIP": "2.2.2.2", "conditions": [
                {"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"},
                {"type": "example.com/gate", "status": "True"}]}
        }))
        .expect("a pod");
        let wanted: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "hostIP": "1.1.1.1", "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]
        }))
        .expect("a status");
        assert_eq!(
            status_patch(&pod, &wanted),
            Some(json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "podIP": null,
                "conditions": [{"type": "Ready", "status": "True"}]}}))
        );
        let same = pod.status.clone().expect("it has one");
        assert_eq!(status_patch(&pod, &same), None);
    }
}
