//! The ephemeral volume controller: makes the claims that pods describe in their own volumes.

pub mod plan;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use crate::{
    endpoints::is_terminating,
    framework::{Context, Key, Objects, Outcome, Queue, SyncError, is_conflict, is_gone, spawn_workers},
    pvcprotection::{BY_CLAIM, index_by_claim},
};

const NAME: &str = "ephemeral-volume-controller";

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (claims, pods) = (context.informers.of::<PersistentVolumeClaim>(), context.informers.of::<Pod>());
    index_by_claim(&pods);
    let queue = Queue::new(context.clock.clone());
    let of_pod = queue.clone();
    pods.on_change(move |change| {
        let Some(pod) = change.new.as_ref().filter(|_| change.old.is_none()) else { return };
        if pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| volume.ephemeral.is_some()) {
            of_pod.add(Key::of(&**pod));
        }
    });
    let (of_claim, users) = (queue.clone(), pods.clone());
    claims.on_change(move |change| {
        if change.new.is_none() {
            let key = Key::of(&**change.object());
            users.by_index(BY_CLAIM, &key.to_string()).iter().for_each(|pod| of_claim.add(Key::of(&**pod)));
        }
    });
    let claims = Objects::new(client, claims, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (claims, pods, recorder) = (claims.clone(), pods.clone(), recorder.clone());
        async move {
            let Some(pod) = pods.get(&key) else { return Ok(Outcome::Done) };
            let there = |name: &str| claims.cache().get(&Key::new(key.namespace.clone(), name));
            let (missing, taken) = plan::plan(&pod, there);
            for claim in &missing {
                match claims.create(&key.namespace, claim).await {
                    Err(error) if is_terminating(&error) || is_gone(&error) => return Ok(Outcome::Done),
                    // Somebody was quicker: whose it is shows when the cache knows it.
                    Err(error) if is_conflict(&error) => return Err(error.into()),
                    Err(error) => {
                        let words = format!("ephemeral volume controller: create PVC {}: {error}", claim.name_any());
                        recorder.warning(&*pod, "FailedBinding", words);
                        return Err(error.into());
                    }
                    Ok(_) => {}
                }
            }
            if let Some(name) = taken.first() {
                let words = format!("PVC {}/{name} was not created for pod {key} (pod is not owner)", key.namespace);
                recorder.warning(&*pod, "FailedBinding", format!("ephemeral volume controller: {words}"));
                return Err(SyncError::Other(words));
            }
            Ok(Outcome::Done)
        }
    });
}
