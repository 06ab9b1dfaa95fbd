//! DaemonSets: one pod on every node that it belongs to.

mod plan;
mod template;

use std::{collections::HashMap, sync::Arc, time::Duration};

use apimachinery::selectors::LabelSelector;
use component_base::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use parking_lot::Mutex;

use self::plan::{Observed, Plan};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_ref,
        is_terminating_namespace, labels_of, message_of, now, parse_selector, slow_start, spawn_workers,
        wake_controller, wake_owner_or_claimants,
    },
    hash, history, pods, revisions,
};

/// Under which name it speaks, and under which it tells what it did.
const ACCOUNT: &str = "daemon-set-controller";
const COMPONENT: &str = "daemonset-controller";
/// So many are worked on at a time.
const WORKERS: usize = 2;
/// So many pods are created or deleted before the next look.
const BURST: usize = 250;
/// A pod that fails on a node is replaced after a second, then two, up to a quarter of an hour.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);

struct Controller {
    sets: Objects<DaemonSet>,
    pods: Objects<Pod>,
    revisions: Objects<ControllerRevision>,
    nodes: Informer<Node>,
    recorder: Recorder,
    queue: Queue<Key>,
    clock: SharedClock,
    /// When a pod of a set last failed on a node, and for how long the next is waited with.
    failures: Mutex<HashMap<(Key, String), (Timestamp, SignedDuration)>>,
}

/// Starts the controller.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity_as(ACCOUNT, COMPONENT);
    let sets = context.informers.of::<DaemonSet>();
    let pods = context.informers.of::<Pod>();
    let revisions = context.informers.of::<ControllerRevision>();
    let nodes = context.informers.of::<Node>();
    let queue = Queue::new(context.clock.clone());
    let own = queue.clone();
    sets.on_change(move |change| own.add(Key::of(&**change.object())));
    let (claimed, of) = (queue.clone(), sets.clone());
    pods.on_change(move |change| wake_owner_or_claimants(&claimed, &of, change, selector));
    let rolled = queue.clone();
    revisions.on_change(move |change| wake_controller::<DaemonSet, _>(&rolled, change));
    let (all, of) = (queue.clone(), sets.clone());
    nodes.on_change(move |change| {
        if says_where(change) {
            of.list().iter().for_each(|set| all.add(Key::of(&**set)));
        }
    });
    let clock = &context.clock;
    let controller = Arc::new(Controller {
        sets: Objects::new(client.clone(), sets, clock.clone()),
        pods: Objects::new(client.clone(), pods, clock.clone()),
        revisions: Objects::new(client, revisions, clock.clone()),
        nodes,
        recorder,
        queue: queue.clone(),
        clock: clock.clone(),
        failures: Mutex::default(),
    });
    spawn_workers(context, COMPONENT, WORKERS, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
}

fn selector(set: &DaemonSet) -> Result<LabelSelector, SyncError> {
    parse_selector(set.spec.as_ref().map(|spec| &spec.selector))
}

/// Whether a change of a node may change which pods belong there; its heartbeats do not.
fn says_where(change: &Change<Node>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return true };
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    labels_of(&**old) != labels_of(&**new) || taints(old) != taints(new)
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Outcome, SyncError> {
        let Some(set) = self.sets.cache().get(&key) else {
            self.failures.lock().retain(|(of, _), _| *of != key);
            return Ok(Outcome::Done);
        };
        let selector = selector(&set)?;
        if selector.is_empty() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&*set, "SelectingAll", text);
            return Ok(Outcome::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        let all = revisions::of(&self.revisions, &self.sets, &*set, &selector).await?;
        let current = self.current(&set, &all).await?;
        let hash = labels_of(&*current).get(template::REVISION).cloned().unwrap_or_default();
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let candidates = self.pods.cache().claimable(&key.namespace, uid);
        let pods = self.pods.claim(&self.sets, &*set, &selector, candidates).await?;
        let template = template::of(&set, &hash);
        let nodes = self.nodes.list();
        let observed =
            |pods| Observed { set: &set, template: &template, hash: &hash, nodes: &nodes, pods, now: self.clock.now() };
        let done = self.carry_out(&key, &set, &observed(&pods)).await;
        // What was done is in the cache already.
        let pods = self.pods.cache().controlled_by(uid);
        let status = plan::status(&observed(&pods));
        if set.status.as_ref() != Some(&status) {
            let told = DaemonSet { status: Some(status), ..DaemonSet::clone(&set) };
            self.sets.replace_status(&told).await?;
        }
        done?;
        self.forget(&set, &all, &current, &pods).await?;
        Ok(pods::next_availability(&pods, plan::min_ready(&set), now(&self.clock).0).into())
    }

    async fn carry_out(&self, key: &Key, set: &DaemonSet, observed: &Observed<'_>) -> Result<(), SyncError> {
        let Plan { mut create, mut delete, ended } = plan::plan(observed);
        for (node, pod) in ended {
            if self.may_replace(key, set, &node, &pod) {
                delete.push(pod);
            }
        }
        create.truncate(BURST);
        delete.truncate(BURST);
        let pods: Vec<Pod> = create.iter().map(|node| template::pod_for(set, observed.template, node)).collect();
        let (_, not_created) = slow_start(pods.len(), |at| self.create(set, &pods[at])).await;
        let (_, not_deleted) = slow_start(delete.len(), |at| self.delete(set, &delete[at])).await;
        match not_created.or(not_deleted) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    async fn create(&self, set: &DaemonSet, pod: &Pod) -> kube::Result<()> {
        match self.pods.create(set.metadata.namespace.as_deref().unwrap_or_default(), pod).await {
            Ok(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                self.recorder.normal(set, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) => {
                if !is_terminating_namespace(&error) {
                    self.recorder.warning(set, "FailedCreate", format!("Error creating: {}", message_of(&error)));
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &DaemonSet, pod: &Pod) -> kube::Result<()> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let deleted = self.pods.delete(pod).await;
        match &deleted {
            Ok(()) => self.recorder.normal(set, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(error) => {
                self.recorder.warning(set, "FailedDelete", format!("Error deleting: {}", message_of(error)));
            }
        }
        deleted
    }

    /// Whether a pod that has ended goes now; a node on which they keep failing is not flooded with more.
    fn may_replace(&self, key: &Key, set: &DaemonSet, node: &str, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let place = format!("{}/{name} on node {node}", key.namespace);
        if pods::phase(pod) == "Succeeded" {
            let text = format!("Found succeeded daemon pod {place}, will try to delete it");
            self.recorder.normal(set, "SucceededDaemonPod", text);
            return true;
        }
        let now = self.clock.now();
        let mut failures = self.failures.lock();
        let failure = failures.entry((key.clone(), node.to_owned()));
        let (last, pause) = match &failure {
            std::collections::hash_map::Entry::Occupied(there) => *there.get(),
            std::collections::hash_map::Entry::Vacant(_) => (Timestamp::UNIX_EPOCH, SignedDuration::ZERO),
        };
        let since = now.duration_since(last);
        if since < pause {
            self.queue.add_after(key.clone(), Duration::try_from(pause - since).unwrap_or_default());
            return false;
        }
        // After twice the longest pause without a failure it begins anew.
        let fresh = pause.is_zero() || since > LONGEST_PAUSE * 2;
        let next = if fresh { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        failure.insert_entry((now, next));
        let text = format!("Found failed daemon pod {place}, will try to kill it");
        self.recorder.warning(set, "FailedDaemonPod", text);
        true
    }

    /// The revision of the present template, found, renumbered or made.
    async fn current(
        &self,
        set: &DaemonSet,
        sorted: &[Arc<ControllerRevision>],
    ) -> Result<Arc<ControllerRevision>, SyncError> {
        let Some(spec) = &set.spec else { return Err(SyncError::Other("a DaemonSet without a spec".to_owned())) };
        let (equal, others): (Vec<_>, Vec<_>) =
            sorted.iter().partition(|revision| history::keeps(revision, &spec.template));
        let number = others.last().map_or(1, |last| last.revision + 1);
        if let Some(current) = equal.last() {
            if current.revision >= number {
                return Ok(Arc::clone(current));
            }
            return Ok(Arc::new(revisions::renumber(&self.revisions, current, number).await?));
        }
        let mut collisions = set.status.as_ref().and_then(|status| status.collision_count);
        loop {
            let hash = hash::of(&spec.template, collisions);
            let mut labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
            labels.insert(template::REVISION.to_owned(), hash.clone());
            let revision = ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(format!("{}-{hash}", set.metadata.name.as_deref().unwrap_or_default())),
                    namespace: set.metadata.namespace.clone(),
                    labels: Some(labels),
                    annotations: set.metadata.annotations.clone(),
                    owner_references: Some(vec![controller_ref(set)]),
                    ..ObjectMeta::default()
                },
                data: Some(RawExtension(history::data_of(&spec.template))),
                revision: number,
            };
            if let Some(created) = revisions::create(&self.revisions, &revision, &spec.template).await? {
                if collisions != set.status.as_ref().and_then(|status| status.collision_count) {
                    let mut told = set.clone();
                    told.status.get_or_insert_default().collision_count = collisions;
                    self.sets.replace_status(&told).await?;
                }
                return Ok(Arc::new(created));
            }
            collisions = Some(collisions.unwrap_or_default() + 1);
        }
    }

    /// Forgets the oldest revisions beyond those that are remembered, unless a pod is of them.
    async fn forget(
        &self,
        set: &DaemonSet,
        sorted: &[Arc<ControllerRevision>],
        current: &ControllerRevision,
        pods: &[Arc<Pod>],
    ) -> Result<(), SyncError> {
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let used = |revision: &&Arc<ControllerRevision>| {
            let hash = labels_of(&***revision).get(template::REVISION);
            pods.iter().any(|pod| labels_of(&**pod).get(template::REVISION) == hash)
        };
        let mut live: Vec<&str> = sorted.iter().filter(used).map(|revision| history::name(revision)).collect();
        live.push(history::name(current));
        // Those in use count, but stay.
        let old = sorted.iter().filter(|revision| history::name(revision) != history::name(current)).count();
        let kill = old.saturating_sub(usize::try_from(limit).unwrap_or_default());
        for revision in history::surplus(sorted, &live, 0).into_iter().take(kill) {
            self.revisions.delete(&*revision).await?;
        }
        Ok(())
    }
}
