//! The TTL controller: tells kubelets by an annotation for how long they may keep what pods read.

pub mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::json;

use crate::framework::{Context, Key, Objects, Outcome, Queue, is_gone, spawn_workers};

const NAME: &str = "ttl-controller";
const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let nodes = context.informers.of::<Node>();
    let queue = Queue::new(context.clock.clone());
    let (changed, all) = (queue.clone(), nodes.clone());
    let last: Arc<Mutex<Option<u32>>> = Arc::default();
    let current = last.clone();
    nodes.on_change(move |change| {
        let step = plan::seconds(all.len(), *current.lock());
        // All are told when the cluster has grown or shrunk into another step.
        if current.lock().replace(step) != Some(step) {
            all.list().iter().for_each(|node| changed.add(Key::of(&**node)));
        }
        changed.add(Key::of(&**change.object()));
    });
    let nodes = Objects::new(client, nodes, context.clock.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (nodes, last) = (nodes.clone(), last.clone());
        async move {
            let Some(node) = nodes.cache().get(&key) else { return Ok(Outcome::Done) };
            let seconds = plan::seconds(nodes.cache().len(), *last.lock()).to_string();
            if node.annotations().get(ANNOTATION) == Some(&seconds) {
                return Ok(Outcome::Done);
            }
            match nodes.patch(&key, &json!({"metadata": {"annotations": {ANNOTATION: seconds}}})).await {
                Err(error) if !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
