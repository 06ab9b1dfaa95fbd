//! Deployments: a ReplicaSet a template, and a rollout from one to the next.

mod plan;
mod sets;
mod status;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use component_base::SharedClock;
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    core::v1::Pod,
};
use serde_json::json;

use self::plan::{Observed, Plan, Step};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, is_conflict,
        is_terminating_namespace, message_of, now, parse_selector, spawn_workers, wake_controller,
        wake_owner_or_claimants,
    },
    pods,
};

/// Under which name it speaks.
const CONTROLLER: &str = "deployment-controller";
/// So many are worked on at a time.
const WORKERS: usize = 5;

struct Controller {
    deployments: Objects<Deployment>,
    sets: Objects<ReplicaSet>,
    pods: Informer<Pod>,
    recorder: Recorder,
    queue: Queue<Key>,
    clock: SharedClock,
}

/// Starts the controller.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(CONTROLLER);
    let deployments = context.informers.of::<Deployment>();
    let sets = context.informers.of::<ReplicaSet>();
    let pods = context.informers.of::<Pod>();
    let queue = Queue::new(context.clock.clone());
    let own = queue.clone();
    deployments.on_change(move |change| own.add(Key::of(&**change.object())));
    let (claimed, of) = (queue.clone(), deployments.clone());
    sets.on_change(move |change| wake_owner_or_claimants(&claimed, &of, change, selector));
    let (last, of, through) = (queue.clone(), deployments.clone(), sets.clone());
    pods.on_change(move |change| wake_recreating(&last, &of, &through, change));
    let controller = Arc::new(Controller {
        deployments: Objects::new(client.clone(), deployments, context.clock.clone()),
        sets: Objects::new(client, sets, context.clock.clone()),
        pods,
        recorder,
        queue: queue.clone(),
        clock: context.clock.clone(),
    });
    spawn_workers(context, CONTROLLER, WORKERS, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
}

fn selector(deployment: &Deployment) -> Result<apimachinery::selectors::LabelSelector, SyncError> {
    parse_selector(deployment.spec.as_ref().map(|spec| &spec.selector))
}

/// A Deployment that recreates waits for the last pod of its old sets to end.
fn wake_recreating(
    queue: &Queue<Key>,
    deployments: &Informer<Deployment>,
    sets: &Informer<ReplicaSet>,
    change: &Change<Pod>,
) {
    let ended = change.new.as_ref().is_none_or(|pod| pods::is_finished(pod));
    let Some(pod) = change.old.as_ref().filter(|_| ended) else { return };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(set) = controller_of(&**pod).and_then(|owner| sets.get(&Key::new(namespace, owner.name.as_str()))) else {
        return;
    };
    let recreates = |key: &Key| deployments.get(key).is_some_and(|deployment| !sets::rolls(&deployment));
    let owner = controller_of(&*set).map(|owner| Key::new(namespace, owner.name.as_str()));
    if owner.is_some_and(|key| recreates(&key)) {
        wake_controller::<Deployment, _>(queue, &Change { old: None, new: Some(set) });
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Outcome, SyncError> {
        let Some(deployment) = self.deployments.cache().get(&key) else { return Ok(Outcome::Done) };
        let selector = selector(&deployment)?;
        if selector.is_empty() {
            return self.selects_all(&deployment).await;
        }
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let candidates = self.sets.cache().claimable(&key.namespace, uid);
        let sets = self.sets.claim(&self.deployments, &*deployment, &selector, candidates).await?;
        let running = if sets::rolls(&deployment) { HashSet::new() } else { self.running(&sets) };
        let now = now(&self.clock);
        let Plan { steps, mut status, revision, again_at } =
            plan::plan(Observed { deployment: &deployment, sets, running, now: now.clone() });
        // A set may be changed twice, and its version moves in between.
        let mut versions = HashMap::new();
        for step in steps {
            self.carry_out(&deployment, step, &mut versions).await?;
        }
        status::stamp(&mut status, &now);
        self.tell(&deployment, status, revision).await?;
        if let Some(time) = again_at {
            self.queue.add_at(key, time);
        }
        Ok(Outcome::Done)
    }

    /// The uids of sets that have pods which have not ended.
    fn running(&self, sets: &[Arc<ReplicaSet>]) -> HashSet<String> {
        let runs = |uid: &&String| self.pods.controlled_by(uid).iter().any(|pod| !pods::is_finished(pod));
        sets.iter().filter_map(|set| set.metadata.uid.as_ref()).filter(runs).cloned().collect()
    }

    async fn selects_all(&self, deployment: &Deployment) -> Result<Outcome, SyncError> {
        let text = "This deployment is selecting all pods. A non-empty selector is required.";
        self.recorder.warning(deployment, "SelectingAll", text);
        let mut status = deployment.status.clone().unwrap_or_default();
        status.observed_generation = deployment.metadata.generation;
        self.tell(deployment, status, None).await?;
        Ok(Outcome::Done)
    }

    async fn carry_out(
        &self,
        deployment: &Deployment,
        step: Step,
        versions: &mut HashMap<Key, Option<String>>,
    ) -> Result<(), SyncError> {
        match step {
            Step::Create(set) => self.create(deployment, *set).await,
            Step::Update { set, scaled } => {
                let (key, spec) = (Key::of(&*set), set.spec.as_ref());
                let version = versions.get(&key).unwrap_or(&set.metadata.resource_version);
                let patch = json!({
                    "metadata": {"resourceVersion": version, "annotations": set.metadata.annotations},
                    "spec": {
                        "replicas": spec.and_then(|spec| spec.replicas),
                        "minReadySeconds": spec.and_then(|spec| spec.min_ready_seconds),
                    },
                });
                let changed = self.sets.patch(&key, &patch).await?;
                versions.insert(key, changed.metadata.resource_version);
                if let Some((from, to)) = scaled {
                    let direction = if to > from { "up" } else { "down" };
                    let name = set.metadata.name.as_deref().unwrap_or_default();
                    let text = format!("Scaled {direction} replica set {name} from {from} to {to}");
                    self.recorder.normal(deployment, "ScalingReplicaSet", text);
                }
                Ok(())
            }
            Step::Delete(set) => Ok(self.sets.delete(&*set).await?),
        }
    }

    async fn create(&self, deployment: &Deployment, set: ReplicaSet) -> Result<(), SyncError> {
        let name = set.metadata.name.clone().unwrap_or_default();
        let namespace = set.metadata.namespace.clone().unwrap_or_default();
        match self.sets.create(&namespace, &set).await {
            Ok(_) => {
                let size = sets::replicas(&set);
                if size > 0 {
                    let text = format!("Scaled up replica set {name} from 0 to {size}");
                    self.recorder.normal(deployment, "ScalingReplicaSet", text);
                }
                Ok(())
            }
            Err(error) if is_conflict(&error) => self.collision(deployment, &set, &Key::new(namespace, name)).await,
            Err(error) if is_terminating_namespace(&error) => Err(error.into()),
            Err(error) => {
                let text = format!("Failed to create new replica set \"{name}\": {}", message_of(&error));
                self.recorder.warning(deployment, status::CREATE_ERROR, text.clone());
                let mut status = deployment.status.clone().unwrap_or_default();
                status::note_create_failed(deployment, &mut status, text, &now(&self.clock));
                self.tell(deployment, status, None).await?;
                Err(error.into())
            }
        }
    }

    /// A set of that name is there: the wanted one, or another whose name has the same hash.
    async fn collision(&self, deployment: &Deployment, set: &ReplicaSet, key: &Key) -> Result<(), SyncError> {
        let there = self.sets.get(key).await?;
        let own = controller_of(&there).is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref());
        let templates = (|| Some((set.spec.as_ref()?.template.as_ref()?, there.spec.as_ref()?.template.as_ref()?)))();
        if own && templates.is_some_and(|(one, other)| sets::same_template(one, other)) {
            self.sets.cache().written(there);
            return Err(SyncError::Other(format!("replica set {key} was there and had not been seen yet")));
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        self.tell(deployment, status, None).await?;
        Err(SyncError::Other(format!("the name {key} is taken by another template")))
    }

    /// Writes what there is to say, if it is news.
    async fn tell(
        &self,
        deployment: &Deployment,
        status: DeploymentStatus,
        revision: Option<String>,
    ) -> Result<(), SyncError> {
        let mut told = deployment.clone();
        if let Some(revision) = revision {
            told.metadata.annotations.get_or_insert_default().insert(sets::REVISION.to_owned(), revision);
        }
        told.status = Some(status);
        if told.status.as_ref() != deployment.status.as_ref()
            || told.metadata.annotations != deployment.metadata.annotations
        {
            self.deployments.replace_status(&told).await?;
        }
        Ok(())
    }
}
