//! StatefulSets: pods with numbers, names and claims of their own, made and replaced in order.

mod claims;
mod identity;
mod plan;

use std::sync::Arc;

use apimachinery::selectors::LabelSelector;
use component_base::SharedClock;
use futures::future::try_join_all;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use serde_json::json;

use self::{
    claims::Claims,
    plan::{Observed, Revision, Step, Update},
};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, controller_ref,
        is_terminating_namespace, message_of, now, parse_selector, spawn_workers, wake_controller,
        wake_owner_or_claimants,
    },
    history, pods, revisions,
};

/// Under which name it speaks.
const CONTROLLER: &str = "statefulset-controller";
/// So many are worked on at a time.
const WORKERS: usize = 5;
/// The label of a revision that has its hash.
const HASH: &str = "controller.kubernetes.io/hash";

struct Controller {
    sets: Objects<StatefulSet>,
    pods: Objects<Pod>,
    revisions: Objects<ControllerRevision>,
    claims: Claims,
    recorder: Recorder,
    clock: SharedClock,
}

/// Starts the controller.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(CONTROLLER);
    let sets = context.informers.of::<StatefulSet>();
    let pods = context.informers.of::<Pod>();
    let revisions = context.informers.of::<ControllerRevision>();
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let queue = Queue::new(context.clock.clone());
    let own = queue.clone();
    sets.on_change(move |change| own.add(Key::of(&**change.object())));
    let (claimed, of) = (queue.clone(), sets.clone());
    pods.on_change(move |change| wake_owner_or_claimants(&claimed, &of, change, selector));
    let rolled = queue.clone();
    revisions.on_change(move |change| wake_controller::<StatefulSet, _>(&rolled, change));
    let (freed, of) = (queue.clone(), sets.clone());
    claims.on_change(move |change| wake_waiting(&freed, &of, change));
    let clock = &context.clock;
    let claims = Objects::new(client.clone(), claims, clock.clone());
    let controller = Arc::new(Controller {
        sets: Objects::new(client.clone(), sets, clock.clone()),
        pods: Objects::new(client.clone(), pods, clock.clone()),
        revisions: Objects::new(client, revisions, clock.clone()),
        claims: Claims { claims, recorder: recorder.clone() },
        recorder,
        clock: clock.clone(),
    });
    spawn_workers(context, CONTROLLER, WORKERS, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
}

fn selector(set: &StatefulSet) -> Result<LabelSelector, SyncError> {
    parse_selector(set.spec.as_ref().map(|spec| &spec.selector))
}

/// A claim that is gone may be one that a set waits for, to make it anew.
fn wake_waiting(queue: &Queue<Key>, sets: &Informer<StatefulSet>, change: &Change<PersistentVolumeClaim>) {
    if change.new.is_some() {
        return;
    }
    let claim = change.object();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    for set in sets.in_namespace(claim.metadata.namespace.as_deref().unwrap_or_default()) {
        let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
        let prefix = |template: &PersistentVolumeClaim| {
            format!("{}-{}-", template.metadata.name.as_deref().unwrap_or_default(), identity::name(&set))
        };
        if templates.into_iter().any(|template| name.starts_with(&prefix(template))) {
            queue.add(Key::of(&*set));
        }
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Outcome, SyncError> {
        let Some(set) = self.sets.cache().get(&key) else { return Ok(Outcome::Done) };
        let selector = selector(&set)?;
        let mut own = revisions::of(&self.revisions, &self.sets, &*set, &selector).await?;
        let pods = self.pods(&key, &set, &selector).await?;
        let mut collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or_default();
        let update = self.update(&set, &own, &mut collisions).await?;
        let current = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = own.iter().find(|revision| Some(history::name(revision)) == current).unwrap_or(&update).clone();
        let (current, update) = (readable(&current)?, readable(&update)?);
        let observed = |pods| Observed { set: &set, pods, current: &current, update: &update, now: self.clock.now() };
        let done = self.carry_out(&set, plan::steps(&observed(&pods))).await;
        // What was done is in the cache already.
        let pods = self.controlled(&set);
        let status = plan::status(&observed(&pods), collisions);
        if set.status.as_ref() != Some(&status) {
            let told = StatefulSet { status: Some(status), ..StatefulSet::clone(&set) };
            self.sets.replace_status(&told).await?;
        }
        done?;
        own = revisions::of(&self.revisions, &self.sets, &*set, &selector).await?;
        self.forget(&set, &own, &pods, [&current.name, &update.name]).await?;
        Ok(pods::next_availability(&pods, plan::min_ready(&set), now(&self.clock).0).into())
    }

    /// The set's pods, with those taken in that nobody controls and that bear its name.
    async fn pods(&self, key: &Key, set: &StatefulSet, selector: &LabelSelector) -> Result<Vec<Arc<Pod>>, SyncError> {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.pods.cache().claimable(&key.namespace, uid);
        candidates.retain(|pod| controller_of(&**pod).is_some() || identity::ordinal(set, pod).is_some());
        self.pods.claim(&self.sets, set, selector, candidates).await
    }

    fn controlled(&self, set: &StatefulSet) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.cache().controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.retain(|pod| identity::ordinal(set, pod).is_some());
        pods
    }

    /// The revision of the present template.
    async fn update(
        &self,
        set: &StatefulSet,
        sorted: &[Arc<ControllerRevision>],
        collisions: &mut i32,
    ) -> Result<Arc<ControllerRevision>, SyncError> {
        let Some(spec) = &set.spec else { return Err(SyncError::Other("a StatefulSet without a spec".to_owned())) };
        match plan::update(&spec.template, sorted) {
            Update::Is(revision) => Ok(revision),
            Update::Again(revision, number) => {
                Ok(Arc::new(revisions::renumber(&self.revisions, &revision, number).await?))
            }
            Update::New(number) => loop {
                let data = history::data_of(&spec.template);
                let hash = history::hash_of(&data, *collisions);
                let mut labels =
                    spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
                labels.insert(HASH.to_owned(), hash.clone());
                let revision = ControllerRevision {
                    metadata: ObjectMeta {
                        name: Some(format!("{}-{hash}", identity::name(set))),
                        namespace: set.metadata.namespace.clone(),
                        labels: Some(labels),
                        annotations: set.metadata.annotations.clone(),
                        owner_references: Some(vec![controller_ref(set)]),
                        ..ObjectMeta::default()
                    },
                    data: Some(RawExtension(data)),
                    revision: number,
                };
                if let Some(created) = revisions::create(&self.revisions, &revision, &spec.template).await? {
                    return Ok(Arc::new(created));
                }
                *collisions += 1;
            },
        }
    }

    /// Does it, in order; all at once when the set's pods are managed in parallel.
    async fn carry_out(&self, set: &StatefulSet, steps: Vec<Step>) -> Result<(), SyncError> {
        let parallel = set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) == Some("Parallel");
        if parallel {
            try_join_all(steps.into_iter().map(|step| self.step(set, step))).await?;
        } else {
            for step in steps {
                self.step(set, step).await?;
            }
        }
        Ok(())
    }

    async fn step(&self, set: &StatefulSet, step: Step) -> Result<(), SyncError> {
        match step {
            Step::Create(ordinal, pod) => self.create(set, ordinal, &pod).await,
            Step::Delete(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let deleted = self.pods.delete(&*pod).await;
                self.tell(set, "Delete", name, deleted.as_ref().err().map(message_of));
                Ok(deleted?)
            }
            Step::Keep(ordinal, pod) => {
                if pods::phase(&pod) == "Pending" {
                    self.claims.make(set, ordinal).await?;
                }
                self.claims.own(set, ordinal, &pod).await?;
                if !identity::is_labelled(set, &pod, ordinal) {
                    let labels =
                        json!({"metadata": {"uid": pod.metadata.uid, "labels": identity::labels(set, ordinal)}});
                    let patched = self.pods.patch(&Key::of(&*pod), &labels).await;
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    self.tell(set, "Update", name, patched.as_ref().err().map(message_of));
                    patched?;
                }
                Ok(())
            }
        }
    }

    async fn create(&self, set: &StatefulSet, ordinal: i32, pod: &Pod) -> Result<(), SyncError> {
        if self.claims.are_stale(set, ordinal, None) {
            // They go with the pod that had them; when they are gone the set is woken.
            return Ok(());
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if let Err(error) = self.claims.make(set, ordinal).await {
            let text = match &error {
                SyncError::Api(error) => message_of(error),
                SyncError::Other(text) => text.clone(),
            };
            self.tell(set, "Create", name, Some(text));
            return Err(error);
        }
        match self.pods.create(set.metadata.namespace.as_deref().unwrap_or_default(), pod).await {
            Ok(created) => {
                self.claims.own(set, ordinal, &created).await?;
                self.tell(set, "Create", name, None);
                Ok(())
            }
            Err(error) => {
                let known = matches!(&error, kube::Error::Api(status) if status.reason == "AlreadyExists");
                if !known && !is_terminating_namespace(&error) {
                    self.tell(set, "Create", name, Some(message_of(&error)));
                }
                Err(error.into())
            }
        }
    }

    /// Tells what became of a pod.
    fn tell(&self, set: &StatefulSet, verb: &str, pod: &str, failure: Option<String>) {
        let set_name = identity::name(set);
        match failure {
            None => {
                let reason = match verb {
                    "Create" => "SuccessfulCreate",
                    "Delete" => "SuccessfulDelete",
                    _ => "SuccessfulUpdate",
                };
                self.recorder.normal(set, reason, format!("{verb} Pod {pod} in StatefulSet {set_name} successful"));
            }
            Some(error) => {
                let reason = match verb {
                    "Create" => "FailedCreate",
                    "Delete" => "FailedDelete",
                    _ => "FailedUpdate",
                };
                let text = format!("{verb} Pod {pod} in StatefulSet {set_name} failed error: {error}");
                self.recorder.warning(set, reason, text);
            }
        }
    }

    /// Forgets the oldest revisions beyond those that are remembered.
    async fn forget(
        &self,
        set: &StatefulSet,
        sorted: &[Arc<ControllerRevision>],
        pods: &[Arc<Pod>],
        named: [&String; 2],
    ) -> Result<(), SyncError> {
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let mut live: Vec<&str> = pods.iter().map(|pod| identity::revision(pod)).collect();
        live.extend(named.map(String::as_str));
        for revision in history::surplus(sorted, &live, limit) {
            self.revisions.delete(&*revision).await?;
        }
        Ok(())
    }
}

fn readable(revision: &ControllerRevision) -> Result<Revision, SyncError> {
    let name = history::name(revision).to_owned();
    match history::template_of(revision) {
        Some(template) => Ok(Revision { name, template }),
        None => Err(SyncError::Other(format!("controller revision {name} keeps no template that can be read"))),
    }
}
