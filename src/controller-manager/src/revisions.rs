//! The revisions of an owner, brought about.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    framework::{Key, Objects, SyncError, claim, is_conflict, labels_of},
    history,
};
use apimachinery::selectors::LabelSelector;

/// The revisions that `owner` controls, with those that nobody does and that it selects taken in; the older first.
///
/// # Errors
/// When one cannot be taken in.
pub async fn of<O>(
    revisions: &Objects<ControllerRevision>,
    owners: &Objects<O>,
    owner: &O,
    selector: &LabelSelector,
) -> Result<Vec<Arc<ControllerRevision>>, SyncError>
where
    O: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let meta = owner.meta();
    let candidates = revisions
        .cache()
        .claimable(meta.namespace.as_deref().unwrap_or_default(), meta.uid.as_deref().unwrap_or_default());
    // Revisions are never let go.
    let candidates = candidates.into_iter().filter(|revision| selector.matches(labels_of(&**revision))).collect();
    let mut own = if claim(owner, selector, Vec::clone(&candidates)).adopt.is_empty() {
        candidates.into_iter().filter(|revision| crate::framework::controller_of(&**revision).is_some()).collect()
    } else {
        revisions.claim(owners, owner, selector, candidates).await?
    };
    history::sort(&mut own);
    Ok(own)
}

/// Creates a revision; the one that is there when it keeps the same, `None` when another one has its name.
///
/// # Errors
/// What the API server says.
pub async fn create(
    revisions: &Objects<ControllerRevision>,
    revision: &ControllerRevision,
    template: &PodTemplateSpec,
) -> Result<Option<ControllerRevision>, SyncError> {
    let key = Key::of(revision);
    match revisions.create(&key.namespace, revision).await {
        Ok(created) => Ok(Some(created)),
        Err(error) if is_conflict(&error) => {
            let there = revisions.get(&key).await?;
            revisions.cache().written(there.clone());
            Ok(history::keeps(&there, template).then_some(there))
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives a revision another number.
///
/// # Errors
/// What the API server says.
pub async fn renumber(
    revisions: &Objects<ControllerRevision>,
    revision: &ControllerRevision,
    number: i64,
) -> Result<ControllerRevision, SyncError> {
    Ok(revisions.patch(&Key::of(revision), &json!({"revision": number})).await?)
}
