//! `RuntimeClass`: a pod's runtime class exists, and brings its overhead and where its nodes are.

use apimachinery::status::Status;
use auth::ObjectReader;
use serde_json::{Value, json};

use apimachinery::pod_resources::read;

use crate::{Request, text};

fn class_of(
    request: &Request<'_>,
    pod: &Value,
    reader: &dyn ObjectReader,
) -> Result<Option<std::sync::Arc<Value>>, Status> {
    let name = text(pod, "/spec/runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let class = reader.get("node.k8s.io", "runtimeclasses", "", name);
    if class.is_none() {
        return Err(request.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found")));
    }
    Ok(class)
}

/// Sets what the class says.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    if !request.creates("pods") {
        return Ok(());
    }
    let Some(pod) = request.object.as_deref() else { return Ok(()) };
    let Some(class) = class_of(request, pod, reader)? else { return Ok(()) };
    if let Some(overhead) = class.pointer("/overhead/podFixed").filter(|overhead| overhead.is_object()) {
        let given = pod.pointer("/spec/overhead").filter(|given| given.is_object());
        if given.is_some_and(|given| read(Some(given)) != read(Some(overhead))) {
            return Err(request.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
        }
    }
    let selector = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
    for (key, value) in selector.into_iter().flatten() {
        let given = &pod["spec"]["nodeSelector"][key.as_str()];
        if !given.is_null() && given != value {
            let (class, pod) = (value.as_str().unwrap_or_default(), given.as_str().unwrap_or_default());
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {class}; pod.spec.nodeSelector[{key}] = {pod}"
            );
            return Err(request.forbidden(&why));
        }
    }
    let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
    if let Some(overhead) = class.pointer("/overhead/podFixed").filter(|overhead| overhead.is_object()) {
        pod["spec"]["overhead"] = overhead.clone();
    }
    for (key, value) in selector.into_iter().flatten() {
        if !pod["spec"]["nodeSelector"].is_object() {
            pod["spec"]["nodeSelector"] = json!({});
        }
        pod["spec"]["nodeSelector"][key.as_str()] = value.clone();
    }
    for toleration in class.pointer("/scheduling/tolerations").and_then(Value::as_array).into_iter().flatten() {
        match pod["spec"]["tolerations"].as_array_mut() {
            Some(tolerations) if tolerations.contains(toleration) => {}
            Some(tolerations) => tolerations.push(toleration.clone()),
            None => pod["spec"]["tolerations"] = json!([toleration]),
        }
    }
    Ok(())
}

/// Refuses an overhead that is not the class's.
pub fn validate(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    if !request.creates("pods") {
        return Ok(());
    }
    let Some(pod) = request.object.as_deref() else { return Ok(()) };
    let class = class_of(request, pod, reader)?;
    let defined = class.as_ref().and_then(|class| class.pointer("/overhead/podFixed")).is_some();
    if pod.pointer("/spec/overhead").is_some_and(Value::is_object) && !defined {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(request.forbidden(why));
    }
    Ok(())
}
