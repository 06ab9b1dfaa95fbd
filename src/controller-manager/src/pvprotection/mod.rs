//! The PV protection controller: a volume does not go while it is bound.

pub mod plan;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;

use crate::framework::{Context, Key, Objects, Outcome, Queue, is_gone, spawn_workers};

const NAME: &str = "pv-protection-controller";
const FINALIZER: &str = "kubernetes.io/pv-protection";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let volumes = context.informers.of::<PersistentVolume>();
    let queue = Queue::new(context.clock.clone());
    let changed = queue.clone();
    volumes.on_change(move |change| changed.add(Key::of(&**change.object())));
    let volumes = Objects::new(client, volumes, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let volumes = volumes.clone();
        async move {
            let Some(volume) = volumes.cache().get(&key) else { return Ok(Outcome::Done) };
            let bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
            let deleting = volume.metadata.deletion_timestamp.is_some();
            let Some(finalizers) = plan::plan(FINALIZER, volume.finalizers(), deleting, bound) else {
                return Ok(Outcome::Done);
            };
            let mut changed = PersistentVolume::clone(&volume);
            changed.metadata.finalizers = Some(finalizers);
            match volumes.replace(&changed).await {
                Err(error) if !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
