//! The pods of a DaemonSet: what is added to its template for a node. Pure.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
        PodTemplateSpec, Toleration,
    },
};

use crate::{framework::controller_ref, nodes, pods};

/// The label that has the hash of a pod's revision.
pub const REVISION: &str = "controller-revision-hash";
/// The label that has the number of the template.
const GENERATION_LABEL: &str = "pod-template-generation";
/// The annotation of the set that has it.
const GENERATION: &str = "deprecated.daemonset.template.generation";
/// The field by which a pod is meant for one node.
const NODE_NAME: &str = "metadata.name";

/// The number of the set's template, if it says one.
pub fn generation(set: &DaemonSet) -> Option<i64> {
    set.metadata.annotations.as_ref()?.get(GENERATION)?.parse().ok()
}

/// Whether a pod is of the revision with that hash.
pub fn is_updated(pod: &Pod, hash: &str, generation: Option<i64>) -> bool {
    let label = |name: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    label(REVISION).is_some_and(|label| !hash.is_empty() && label == hash)
        || generation.is_some_and(|number| label(GENERATION_LABEL) == Some(&number.to_string()))
}

/// The node a pod is on or is meant for.
pub fn target(pod: &Pod) -> Option<&str> {
    let on = pods::node_name(pod);
    if !on.is_empty() {
        return Some(on);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == NODE_NAME && field.operator == "In");
    match names.find_map(|field| field.values.as_deref())? {
        [name] => Some(name),
        _ => None,
    }
}

/// The template with what every pod of a DaemonSet bears, and the labels of its revision.
pub fn of(set: &DaemonSet, hash: &str) -> PodTemplateSpec {
    let mut template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let spec = template.spec.get_or_insert_default();
    add_tolerations(spec);
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.extend(generation(set).map(|number| (GENERATION_LABEL.to_owned(), number.to_string())));
    if !hash.is_empty() {
        labels.insert(REVISION.to_owned(), hash.to_owned());
    }
    template
}

/// A pod of `template` for one node.
pub fn pod_for(set: &DaemonSet, template: &PodTemplateSpec, node: &str) -> Pod {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let mut pod = pods::from_template(template, name, controller_ref(set));
    pin(pod.spec.get_or_insert_default(), node);
    pod
}

/// Lets the scheduler place the pod on that node only. Affinity that the template requires has led to the node already.
fn pin(spec: &mut PodSpec, node: &str) {
    let here = NodeSelectorRequirement {
        key: NODE_NAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![here]), match_expressions: None };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

fn add_tolerations(spec: &mut PodSpec) {
    let always = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    let on_host = spec.host_network == Some(true);
    let on_host = on_host.then_some(("network-unavailable", "NoSchedule"));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (condition, effect) in always.into_iter().chain(on_host) {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{condition}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let same = |there: &Toleration| {
            there.key == toleration.key && there.effect == toleration.effect && there.operator == toleration.operator
        };
        match tolerations.iter().position(same) {
            Some(at) => tolerations[at] = toleration,
            None => tolerations.push(toleration),
        }
    }
}

/// Whether pods of the set belong on a node: to be started, and to stay when they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Belongs {
    /// A pod is to be there.
    pub start: bool,
    /// One that is there may stay.
    pub stay: bool,
}

/// Whether pods of `template` belong on `node`.
pub fn belongs(template: &PodTemplateSpec, node: &Node) -> Belongs {
    let Some(spec) = &template.spec else { return Belongs { start: false, stay: false } };
    let meant = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if meant.is_some_and(|name| name != nodes::name(node)) || !nodes::is_selected(spec, node) {
        return Belongs { start: false, stay: false };
    }
    let stay = nodes::bears_taints(spec, node, &["NoExecute"]);
    Belongs { start: stay && nodes::bears_taints(spec, node, &["NoSchedule"]), stay }
}
