//! The node IPAM controller: gives every node a range of pod addresses of its own.

pub mod plan;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::ResourceExt;
use serde_json::json;

use crate::framework::{Context, Key, Objects, Outcome, Queue, Severity, is_gone, spawn_workers};

const NAME: &str = "node-ipam-controller";
/// The account that it works as is the node controller's.
const IDENTITY: &str = "node-controller";

/// The addresses of all pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRange {
    /// Of the cluster, as `127.64.0.0/12`.
    pub cluster_cidr: String,
    /// How many bits the prefix of a node's part has.
    pub node_bits: u8,
}

/// Starts it.
pub fn start(context: &Context, range: PodRange) {
    let (client, recorder) = context.identity(IDENTITY);
    let nodes = context.informers.of::<Node>();
    let queue = Queue::new(context.clock.clone());
    let (changed, all) = (queue.clone(), nodes.clone());
    nodes.on_change(move |change| match &change.new {
        Some(node) => changed.add(Key::of(&**node)),
        // What it had may be what others wait for.
        None => all.list().iter().for_each(|node| changed.add(Key::of(&**node))),
    });
    let nodes = Objects::new(client, nodes, context.clock.clone());
    // One worker: two would give the same range twice.
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (nodes, recorder, range) = (nodes.clone(), recorder.clone(), range.clone());
        async move {
            let own =
                |node: &Node| node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone()).filter(|cidr| !cidr.is_empty());
            let Some(node) = nodes.cache().get(&key).filter(|node| own(node).is_none()) else {
                return Ok(Outcome::Done);
            };
            let taken: Vec<String> = nodes.cache().list().iter().filter_map(|node| own(node)).collect();
            let free = plan::allocate(&range.cluster_cidr, range.node_bits, taken.iter().map(String::as_str));
            let Some(cidr) = free else {
                let object = ObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Node".to_owned()),
                    name: node.metadata.name.clone(),
                    uid: node.uid(),
                    ..ObjectReference::default()
                };
                let words = format!("Node {} status is now: CIDRNotAvailable", node.name_any());
                recorder.event_of(object, Severity::Normal, "CIDRNotAvailable", words);
                return Ok(Outcome::Done);
            };
            let meta = json!({"resourceVersion": node.metadata.resource_version});
            match nodes.patch(&key, &json!({"metadata": meta, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})).await {
                Err(error) if !is_gone(&error) => Err(error.into()),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
