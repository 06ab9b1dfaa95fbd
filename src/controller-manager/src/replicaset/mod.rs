//! ReplicaSets and ReplicationControllers: as many pods of one template as are wanted.

mod owner;
mod plan;

use std::{sync::Arc, time::Duration};

use component_base::SharedClock;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Pod, ReplicationController},
};

use self::{
    owner::ReplicaOwner,
    plan::{Counted, Scale},
};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, controller_ref,
        is_terminating_namespace, message_of, now, slow_start, spawn_workers, wake_owner_or_claimants,
    },
    pods,
};

/// So many are worked on at a time.
const WORKERS: usize = 5;
/// So many pods are created or deleted before the next look.
const BURST: usize = 500;

/// Starts both controllers.
pub fn start(context: &Context) {
    Controller::<ReplicaSet>::start(context);
    Controller::<ReplicationController>::start(context);
}

/// From so many replicas on, what changes of one pod is not looked at by itself: a thousand pods that become ready would be a
/// thousand statuses of their set, and as many of its Deployment.
const CROWD: i32 = 16;
/// So long others are then waited for.
const PAUSE: Duration = Duration::from_millis(25);

struct Controller<O> {
    owners: Objects<O>,
    pods: Objects<Pod>,
    recorder: Recorder,
    clock: SharedClock,
}

/// The owner of a changed pod that is one of many.
fn one_of_a_crowd<O: ReplicaOwner>(owners: &Informer<O>, change: &Change<Pod>) -> Option<Key> {
    let (old, new) = (change.old.as_ref()?, change.new.as_ref()?);
    let owner = controller_of(&**new).filter(|owner| owner.kind == O::kind(&()))?;
    controller_of(&**old).filter(|before| before.uid == owner.uid)?;
    let key = Key::new(new.metadata.namespace.as_deref().unwrap_or_default(), owner.name.as_str());
    (owners.get(&key)?.replicas() > CROWD).then_some(key)
}

impl<O: ReplicaOwner> Controller<O> {
    fn start(context: &Context) {
        let (client, recorder) = context.identity(O::CONTROLLER);
        let (owners, pods) = (context.informers.of::<O>(), context.informers.of::<Pod>());
        let queue = Queue::new(context.clock.clone());
        let own = queue.clone();
        owners.on_change(move |change| own.add(Key::of(&**change.object())));
        let (claimed, of) = (queue.clone(), owners.clone());
        pods.on_change(move |change| match one_of_a_crowd(&of, change) {
            Some(key) => claimed.add_after(key, PAUSE),
            None => wake_owner_or_claimants(&claimed, &of, change, O::selector),
        });
        let controller = Arc::new(Self {
            owners: Objects::new(client.clone(), owners, context.clock.clone()),
            pods: Objects::new(client, pods, context.clock.clone()),
            recorder,
            clock: context.clock.clone(),
        });
        spawn_workers(context, O::CONTROLLER, WORKERS, &queue, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        });
    }

    async fn sync(&self, key: Key) -> Result<Outcome, SyncError> {
        let Some(owner) = self.owners.cache().get(&key) else { return Ok(Outcome::Done) };
        let selector = owner.selector()?;
        let uid = owner.meta().uid.as_deref().unwrap_or_default();
        let candidates = self.pods.cache().claimable(&key.namespace, uid);
        let (active, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|pod| pods::is_active(pod));
        let own = |pod: &Pod| controller_of(pod).is_some_and(|owner| owner.uid == uid);
        let terminating = others.iter().filter(|pod| own(pod) && pods::is_terminating(pod)).count();
        let active = self.pods.claim(&self.owners, &*owner, &selector, active).await?;
        let scale = match owner.meta().deletion_timestamp {
            None => plan::scale(owner.replicas(), &active, || self.related(&owner, &active), self.clock.now()),
            Some(_) => Scale::Nothing,
        };
        let (active, terminating, failure) = self.carry_out(&owner, scale, active, terminating).await;
        let counted = Counted {
            active: &active,
            terminating,
            failure: failure.as_ref().map(|(reason, error)| (*reason, message_of(error))),
        };
        let now = now(&self.clock);
        let status = plan::status(&*owner, &counted, &now);
        if status != owner.status() {
            self.owners.replace_status(&owner.with_status(status)).await?;
        }
        match failure {
            Some((_, error)) => Err(error.into()),
            None => Ok(pods::next_availability(&active, owner.min_ready_seconds(), now.0).into()),
        }
    }

    /// Does it; what there then is comes back.
    async fn carry_out(
        &self,
        owner: &O,
        scale: Scale,
        mut active: Vec<Arc<Pod>>,
        terminating: usize,
    ) -> (Vec<Arc<Pod>>, usize, Option<(&'static str, kube::Error)>) {
        match scale {
            Scale::Nothing => (active, terminating, None),
            Scale::Create(count) => {
                let (created, failure) = self.create(owner, count.min(BURST)).await;
                active.extend(created);
                (active, terminating, failure.map(|error| ("FailedCreate", error)))
            }
            Scale::Delete(mut victims) => {
                victims.truncate(BURST);
                let (deleted, failure) = self.delete(owner, &victims).await;
                let gone = |pod: &Arc<Pod>| deleted.iter().any(|victim| Arc::ptr_eq(victim, pod));
                active.retain(|pod| !gone(pod));
                // Those that were never placed are gone at once.
                let still = deleted.iter().filter(|pod| self.pods.cache().get(&Key::of(&***pod)).is_some()).count();
                (active, terminating + still, failure.map(|error| ("FailedDelete", error)))
            }
        }
    }

    async fn create(&self, owner: &O, count: usize) -> (Vec<Arc<Pod>>, Option<kube::Error>) {
        let Some(template) = owner.template() else { return (Vec::new(), None) };
        let key = Key::of(owner);
        let pod = pods::from_template(template, &key.name, controller_ref(owner));
        let (pod, namespace) = (&pod, &*key.namespace);
        slow_start(count, |_| async move {
            match self.pods.create(namespace, pod).await {
                Ok(pod) => {
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    self.recorder.normal(owner, "SuccessfulCreate", format!("Created pod: {name}"));
                    Ok(Arc::new(pod))
                }
                Err(error) => {
                    if !is_terminating_namespace(&error) {
                        self.recorder.warning(owner, "FailedCreate", format!("Error creating: {}", message_of(&error)));
                    }
                    Err(error)
                }
            }
        })
        .await
    }

    async fn delete(&self, owner: &O, victims: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, Option<kube::Error>) {
        slow_start(victims.len(), |at| async move {
            let (pod, name) = (&victims[at], victims[at].metadata.name.as_deref().unwrap_or_default());
            match self.pods.delete(&**pod).await {
                Ok(()) => {
                    self.recorder.normal(owner, "SuccessfulDelete", format!("Deleted pod: {name}"));
                    Ok(pod.clone())
                }
                Err(error) => {
                    let text = format!("Error deleting: {}", message_of(&error));
                    self.recorder.warning(owner, "FailedDelete", text);
                    Err(error)
                }
            }
        })
        .await
    }

    /// The active pods of all that `owner`'s own owner controls (the other ReplicaSets of its Deployment), its own among them.
    fn related(&self, owner: &O, active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(controller) = controller_of(owner) else { return active.to_vec() };
        let siblings = self.owners.cache().controlled_by(&controller.uid);
        let uids = siblings.iter().filter_map(|sibling| sibling.meta().uid.as_deref());
        let related = uids.flat_map(|uid| self.pods.cache().controlled_by(uid));
        related.filter(|pod| pods::is_active(pod)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn only_a_change_of_one_among_many_may_wait() {
        let owners = Informer::<ReplicaSet>::new();
        for (name, replicas) in [("few", 3), ("many", 300)] {
            let set = json!({"metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
                "spec": {"replicas": replicas, "selector": {}}});
            owners.written(from_value(set).expect("a ReplicaSet"));
        }
        let pod = |owner: Option<&str>| {
            let reference = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true});
            let owners: Vec<Value> = owner.map(reference).into_iter().collect();
            let pod = json!({"metadata": {"name": "p", "namespace": "default", "ownerReferences": owners}});
            Some(Arc::new(from_value(pod).expect("a Pod")))
        };
        let waits = |old, new| one_of_a_crowd(&owners, &Change { old, new }).is_some();
        assert!(waits(pod(Some("many")), pod(Some("many"))));
        assert!(!waits(pod(Some("few")), pod(Some("few"))), "nobody waits for three");
        assert!(!waits(None, pod(Some("many"))), "a new one was made by its owner");
        assert!(!waits(pod(Some("many")), None), "one that is gone is missing");
        assert!(!waits(pod(Some("many")), pod(None)) && !waits(pod(None), pod(Some("many"))), "owners change");
    }
}
