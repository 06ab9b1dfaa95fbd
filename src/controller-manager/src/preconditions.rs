//! How to delete one object and none that took its name since.

use kube::{
    Resource,
    api::{DeleteParams, Preconditions},
};

/// Only that object.
pub fn only<K: Resource>(object: &K) -> DeleteParams {
    let only = Preconditions { uid: object.meta().uid.clone(), resource_version: None };
    DeleteParams::default().preconditions(only)
}
