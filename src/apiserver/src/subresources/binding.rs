//! `pods/binding`: the scheduler's word on where a pod goes.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{
    core::Core,
    endpoints::{Answer, Candidate, Context, Failure, body, options::WriteOptions, update_object},
    fail,
    registry::meta,
    resources::Resource,
    respond,
};

/// Binds a pod to the node that the body names.
pub async fn bind(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>, request: Request<Body>) -> Answer {
    let options = WriteOptions::of(&context.uri, "CreateOptions")?;
    let bytes = body::read(request).await?;
    let target = body::Target { group: String::new(), version: "v1".into(), kind: "Binding".into(), custom: None };
    let binding = body::decode(core, &target, &context.headers, &bytes, options.field_validation, &context.warnings)?;
    bind_with(core, context, resource, &binding, &options).await
}

/// Binds as `binding` says.
async fn bind_with(
    core: &Arc<Core>,
    context: &Context,
    resource: &Arc<Resource>,
    binding: &Value,
    options: &WriteOptions,
) -> Answer {
    let name = context.info.name.as_str();
    let given = meta::text(binding, "name");
    if !given.is_empty() && given != name {
        let why = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(fail::bad_request(why).into());
    }
    let kind = binding.pointer("/target/kind").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        let why = format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"");
        return Err(fail::unknown(why).into());
    }
    let node = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if node.is_empty() {
        return Err(fail::unknown("target.name: Required value").into());
    }
    // A pod carries the labels that say where its node is (`PodTopologyLabels`).
    let labels = core.cacher.resource("", "nodes").and_then(|nodes| nodes.get(&node));
    let topology: Vec<(String, Value)> = labels
        .iter()
        .flat_map(|entry| &entry.labels)
        .filter(|(key, _)| matches!(key.as_str(), "topology.kubernetes.io/zone" | "topology.kubernetes.io/region"))
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    let now = core.clock.now();
    let make = |pod: Value| -> Result<Value, Failure> {
        let conflict = |why: String| -> Failure { Box::new(fail::conflict("", "pods/binding", name, &why)) };
        let uid = meta::text(binding, "uid");
        if !uid.is_empty() && uid != meta::text(&pod, "uid") {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::text(&pod, "uid")
            );
            return Err(conflict(why));
        }
        if !meta::text(&pod, "deletionTimestamp").is_empty() {
            return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        let bound = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        if !bound.is_empty() {
            return Err(conflict(format!("pod {name} is already assigned to node {bound:?}")));
        }
        let gated =
            pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty());
        if gated {
            return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        let mut pod = pod;
        pod["spec"]["nodeName"] = node.clone().into();
        if let Some(annotations) = binding.pointer("/metadata/annotations").and_then(Value::as_object) {
            let own = meta::metadata(&mut pod).entry("annotations").or_insert_with(|| json!({}));
            for (key, value) in annotations {
                own[key.as_str()] = value.clone();
            }
        }
        for (key, value) in &topology {
            let own = meta::metadata(&mut pod).entry("labels").or_insert_with(|| json!({}));
            own[key.as_str()] = value.clone();
        }
        if !pod["status"].is_object() {
            pod["status"] = json!({});
        }
        let scheduled = json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::time(now),
        });
        match pod["status"].get_mut("conditions").and_then(Value::as_array_mut) {
            Some(conditions) => {
                let before = conditions.iter().position(|condition| condition["type"] == "PodScheduled");
                match before {
                    Some(at) => conditions[at] = scheduled,
                    None => conditions.push(scheduled),
                }
            }
            None => pod["status"]["conditions"] = json!([scheduled]),
        }
        Ok(pod)
    };
    update_object(core, context, resource, Some("binding"), Candidate::Made(&make), options).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::json(StatusCode::CREATED, &status))
}
