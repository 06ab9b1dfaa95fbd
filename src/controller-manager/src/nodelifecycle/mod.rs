//! The node lifecycle controller: notices nodes that have fallen silent, and taints nodes by how they are.
//!
//! A kubelet is heard by its Lease and its status. Time counts from when this process heard of it, so that a server that starts,
//! or was away, blames nobody.

pub mod plan;

use std::{collections::HashMap, sync::Arc, time::Duration};

use component_base::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, ObjectReference, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
};
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::json;

use crate::framework::{
    Context, Informer, Key, Objects, Outcome, Queue, Recorder, Severity, SyncError, is_gone, spawn_workers,
};

const NAME: &str = "node-controller";
const LEASES: &str = "kube-node-lease";
/// The index of pods by the node they are bound to.
pub(crate) const BY_NODE: &str = "node";

/// When a node was last heard.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    renewed: Option<MicroTime>,
    heartbeat: Option<Time>,
    at: Timestamp,
}

struct Controller {
    nodes: Objects<Node>,
    pods: Objects<Pod>,
    leases: Informer<Lease>,
    recorder: Recorder,
    clock: SharedClock,
    heard: Mutex<HashMap<String, Heard>>,
    /// When pods may next be driven off a node, by zone.
    next_eviction: Mutex<HashMap<String, Timestamp>>,
}

/// Lets pods be found by their node.
pub(crate) fn index_by_node(pods: &Informer<Pod>) {
    pods.add_index(BY_NODE, |pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect());
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (nodes, pods) = (context.informers.of::<Node>(), context.informers.of::<Pod>());
    let leases = context.informers.of::<Lease>();
    index_by_node(&pods);
    let queue = Queue::new(context.clock.clone());
    let of_node = queue.clone();
    nodes.on_change(move |change| of_node.add(change.object().name_any()));
    let of_lease = queue.clone();
    leases.on_change(move |change| {
        if change.object().namespace().as_deref() == Some(LEASES) {
            of_lease.add(change.object().name_any());
        }
    });
    let controller = Arc::new(Controller {
        nodes: Objects::new(client.clone(), nodes, context.clock.clone()),
        pods: Objects::new(client, pods, context.clock.clone()),
        leases,
        recorder,
        clock: context.clock.clone(),
        heard: Mutex::default(),
        next_eviction: Mutex::default(),
    });
    spawn_workers(context, NAME, 2, &queue, move |name: String| {
        let controller = controller.clone();
        async move { controller.sync(&name).await }
    });
}

/// A reference to a node, as events of this controller have it.
fn of_node(name: &str, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid,
        ..ObjectReference::default()
    }
}

impl Controller {
    async fn sync(&self, name: &str) -> Result<Outcome, SyncError> {
        let key = Key::new("", name);
        let Some(node) = self.nodes.cache().get(&key) else {
            if self.heard.lock().remove(name).is_some() {
                self.say(
                    of_node(name, None),
                    "RemovingNode",
                    format!("Node {name} event: Removing Node {name} from Controller"),
                );
            }
            return Ok(Outcome::Done);
        };
        let now = self.clock.now();
        let silent_at = self.listen(name, &node, now);
        let mut node = node;
        if now >= silent_at
            && let Some(conditions) = plan::silent(&node, now)
        {
            let was_ready = plan::readiness(&node) == "True";
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "status": {"conditions": conditions}});
            node = match self.nodes.patch_status(&key, &patch).await {
                Err(error) if is_gone(&error) => return Ok(Outcome::Done),
                answer => Arc::new(answer?),
            };
            if was_ready {
                let words = format!("Node {name} status is now: NodeNotReady");
                self.say(of_node(name, node.uid()), "NodeNotReady", words);
                self.pods_not_ready(name).await?;
            }
        }
        let may_evict = self.may_evict(&node, now);
        let evict = matches!(may_evict, Ok(true));
        let taints = plan::taints(&node, evict, now);
        let labels = plan::labels(&node);
        if taints.is_some() || !labels.is_empty() {
            let mut patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}});
            if let Some(taints) = taints {
                patch["spec"] = json!({"taints": taints});
            }
            if !labels.is_empty() {
                patch["metadata"]["labels"] = json!(labels);
            }
            match self.nodes.patch(&key, &patch).await {
                Err(error) if is_gone(&error) => return Ok(Outcome::Done),
                answer => answer?,
            };
        }
        let wait = |until: Timestamp| Duration::try_from(until.duration_since(now)).unwrap_or_default();
        Ok(match may_evict {
            Err(next) => Outcome::After(wait(next)),
            Ok(_) if silent_at > now => Outcome::After(wait(silent_at)),
            Ok(_) => Outcome::Done,
        })
    }

    /// Takes in what is heard of a node; until when it need not say more.
    fn listen(&self, name: &str, node: &Node, now: Timestamp) -> Timestamp {
        let ready = plan::condition(node, "Ready");
        let lease = self.leases.get(&Key::new(LEASES, name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
        let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time.clone());
        let mut heard = self.heard.lock();
        let last = match heard.get_mut(name) {
            None => {
                let words = format!("Node {name} event: Registered Node {name} in Controller");
                self.say(of_node(name, node.uid()), "RegisteredNode", words);
                heard.entry(name.to_owned()).or_insert(Heard { renewed, heartbeat, at: now })
            }
            Some(last) => {
                // What this controller wrote itself is not the kubelet's voice.
                let spoke = ready.is_some_and(|ready| ready.status != "Unknown") && last.heartbeat != heartbeat;
                if last.renewed != renewed || spoke {
                    last.at = now;
                }
                (last.renewed, last.heartbeat) = (renewed, heartbeat);
                last
            }
        };
        let grace = if ready.is_some() { plan::GRACE_SECONDS } else { plan::STARTUP_GRACE_SECONDS };
        last.at.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now)
    }

    /// Whether pods may be driven off a node that is not ready; else when that is to be asked again.
    fn may_evict(&self, node: &Node, now: Timestamp) -> Result<bool, Timestamp> {
        if plan::readiness(node) == "True" {
            return Ok(false);
        }
        let nodes = self.nodes.cache().list();
        let (zones, zone) = (plan::zones(nodes.iter().map(|node| &**node)), plan::zone(node));
        let Some(interval) = plan::eviction_interval(&zones, &zone) else { return Ok(false) };
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        if taints.into_iter().any(|taint| taint.effect == "NoExecute" && taint.key.starts_with("node.kubernetes.io/")) {
            return Ok(true);
        }
        let mut next = self.next_eviction.lock();
        match next.get(&zone) {
            Some(next) if *next > now => Err(*next),
            _ => {
                next.insert(zone, now.checked_add(SignedDuration::from_secs(interval)).unwrap_or(now));
                Ok(true)
            }
        }
    }

    /// Nobody knows of the pods of a silent node; they take no more requests.
    async fn pods_not_ready(&self, node: &str) -> Result<(), SyncError> {
        for pod in self.pods.cache().by_index(BY_NODE, node) {
            let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            let Some(ready) = conditions.iter_mut().find(|one| one.type_ == "Ready" && one.status != "False") else {
                continue;
            };
            ready.status = "False".to_owned();
            ready.last_transition_time = Some(Time(self.clock.now()));
            let meta = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
            let patch = json!({"metadata": meta, "status": {"conditions": conditions}});
            self.recorder.warning(&*pod, "NodeNotReady", "Node is not ready");
            match self.pods.patch_status(&Key::of(&*pod), &patch).await {
                Err(error) if !is_gone(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn say(&self, node: ObjectReference, reason: &'static str, words: String) {
        self.recorder.event_of(node, Severity::Normal, reason, words);
    }
}
