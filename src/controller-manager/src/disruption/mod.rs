//! The disruption controller: counts what each PodDisruptionBudget still allows, which evictions then use up.

pub mod plan;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use apimachinery::kinds::split_api_version;
use component_base::SharedClock;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v1::Scale,
        core::v1::{Pod, ReplicationController},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};
use kube::{Client, ResourceExt, core::Request};
use serde_json::json;

use self::plan::Expected;
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, is_conflict,
        is_gone, labels_of, parse_selector, spawn_workers,
    },
    inventory::Inventory,
    pods,
};

const NAME: &str = "disruption-controller";

struct Controller {
    client: Client,
    budgets: Objects<PodDisruptionBudget>,
    pods: Objects<Pod>,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    stateful: Informer<StatefulSet>,
    replication: Informer<ReplicationController>,
    inventory: Inventory,
    recorder: Recorder,
    clock: SharedClock,
}

/// Starts it.
pub fn start(context: &Context, inventory: &Inventory) {
    let (client, recorder) = context.identity(NAME);
    let (budgets, pods) = (context.informers.of::<PodDisruptionBudget>(), context.informers.of::<Pod>());
    let (queue, stale) = (Queue::new(context.clock.clone()), Queue::new(context.clock.clone()));
    let of_budget = queue.clone();
    budgets.on_change(move |change| of_budget.add(Key::of(&**change.object())));
    let (of_pod, all, marked) = (queue.clone(), budgets.clone(), stale.clone());
    pods.on_change(move |Change { old, new }| {
        let counts = |pod: &Pod| (pods::is_deleting(pod), pods::is_ready(pod), labels_of(pod).clone());
        if old.as_deref().map(counts) != new.as_deref().map(counts) {
            let namespace = old.as_ref().or(new.as_ref()).and_then(|pod| pod.namespace()).unwrap_or_default();
            for budget in all.in_namespace(&namespace) {
                let Ok(selector) = selector_of(&budget) else { continue };
                if old.iter().chain(new).any(|pod| selector.matches(labels_of(&**pod))) {
                    of_pod.add(Key::of(&*budget));
                }
            }
        }
        if let Some(pod) = new
            && let Some(at) = stale_at(pod)
        {
            marked.add_at(Key::of(&**pod), at);
        }
    });
    let controller = Arc::new(Controller {
        client: client.clone(),
        budgets: Objects::new(client.clone(), budgets, context.clock.clone()),
        pods: Objects::new(client, pods, context.clock.clone()),
        sets: context.informers.of(),
        deployments: context.informers.of(),
        stateful: context.informers.of(),
        replication: context.informers.of(),
        inventory: inventory.clone(),
        recorder,
        clock: context.clock.clone(),
    });
    let (counting, unmarking) = (controller.clone(), controller);
    spawn_workers(context, NAME, 2, &queue, move |key| {
        let controller = counting.clone();
        async move { controller.sync(&key).await }
    });
    spawn_workers(context, NAME, 1, &stale, move |key| {
        let controller = unmarking.clone();
        async move { controller.unmark(&key).await }
    });
}

fn selector_of(budget: &PodDisruptionBudget) -> Result<apimachinery::selectors::LabelSelector, SyncError> {
    parse_selector(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

/// When a pod that says it is about to be disrupted, and still is there, is not any more.
fn stale_at(pod: &Pod) -> Option<Timestamp> {
    let marked = pods::condition(pod, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let since = marked.last_transition_time.as_ref()?.0;
    pods::is_active(pod).then(|| since.checked_add(plan::STALE).unwrap_or(Timestamp::MAX))
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(budget) = self.budgets.cache().get(key) else { return Ok(Outcome::Done) };
        match self.count(key, &budget).await {
            Err(SyncError::Api(error)) if is_conflict(&error) || is_gone(&error) => Err(error.into()),
            Err(error) => {
                let status = plan::failed(&budget, &error.to_string(), self.clock.now());
                self.write(&budget, status).await?;
                Err(error)
            }
            done => done,
        }
    }

    async fn count(&self, key: &Key, budget: &PodDisruptionBudget) -> Result<Outcome, SyncError> {
        let selector = selector_of(budget)?;
        let all = self.pods.cache().in_namespace(&key.namespace);
        let selected: Vec<&Pod> =
            all.iter().map(|pod| &**pod).filter(|pod| selector.matches(labels_of(*pod))).collect();
        if selected.is_empty() {
            self.recorder.normal(budget, "NoPods", "No matching pods found");
        }
        let expected = match plan::expected(budget) {
            Expected::Present => i32::try_from(selected.len()).unwrap_or(i32::MAX),
            Expected::Scale => self.scale_of(&selected, key, budget).await.inspect_err(|error| {
                let words = format!("Failed to calculate the number of expected pods: {error}");
                self.recorder.warning(budget, "CalculateExpectedPodCountFailed", words);
            })?,
        };
        let now = self.clock.now();
        let plan = plan::plan(budget, &selected, expected, now);
        for pod in selected.iter().filter(|pod| plan.overdue.contains(&pod.name_any())) {
            let words = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            self.recorder.warning(*pod, "NotDeleted", words);
        }
        self.write(budget, plan.status).await?;
        Ok(plan
            .recheck
            .map_or(Outcome::Done, |at| Outcome::After(Duration::try_from(at.duration_since(now)).unwrap_or_default())))
    }

    /// How many pods the controllers of these pods want together.
    async fn scale_of(&self, selected: &[&Pod], key: &Key, budget: &PodDisruptionBudget) -> Result<i32, SyncError> {
        let mut scales: BTreeMap<String, i32> = BTreeMap::new();
        let mut asked: HashMap<&str, ()> = HashMap::new();
        let mut unmanaged = false;
        for pod in selected {
            let Some(owner) = controller_of(*pod) else {
                unmanaged = true;
                continue;
            };
            if asked.insert(&owner.uid, ()).is_some() {
                continue;
            }
            let found = self.scale(owner, &key.namespace).await?;
            let (uid, scale) =
                found.ok_or_else(|| SyncError::Other(format!("found no controllers for pod {:?}", pod.name_any())))?;
            scales.insert(uid, scale);
        }
        if unmanaged {
            let selector = budget
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.as_ref())
                .map(|selector| json!(selector).to_string());
            self.recorder.warning(budget, "UnmanagedPods", format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB \
                 cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
                 \".spec.minAvailable\" field of the PDB to an integer value.",
                selector.unwrap_or_default()
            ));
        }
        Ok(scales.values().copied().fold(0, i32::saturating_add))
    }

    /// The controller that decides how many pods there are, by uid, and how many it wants.
    async fn scale(&self, owner: &OwnerReference, namespace: &str) -> Result<Option<(String, i32)>, SyncError> {
        let (group, _) = split_api_version(&owner.api_version);
        let key = Key::new(namespace, owner.name.as_str());
        let replicas = |count: Option<i32>| count.unwrap_or(1);
        let found = match (group, owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let Some(set) = self.sets.get(&key).filter(|set| set.uid().as_ref() == Some(&owner.uid)) else {
                    return Ok(None);
                };
                let above = controller_of(&*set).filter(|owner| owner.kind == "Deployment");
                let above = above.and_then(|owner| {
                    let deployment = self.deployments.get(&Key::new(namespace, owner.name.as_str()))?;
                    (deployment.uid().as_ref() == Some(&owner.uid)).then_some(deployment)
                });
                match above {
                    Some(deployment) => {
                        (deployment.uid(), deployment.spec.as_ref().map_or(1, |spec| replicas(spec.replicas)))
                    }
                    None => (set.uid(), set.spec.as_ref().map_or(1, |spec| replicas(spec.replicas))),
                }
            }
            ("apps", "StatefulSet") => match self.stateful.get(&key) {
                Some(set) => (set.uid(), set.spec.as_ref().map_or(1, |spec| replicas(spec.replicas))),
                None => return Ok(None),
            },
            ("", "ReplicationController") => match self.replication.get(&key) {
                Some(controller) => {
                    (controller.uid(), controller.spec.as_ref().map_or(1, |spec| replicas(spec.replicas)))
                }
                None => return Ok(None),
            },
            _ => return self.scale_subresource(owner, namespace).await,
        };
        Ok(found.0.filter(|uid| *uid == owner.uid || owner.kind == "ReplicaSet").map(|uid| (uid, found.1)))
    }

    /// Whatever has a scale counts.
    async fn scale_subresource(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, SyncError> {
        let (group, _) = split_api_version(&owner.api_version);
        let Some(resource) = self.inventory.of_kind(group, &owner.kind) else { return Ok(None) };
        let request = Request::new(resource.path(namespace)).get_subresource("scale", &owner.name);
        match self.client.request::<Scale>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if is_gone(&error) => {
                Err(SyncError::Other(format!("{}.{group} does not implement the scale subresource", resource.plural)))
            }
            answer => {
                let scale = answer?;
                let wanted = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
                Ok(scale.metadata.uid.filter(|uid| *uid == owner.uid).map(|uid| (uid, wanted)))
            }
        }
    }

    async fn write(&self, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> Result<(), SyncError> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        match self.budgets.replace_status(&changed).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A pod that was to be disrupted, and was not, stops saying so.
    async fn unmark(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(pod) = self.pods.cache().get(key) else { return Ok(Outcome::Done) };
        let now = self.clock.now();
        if stale_at(&pod).is_none_or(|at| at > now) {
            return Ok(Outcome::Done);
        }
        let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        for condition in conditions.iter_mut().filter(|condition| condition.type_ == "DisruptionTarget") {
            condition.status = "False".to_owned();
            (condition.reason, condition.message) = (None, None);
            condition.last_transition_time = Some(Time(now));
        }
        let meta = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
        match self.pods.patch_status(key, &json!({"metadata": meta, "status": {"conditions": conditions}})).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(Outcome::Done),
        }
    }
}
