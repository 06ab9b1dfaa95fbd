//! The pod garbage collector: removes pods that have no kubelet to do it, and those that ended when they become too many.

pub mod plan;

use std::{collections::HashMap, sync::Arc, time::Duration};

use component_base::SharedClock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Client, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::Request,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::plan::{Place, Step};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, SyncError, is_conflict, is_gone, spawn_workers,
    },
    nodelifecycle::{BY_NODE, index_by_node},
    pods,
    tainteviction::mark_disrupted,
};

const NAME: &str = "pod-garbage-collector";

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Work {
    Pod(Key),
    Ended,
}

struct Collector {
    client: Client,
    nodes: Informer<Node>,
    pods: Objects<Pod>,
    clock: SharedClock,
    /// Since when a node that pods name has been missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let (nodes, pods) = (context.informers.of::<Node>(), context.informers.of::<Pod>());
    index_by_node(&pods);
    let queue = Queue::new(context.clock.clone());
    let (of_node, bound) = (queue.clone(), pods.clone());
    nodes.on_change(move |change| {
        for pod in bound.by_index(BY_NODE, &change.object().name_any()) {
            if change.new.is_none() || pods::is_deleting(&pod) {
                of_node.add(Work::Pod(Key::of(&*pod)));
            }
        }
    });
    let (of_pod, all) = (queue.clone(), pods.clone());
    pods.on_change(move |Change { old, new }| {
        let Some(pod) = new else { return };
        let stands = |pod: &Pod| (pods::is_deleting(pod), pods::node_name(pod).to_owned());
        if old.as_ref().is_none_or(|old| stands(old) != stands(pod)) {
            of_pod.add(Work::Pod(Key::of(&**pod)));
        }
        if pods::is_finished(pod) && all.len() > plan::TERMINATED_MAX {
            of_pod.add(Work::Ended);
        }
    });
    let collector = Arc::new(Collector {
        client: client.clone(),
        nodes,
        pods: Objects::new(client, pods, context.clock.clone()),
        clock: context.clock.clone(),
        missing: Mutex::default(),
    });
    spawn_workers(context, NAME, 1, &queue, move |work| {
        let collector = collector.clone();
        async move {
            match work {
                Work::Pod(key) => collector.sync(&key).await,
                Work::Ended => collector.sweep().await,
            }
        }
    });
}

impl Collector {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(pod) = self.pods.cache().get(key) else { return Ok(Outcome::Done) };
        let name = pods::node_name(&pod);
        let node = self.nodes.get(&Key::new("", name));
        let place = match &node {
            _ if name.is_empty() => Place::Unscheduled,
            None => Place::Missing,
            Some(node) => Place::Node(node),
        };
        match plan::plan(&pod, place) {
            Step::Stay => {
                self.missing.lock().remove(name);
            }
            Step::Remove(why) => self.remove(&pod, why).await?,
            Step::Quarantine => {
                let now = self.clock.now();
                let since = *self.missing.lock().entry(name.to_owned()).or_insert(now);
                let until = since.checked_add(plan::QUARANTINE).unwrap_or(now);
                if until > now {
                    return Ok(Outcome::After(Duration::try_from(until.duration_since(now)).unwrap_or_default()));
                }
                if self.is_there(name).await? {
                    return Ok(Outcome::Done);
                }
                self.remove(&pod, Some(plan::NODE_GONE)).await?;
            }
        }
        Ok(Outcome::Done)
    }

    async fn sweep(&self) -> Result<Outcome, SyncError> {
        for pod in plan::too_many(self.pods.cache().list(), plan::TERMINATED_MAX) {
            self.remove(&pod, None).await?;
        }
        Ok(Outcome::Done)
    }

    /// Whether a node is there, past the cache.
    async fn is_there(&self, node: &str) -> Result<bool, SyncError> {
        let request = Request::new(Node::url_path(&(), None)).get_metadata(node, &Default::default());
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if is_gone(&error) => Ok(false),
            answer => Ok(answer.map(|_| true)?),
        }
    }

    /// Marks a pod as failed unless it has ended, and deletes it without grace.
    async fn remove(&self, pod: &Pod, why: Option<(&str, &str)>) -> Result<(), SyncError> {
        let key = Key::of(pod);
        let failed = (!pods::is_finished(pod)).then_some("Failed");
        let there = match (why, failed) {
            (Some((reason, message)), _) => {
                mark_disrupted(&self.pods, pod, reason, message, failed, self.clock.now()).await?
            }
            (None, Some(phase)) => {
                let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": phase}});
                match self.pods.patch_status(&key, &patch).await {
                    Err(error) if is_gone(&error) => false,
                    answer => answer.map(|_| true)?,
                }
            }
            (None, None) => true,
        };
        if !there {
            return Ok(());
        }
        let only = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }.preconditions(only);
        let request = Request::new(Pod::url_path(&(), Some(&key.namespace))).delete(&key.name, &params);
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if !is_gone(&error) && !is_conflict(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
