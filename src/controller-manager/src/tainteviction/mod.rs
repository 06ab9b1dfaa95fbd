//! The taint eviction controller: deletes pods that do not bear a `NoExecute` taint of their node, or not any longer.

pub mod plan;

use std::{collections::HashMap, sync::Arc, time::Duration};

use component_base::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Node, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::json;

use self::plan::Stay;
use crate::{
    framework::{Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, is_gone, spawn_workers},
    nodelifecycle::{BY_NODE, index_by_node},
};

const NAME: &str = "taint-eviction-controller";
/// The account that it works as is the node controller's.
const IDENTITY: &str = "node-controller";

struct Controller {
    nodes: Informer<Node>,
    pods: Objects<Pod>,
    recorder: Recorder,
    clock: SharedClock,
    /// Since when a pod, by uid, has been seen to bear its node's taints.
    since: Mutex<HashMap<String, Timestamp>>,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(IDENTITY);
    let (nodes, pods) = (context.informers.of::<Node>(), context.informers.of::<Pod>());
    index_by_node(&pods);
    let queue = Queue::new(context.clock.clone());
    let (of_node, bound) = (queue.clone(), pods.clone());
    nodes.on_change(move |Change { old, new }| {
        let Some(node) = new else { return };
        if old.as_ref().is_none_or(|old| no_execute(old) != no_execute(node)) {
            bound.by_index(BY_NODE, &node.name_any()).iter().for_each(|pod| of_node.add(Key::of(&**pod)));
        }
    });
    let of_pod = queue.clone();
    let bearing = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.tolerations.clone()));
    pods.on_change(move |Change { old, new }| {
        if old.as_deref().map(bearing) != new.as_deref().map(bearing) {
            of_pod.add(Key::of(&**old.as_ref().or(new.as_ref()).expect("a change has a before or an after")));
        }
    });
    let controller = Arc::new(Controller {
        nodes,
        pods: Objects::new(client, pods, context.clock.clone()),
        recorder,
        clock: context.clock.clone(),
        since: Mutex::default(),
    });
    spawn_workers(context, NAME, 4, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

fn no_execute(node: &Node) -> Vec<k8s_openapi::api::core::v1::Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(pod) = self.pods.cache().get(key).filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            return Ok(Outcome::Done);
        };
        let uid = pod.uid().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let Some(node) = self.nodes.get(&Key::new("", node)) else { return Ok(Outcome::Done) };
        let now = self.clock.now();
        let Stay::For(stay) = plan::plan(&pod, &no_execute(&node)) else {
            if self.since.lock().remove(&uid).is_some() {
                self.recorder.normal(&*pod, "TaintManagerEviction", format!("Cancelling deletion of Pod {key}"));
            }
            return Ok(Outcome::Done);
        };
        let since = *self.since.lock().entry(uid.clone()).or_insert(now);
        let until =
            since.checked_add(SignedDuration::try_from(stay).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX);
        if until > now {
            return Ok(Outcome::After(Duration::try_from(until.duration_since(now)).unwrap_or_default()));
        }
        self.recorder.normal(&*pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        let words = "Taint manager: deleting due to NoExecute taint";
        if !mark_disrupted(&self.pods, &pod, "DeletionByTaintManager", words, None, now).await? {
            self.since.lock().remove(&uid);
            return Ok(Outcome::Done);
        }
        self.pods.delete(&*pod).await?;
        self.since.lock().remove(&uid);
        Ok(Outcome::Done)
    }
}

/// Says in a pod's status why it is about to go, and in which phase it ends; whether the pod is still there.
pub(crate) async fn mark_disrupted(
    pods: &Objects<Pod>,
    pod: &Pod,
    reason: &str,
    message: &str,
    phase: Option<&str>,
    now: Timestamp,
) -> Result<bool, SyncError> {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut condition = PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|one| one.type_ == condition.type_) {
        Some(there) => {
            if there.status == condition.status {
                condition.last_transition_time.clone_from(&there.last_transition_time);
            }
            *there = condition;
        }
        None => conditions.push(condition),
    }
    let mut patch = json!({
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": conditions},
    });
    if let Some(phase) = phase {
        patch["status"]["phase"] = phase.into();
    }
    match pods.patch_status(&Key::of(pod), &patch).await {
        Err(error) if is_gone(&error) => Ok(false),
        answer => Ok(answer.map(|_| true)?),
    }
}
