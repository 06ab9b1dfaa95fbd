//! `DefaultStorageClass`, `StorageObjectInUseProtection` and `PersistentVolumeClaimResize`: what claims and volumes get, and
//! how far a claim may grow.

use std::sync::Arc;

use apimachinery::{quantity::Quantity, status::Status};
use auth::ObjectReader;
use serde_json::{Value, json};

use crate::{Operation, Request, text};

const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The newest of the objects that `annotations` call the default; of several as new, the first by name.
pub(crate) fn default_of(objects: Vec<Arc<Value>>, annotations: &[&str]) -> Option<Arc<Value>> {
    let is_default =
        |object: &Arc<Value>| annotations.iter().any(|key| object["metadata"]["annotations"][*key] == "true");
    let mut defaults: Vec<Arc<Value>> = objects.into_iter().filter(is_default).collect();
    defaults.sort_by(|one, other| {
        let key = |object: &Value| text(object, "/metadata/creationTimestamp").to_owned();
        key(other).cmp(&key(one)).then_with(|| text(one, "/metadata/name").cmp(text(other, "/metadata/name")))
    });
    defaults.into_iter().next()
}

/// Gives claims their class, and claims and volumes the finalizers that keep them while they are used.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader) {
    if request.operation != Operation::Create || !request.subresource.is_empty() {
        return;
    }
    let finalizer = match (request.group, request.resource) {
        ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        ("", "persistentvolumes") => "kubernetes.io/pv-protection",
        ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
        _ => return,
    };
    let is_claim = request.resource == "persistentvolumeclaims";
    let Some(object) = request.object.as_deref_mut() else { return };
    let annotated = !object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_null();
    let unclassed = !annotated && object["spec"].is_object() && object["spec"]["storageClassName"].is_null();
    if is_claim
        && unclassed
        && let Some(class) = default_of(reader.list("storage.k8s.io", "storageclasses", None), &DEFAULT_CLASS)
    {
        object["spec"]["storageClassName"] = class["metadata"]["name"].clone();
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        return;
    }
    match metadata["finalizers"].as_array_mut() {
        Some(finalizers) if finalizers.iter().any(|present| present == finalizer) => {}
        Some(finalizers) => finalizers.push(finalizer.into()),
        None => metadata["finalizers"] = json!([finalizer]),
    }
}

/// Refuses to grow what cannot grow.
pub fn validate(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<(), Status> {
    let changes = request.operation == Operation::Update && request.subresource.is_empty();
    if !changes || (request.group, request.resource) != ("", "persistentvolumeclaims") {
        return Ok(());
    }
    let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else { return Ok(()) };
    let size = |claim: &Value| {
        claim.pointer("/spec/resources/requests/storage").and_then(|size| Quantity::from_json(size).ok())
    };
    let (Some(wanted), Some(present)) = (size(new), size(old)) else { return Ok(()) };
    if wanted <= present {
        return Ok(());
    }
    if text(old, "/status/phase") != "Bound" {
        return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let class = reader.get("storage.k8s.io", "storageclasses", "", text(new, "/spec/storageClassName"));
    if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    Err(request.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_wins() {
        let class = |name: &str, created: &str, default: &str| {
            Arc::new(json!({"metadata": {"name": name, "creationTimestamp": created,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default}}}))
        };
        let classes = vec![
            class("a", "2026-01-01T00:00:00Z", "true"),
            class("c", "2026-01-02T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("d", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(default_of(classes, &DEFAULT_CLASS).unwrap()["metadata"]["name"], "b");
    }
}
