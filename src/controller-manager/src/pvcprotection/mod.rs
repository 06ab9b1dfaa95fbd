//! The PVC protection controller: a claim does not go while a pod on a node uses it.

pub mod plan;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use crate::{
    framework::{Change, Context, Informer, Key, Objects, Outcome, Queue, is_gone, spawn_workers},
    pvprotection,
};

const NAME: &str = "pvc-protection-controller";
const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// The index of pods by the claims they name.
pub(crate) const BY_CLAIM: &str = "claim";

/// Lets pods be found by their claims.
pub(crate) fn index_by_claim(pods: &Informer<Pod>) {
    pods.add_index(BY_CLAIM, |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        plan::claim_names(pod).map(|claim| format!("{namespace}/{claim}")).collect()
    });
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let (claims, pods) = (context.informers.of::<PersistentVolumeClaim>(), context.informers.of::<Pod>());
    index_by_claim(&pods);
    let queue = Queue::new(context.clock.clone());
    let changed = queue.clone();
    claims.on_change(move |change| changed.add(Key::of(&**change.object())));
    let of_pod = queue.clone();
    pods.on_change(move |Change { old, new }| {
        if let (Some(old), None) = (old, new) {
            let namespace = old.namespace().unwrap_or_default();
            plan::claim_names(old).for_each(|claim| of_pod.add(Key::new(namespace.as_str(), claim)));
        }
    });
    let claims = Objects::new(client, claims, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (claims, pods) = (claims.clone(), pods.clone());
        async move {
            let Some(claim) = claims.cache().get(&key) else { return Ok(Outcome::Done) };
            let in_use = pods.by_index(BY_CLAIM, &key.to_string()).iter().any(|pod| plan::uses(pod, &claim));
            let deleting = claim.metadata.deletion_timestamp.is_some();
            let Some(finalizers) = pvprotection::plan::plan(FINALIZER, claim.finalizers(), deleting, in_use) else {
                return Ok(Outcome::Done);
            };
            let mut changed = PersistentVolumeClaim::clone(&claim);
            changed.metadata.finalizers = Some(finalizers);
            match claims.replace(&changed).await {
                Err(error) if !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
