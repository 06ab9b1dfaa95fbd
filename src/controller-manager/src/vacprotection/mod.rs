//! The VolumeAttributesClass protection controller: a class does not go while a volume or a claim names it.

pub mod plan;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use kube::ResourceExt;

use crate::{
    framework::{Change, Context, Key, Objects, Outcome, Queue, is_gone, spawn_workers},
    pvprotection,
};

const NAME: &str = "volumeattributesclass-protection-controller";
const FINALIZER: &str = "kubernetes.io/vac-protection";
/// The index of claims and volumes by the classes that they name.
const BY_CLASS: &str = "volume-attributes-class";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let classes = context.informers.of::<VolumeAttributesClass>();
    let (claims, volumes) =
        (context.informers.of::<PersistentVolumeClaim>(), context.informers.of::<PersistentVolume>());
    claims.add_index(BY_CLASS, |claim| plan::of_claim(claim).map(str::to_owned).collect());
    volumes.add_index(BY_CLASS, |volume| plan::of_volume(volume).map(str::to_owned).collect());
    let queue = Queue::new(context.clock.clone());
    let changed = queue.clone();
    classes.on_change(move |change| changed.add(Key::of(&**change.object())));
    // Only who lets a class go can be what its end waits for.
    let let_go = queue.clone();
    claims.on_change(move |Change { old, .. }| {
        old.iter().flat_map(|old| plan::of_claim(old)).for_each(|class| let_go.add(Key::new("", class)));
    });
    let let_go = queue.clone();
    volumes.on_change(move |Change { old, .. }| {
        old.iter().flat_map(|old| plan::of_volume(old)).for_each(|class| let_go.add(Key::new("", class)));
    });
    let classes = Objects::new(client, classes, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (classes, claims, volumes) = (classes.clone(), claims.clone(), volumes.clone());
        async move {
            let Some(class) = classes.cache().get(&key) else { return Ok(Outcome::Done) };
            let in_use =
                !claims.by_index(BY_CLASS, &key.name).is_empty() || !volumes.by_index(BY_CLASS, &key.name).is_empty();
            let deleting = class.metadata.deletion_timestamp.is_some();
            let Some(finalizers) = pvprotection::plan::plan(FINALIZER, class.finalizers(), deleting, in_use) else {
                return Ok(Outcome::Done);
            };
            let mut changed = VolumeAttributesClass::clone(&class);
            changed.metadata.finalizers = Some(finalizers);
            match classes.replace(&changed).await {
                Err(error) if !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
