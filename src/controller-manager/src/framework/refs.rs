//! Owner references: who controls what, and what a controller takes in or lets go by its selector.

use std::sync::Arc;

use apimachinery::selectors::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use serde_json::{Value, json};

use super::labels_of;

/// The reference to the owner that controls an object.
pub fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The reference by which `owner` controls what it makes.
pub fn controller_ref<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner_ref(owner) }
}

/// The reference to an owner that does not control.
pub fn owner_ref<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    }
}

/// What a controller makes of the objects of its namespace.
#[derive(Debug)]
pub struct Claim<K> {
    /// They are its own and stay so.
    pub owned: Vec<Arc<K>>,
    /// Nobody's, and its selector selects them.
    pub adopt: Vec<Arc<K>>,
    /// Its own, but its selector does not select them any more.
    pub release: Vec<Arc<K>>,
}

/// Sorts `objects` for `owner`, as Kubernetes' controller-ref managers do: what another controls is left alone; nothing is adopted
/// by who is going, nor while it goes itself.
pub fn claim<O: Resource, K: Resource>(
    owner: &O,
    selector: &LabelSelector,
    objects: impl IntoIterator<Item = Arc<K>>,
) -> Claim<K> {
    let going = owner.meta().deletion_timestamp.is_some();
    let uid = owner.meta().uid.as_deref();
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in objects {
        let selected = selector.matches(labels_of(&*object));
        match controller_of(&*object) {
            Some(controller) if Some(controller.uid.as_str()) != uid => {}
            Some(_) if selected => claim.owned.push(object),
            Some(_) if going => {}
            Some(_) => claim.release.push(object),
            None if going || !selected || object.meta().deletion_timestamp.is_some() => {}
            None => claim.adopt.push(object),
        }
    }
    claim
}

/// The patch by which `controller` takes in an object, and puts `finalizer` on it if one is given.
pub fn adopt_patch<K: Resource>(object: &K, controller: &OwnerReference, finalizer: Option<&str>) -> Value {
    let meta = object.meta();
    let mut owners = meta.owner_references.clone().unwrap_or_default();
    owners.push(controller.clone());
    let mut patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}});
    if let Some(finalizer) = finalizer {
        let mut finalizers = meta.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|there| there == finalizer) {
            finalizers.push(finalizer.to_owned());
        }
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    patch
}

/// The patch by which the owner with `uid` lets an object go.
pub fn release_patch<K: Resource>(object: &K, uid: &str) -> Value {
    let owners: Vec<_> = object.meta().owner_references.iter().flatten().filter(|owner| owner.uid != uid).collect();
    json!({"metadata": {"uid": object.meta().uid, "resourceVersion": object.meta().resource_version, "ownerReferences": owners}})
}
