//! Which pods a DaemonSet makes and deletes, and what there is to say of them. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet},
        core::v1::{Node, Pod, PodTemplateSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::template::{self, Belongs};
use crate::{nodes, pods};

/// What the controller sees.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The set.
    pub set: &'a DaemonSet,
    /// The template of its pods, see [`template::of`].
    pub template: &'a PodTemplateSpec,
    /// The hash of the present revision.
    pub hash: &'a str,
    /// All nodes.
    pub nodes: &'a [Arc<Node>],
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// The present moment.
    pub now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// The names of nodes that need a pod.
    pub create: Vec<String>,
    /// Pods that are too many, on the wrong node or old.
    pub delete: Vec<Arc<Pod>>,
    /// Pods that have ended, with their nodes: they go too, the failed ones not too often.
    pub ended: Vec<(String, Arc<Pod>)>,
}

/// Decides: first what every node needs, and only when that is as it should be, what rolls.
pub fn plan(observed: &Observed<'_>) -> Plan {
    let by_node = ByNode::new(observed);
    let mut plan = Plan::default();
    for (node, belongs) in &by_node.nodes {
        on_node(observed, node, *belongs, by_node.on(node), &mut plan);
    }
    // Pods for nodes that are gone can never be placed.
    let known: HashSet<&str> = observed.nodes.iter().map(|node| nodes::name(node)).collect();
    let lost = |pod: &&Arc<Pod>| {
        pods::node_name(pod).is_empty()
            && !pods::is_deleting(pod)
            && template::target(pod).is_some_and(|node| !known.contains(node))
    };
    plan.delete.extend(observed.pods.iter().filter(lost).cloned());
    if rolls(observed.set) && plan.create.is_empty() && plan.delete.is_empty() && plan.ended.is_empty() {
        roll(observed, &by_node, &mut plan);
    }
    plan
}

/// The pods by the nodes that they are on or meant for.
struct ByNode<'a> {
    nodes: Vec<(&'a str, Belongs)>,
    pods: BTreeMap<&'a str, Vec<&'a Arc<Pod>>>,
}

impl<'a> ByNode<'a> {
    fn new(observed: &Observed<'a>) -> Self {
        let mut by_node = BTreeMap::<_, Vec<_>>::new();
        for pod in observed.pods.iter().filter(|pod| !(pods::is_deleting(pod) && pods::is_finished(pod))) {
            if let Some(node) = template::target(pod) {
                by_node.entry(node).or_default().push(pod);
            }
        }
        // Those that are placed first, then the older.
        let order = |pod: &&Arc<Pod>| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (pods::node_name(pod).is_empty(), created, pod.metadata.name.clone())
        };
        by_node.values_mut().for_each(|pods| pods.sort_by_key(order));
        let belongs = |node: &'a Arc<Node>| (nodes::name(node), template::belongs(observed.template, node));
        Self { nodes: observed.nodes.iter().map(belongs).collect(), pods: by_node }
    }

    fn on(&self, node: &str) -> &[&'a Arc<Pod>] {
        self.pods.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    fn wanted(&self) -> i32 {
        number(self.nodes.iter().filter(|(_, belongs)| belongs.start).count())
    }
}

fn on_node(observed: &Observed<'_>, node: &str, belongs: Belongs, there: &[&Arc<Pod>], plan: &mut Plan) {
    if !belongs.stay {
        plan.delete.extend(there.iter().filter(|pod| !pods::is_deleting(pod)).map(|pod| Arc::clone(pod)));
        return;
    }
    if there.is_empty() {
        plan.create.extend(belongs.start.then(|| node.to_owned()));
        return;
    }
    let (ended, running): (Vec<_>, Vec<_>) =
        there.iter().filter(|pod| !pods::is_deleting(pod)).partition(|pod| pods::is_finished(pod));
    plan.ended.extend(ended.into_iter().map(|pod| (node.to_owned(), Arc::clone(pod))));
    if !may_surge(observed) {
        plan.delete.extend(running.into_iter().skip(1).cloned());
        return;
    }
    if running.is_empty() && there.iter().all(|pod| pods::is_deleting(pod)) && belongs.start {
        // With surge, the successor does not wait for what is going.
        plan.create.push(node.to_owned());
        return;
    }
    if running.len() > 1 {
        plan.delete.extend(surplus(observed, &running));
    }
}

/// With surge there may be two: the oldest of the present revision that is not available yet, and the oldest of another that
/// is ready.
fn surplus(observed: &Observed<'_>, running: &[&Arc<Pod>]) -> Vec<Arc<Pod>> {
    let (mut new, mut old, mut surplus) = (None, None, Vec::new());
    let generation = template::generation(observed.set);
    for pod in running {
        let updated = template::is_updated(pod, observed.hash, generation);
        let oldest = if updated { &mut new } else { &mut old };
        match oldest {
            None => *oldest = Some(Arc::clone(pod)),
            Some(_) => surplus.push(Arc::clone(pod)),
        }
    }
    if let (Some(new), Some(old)) = (new, old)
        && (!pods::is_ready(&old) || is_available(observed, &new))
    {
        surplus.push(old);
    }
    surplus
}

/// What there is on a node as to a rollout.
enum Stand<'a> {
    /// More than a rollout can tell apart.
    Unclear,
    Nothing,
    New(&'a Arc<Pod>),
    Old(&'a Arc<Pod>),
    Both {
        new: &'a Arc<Pod>,
        old: &'a Arc<Pod>,
    },
}

fn stand<'a>(observed: &Observed<'_>, there: &[&'a Arc<Pod>]) -> Stand<'a> {
    let generation = template::generation(observed.set);
    let staying = there.iter().copied().filter(|pod| !pods::is_deleting(pod));
    let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| template::is_updated(pod, observed.hash, generation));
    match (new.as_slice(), old.as_slice()) {
        ([], []) => Stand::Nothing,
        ([new], []) => Stand::New(new),
        ([], [old]) => Stand::Old(old),
        ([new], [old]) => Stand::Both { new, old },
        _ => Stand::Unclear,
    }
}

fn roll(observed: &Observed<'_>, by_node: &ByNode<'_>, plan: &mut Plan) {
    let (surge, unavailable) = fences(observed.set, by_node.wanted());
    let nodes: Vec<&str> = by_node
        .nodes
        .iter()
        .filter(|(node, belongs)| belongs.start || !by_node.on(node).is_empty())
        .map(|(node, _)| *node)
        .collect();
    if surge == 0 {
        roll_by_deleting(observed, by_node, &nodes, unavailable, plan)
    } else {
        roll_by_surge(observed, by_node, &nodes, surge, plan)
    }
}

/// Deletes old pods, so many that no more than may be are unavailable; what is not available anyway goes first.
fn roll_by_deleting(observed: &Observed<'_>, by_node: &ByNode<'_>, nodes: &[&str], most: usize, plan: &mut Plan) {
    let (mut missing, mut candidates) = (0, Vec::new());
    for node in nodes {
        match stand(observed, by_node.on(node)) {
            Stand::New(pod) if is_available(observed, pod) => {}
            Stand::Old(pod) if is_available(observed, pod) => candidates.push(Arc::clone(pod)),
            Stand::Old(pod) => {
                missing += 1;
                plan.delete.push(Arc::clone(pod));
            }
            _ => missing += 1,
        }
    }
    plan.delete.extend(candidates.into_iter().take(most.saturating_sub(missing)));
}

/// Adds new pods beside old ones, so many as may surge; an old one goes when its successor is available.
fn roll_by_surge(observed: &Observed<'_>, by_node: &ByNode<'_>, nodes: &[&str], most: usize, plan: &mut Plan) {
    let (mut surging, mut candidates) = (0, Vec::new());
    for node in nodes {
        match stand(observed, by_node.on(node)) {
            Stand::Unclear => surging += 1,
            Stand::Old(pod) if is_available(observed, pod) => candidates.push((*node).to_owned()),
            Stand::Old(_) => plan.create.push((*node).to_owned()),
            Stand::Both { new, old } if is_available(observed, new) => plan.delete.push(Arc::clone(old)),
            Stand::Both { .. } => surging += 1,
            Stand::Nothing | Stand::New(_) => {}
        }
    }
    plan.create.extend(candidates.into_iter().take(most.saturating_sub(surging)));
}

fn is_available(observed: &Observed<'_>, pod: &Pod) -> bool {
    pods::is_available(pod, min_ready(observed.set), observed.now)
}

/// For how long a pod has to be ready before it is available.
pub fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
}

fn rolls(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn rolling(set: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
}

fn may_surge(observed: &Observed<'_>) -> bool {
    let surge = rolling(observed.set).and_then(|rolling| rolling.max_surge.as_ref());
    rolls(observed.set) && scaled(surge, 0, 100) > 0
}

/// How many pods may be beyond, and how many below, one a node.
fn fences(set: &DaemonSet, wanted: i32) -> (usize, usize) {
    let rolling = rolling(set);
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0, wanted);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1, wanted);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn scaled(value: Option<&IntOrString>, otherwise: i32, total: i32) -> usize {
    use apimachinery::intstr::IntOrString as Value;
    let value = match value {
        Some(IntOrString::Int(number)) => Value::Int(*number),
        Some(IntOrString::String(text)) => Value::String(text.clone()),
        None => Value::Int(otherwise),
    };
    usize::try_from(value.scaled(total.into(), true).unwrap_or_default()).unwrap_or_default()
}

/// What there is to say.
pub fn status(observed: &Observed<'_>) -> DaemonSetStatus {
    let by_node = ByNode::new(observed);
    let before = observed.set.status.clone().unwrap_or_default();
    let generation = template::generation(observed.set);
    let (mut scheduled, mut misscheduled, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0);
    for (node, belongs) in &by_node.nodes {
        let Some(pod) = by_node.on(node).first() else { continue };
        if !belongs.start {
            misscheduled += 1;
            continue;
        }
        scheduled += 1;
        ready += i32::from(pods::is_ready(pod));
        available += i32::from(is_available(observed, pod));
        updated += i32::from(template::is_updated(pod, observed.hash, generation));
    }
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    DaemonSetStatus {
        current_number_scheduled: scheduled,
        desired_number_scheduled: by_node.wanted(),
        number_available: some(available),
        number_misscheduled: misscheduled,
        number_ready: ready,
        number_unavailable: some(by_node.wanted() - available),
        observed_generation: observed.set.metadata.generation,
        updated_number_scheduled: some(updated),
        collision_count: before.collision_count,
        conditions: before.conditions,
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
