//! The cluster as the scheduler sees it: nodes with what runs on them, updated by each event, never rebuilt.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Taint},
    policy::v1::PodDisruptionBudget,
};
use kube::ResourceExt;

use crate::{
    labels::Labels,
    plugins::{dynamic_resources::Claims, volumes::Volumes},
    pod::{HostPort, PodInfo},
    resources::Resources,
};

/// A node and what runs on it.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// The node's name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What it can give to pods.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub requested: Resources,
    /// What its pods weigh in scoring.
    pub weighed: Resources,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// Its images by name, with their size in bytes.
    pub images: HashMap<String, i64>,
    /// Its pods by uid.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    /// Whether the node object exists; pods may name a node that does not (any more).
    pub exists: bool,
}

impl NodeInfo {
    /// Ports of the node that pods took.
    pub fn host_ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.values().flat_map(|pod| &pod.host_ports)
    }

    /// Counts `pod` in.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.uid);
        self.requested.add(&pod.requests.real);
        self.weighed.add(&pod.requests.weighed);
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Counts the pod called `uid` out.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.requests.real);
        self.weighed.subtract(&pod.requests.weighed);
        Some(pod)
    }

    fn read(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        self.labels = node.labels().clone();
        self.allocatable = Resources::from_list(status.and_then(|status| status.allocatable.as_ref()));
        self.taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        self.unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
        self.images = status
            .and_then(|status| status.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or_default();
                image.names.iter().flatten().map(move |name| (name.clone(), size))
            })
            .collect();
        self.exists = true;
    }
}

/// All nodes, by name, and where each pod counts.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    node_of: HashMap<String, String>,
    namespaces: HashMap<String, Labels>,
    /// Claims, volumes and classes.
    pub volumes: Volumes,
    /// Claims of devices.
    pub claims: Claims,
    /// Disruption budgets by namespace and name.
    pub budgets: HashMap<(String, String), PodDisruptionBudget>,
}

impl Cache {
    /// The nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> + Clone {
        self.nodes.values().filter(|node| node.exists)
    }

    /// One node that exists.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|node| node.exists)
    }

    /// The labels of a namespace.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// Takes in what a node says; whether anything that scheduling reads has changed.
    pub fn set_node(&mut self, node: &Node) -> bool {
        let name = node.name_any();
        let info = self.nodes.entry(name.clone()).or_insert_with(|| NodeInfo { name, ..NodeInfo::default() });
        let read = |info: &NodeInfo| {
            (info.exists, info.labels.clone(), info.allocatable.clone(), info.taints.clone(), info.unschedulable)
        };
        let before = read(info);
        info.read(node);
        before != read(info)
    }

    /// Forgets a node; its pods still count should it come back.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.exists = false;
            if node.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Takes in the labels of a namespace.
    pub fn set_namespace(&mut self, namespace: &Namespace) {
        self.namespaces.insert(namespace.name_any(), namespace.labels().clone());
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Counts `pod` at `node`, because it is bound there or is about to be.
    pub fn place(&mut self, node: &str, pod: Arc<PodInfo>) {
        if self.node_of.get(&pod.uid).is_some_and(|at| at != node) {
            self.forget(&pod.uid);
        }
        self.node_of.insert(pod.uid.clone(), node.to_owned());
        let info = self.nodes.entry(node.to_owned());
        info.or_insert_with(|| NodeInfo { name: node.to_owned(), ..NodeInfo::default() }).add(pod);
    }

    /// Counts a pod nowhere any more; whether it counted anywhere.
    pub fn forget(&mut self, uid: &str) -> bool {
        let Some(name) = self.node_of.remove(uid) else { return false };
        if let Some(node) = self.nodes.get_mut(&name) {
            node.remove(uid);
            if !node.exists && node.pods.is_empty() {
                self.nodes.remove(&name);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn what_a_pod_takes_is_given_back_when_it_goes() {
        let mut cache = Cache::default();
        let node = json!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "2"}}});
        assert!(cache.set_node(&from_value(node.clone()).expect("a Node")));
        assert!(!cache.set_node(&from_value(node).expect("a Node")), "the same again changes nothing");
        let pod = json!({"metadata": {"name": "x", "uid": "1"},
                         "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}});
        let pod = Arc::new(PodInfo::new(Arc::new(from_value(pod).expect("a Pod"))));
        cache.place("a", pod.clone());
        cache.place("a", pod);
        assert_eq!(cache.node("a").expect("there").requested.get("cpu"), 500);
        assert!(cache.forget("1") && !cache.forget("1"));
        assert_eq!(cache.node("a").expect("there").requested.get("cpu"), 0);
    }
}
