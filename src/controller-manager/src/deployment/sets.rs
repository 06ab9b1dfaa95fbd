//! The ReplicaSets of a Deployment as numbers: which is new, how many replicas they have, what their annotations remember. Pure.

use std::collections::BTreeMap;

use apimachinery::intstr::IntOrString;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::util::intstr,
};

/// The number of the rollout.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers it had before it was rolled back to.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the set was last scaled.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Those and the surge.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// The label that keeps the pods of one template apart from those of another.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// Annotations of a Deployment that its sets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// So many characters of earlier revisions are kept.
const HISTORY_MAX: usize = 2000;

/// The spec, which every stored Deployment has.
pub fn spec(deployment: &Deployment) -> DeploymentSpec {
    deployment.spec.clone().unwrap_or_default()
}

/// How many replicas are wanted.
pub fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many a set is to have.
pub fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many of a set's are available.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
}

/// The sum over sets.
pub fn sum<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>, of: impl Fn(&ReplicaSet) -> i32) -> i32 {
    sets.into_iter().map(of).fold(0, i32::saturating_add)
}

/// Whether it rolls, rather than recreates.
pub fn rolls(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// How many pods there may be above and below the wanted number while it rolls.
pub fn fences(deployment: &Deployment) -> (i32, i32) {
    if !rolls(deployment) {
        return (0, 0);
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let wanted = wanted(deployment);
    let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted, true);
    let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), wanted, false);
    match (surge, unavailable) {
        // Percentages that round to nothing must not stop everything.
        (0, 0) => (0, 1),
        (surge, unavailable) => (surge, unavailable.min(wanted)),
    }
}

/// The most pods there may be.
pub fn most(deployment: &Deployment) -> i32 {
    wanted(deployment).saturating_add(fences(deployment).0)
}

/// A number, or a share of `total`; a quarter when it is not given.
pub fn scaled(value: Option<&intstr::IntOrString>, total: i32, round_up: bool) -> i32 {
    let value = match value {
        Some(intstr::IntOrString::Int(number)) => IntOrString::Int(*number),
        Some(intstr::IntOrString::String(text)) => IntOrString::String(text.clone()),
        None => IntOrString::String("25%".to_owned()),
    };
    let scaled = value.scaled(total.into(), round_up).unwrap_or_default();
    i32::try_from(scaled.max(0)).unwrap_or(i32::MAX)
}

/// Since when it is there.
pub fn created(set: &ReplicaSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The older first; by name among those of the same second.
pub fn by_age(one: &ReplicaSet, other: &ReplicaSet) -> std::cmp::Ordering {
    (created(one), &one.metadata.name).cmp(&(created(other), &other.metadata.name))
}

/// Whether two templates are the same but for the hash that tells them apart.
pub fn same_template(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    let without_hash = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
            labels.remove(TEMPLATE_HASH);
        }
        template
    };
    without_hash(one) == without_hash(other)
}

/// An annotation.
pub fn annotation<'a>(annotations: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    annotations?.get(name).map(String::as_str)
}

/// An annotation that is a number.
pub fn number(set: &ReplicaSet, name: &str) -> Option<i32> {
    annotation(set.metadata.annotations.as_ref(), name)?.parse().ok()
}

/// The set's revision; 0 when it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    let text = annotation(set.metadata.annotations.as_ref(), REVISION);
    text.and_then(|revision| revision.parse().ok()).unwrap_or_default()
}

/// The annotations of the newest set of `deployment`, which is to be at least at `revision`: the Deployment's own, and the
/// revisions that it leaves behind when it is rolled back to.
pub fn annotations_of_newest(deployment: &Deployment, set: &ReplicaSet, revision: i64) -> BTreeMap<String, String> {
    let mut annotations = set.metadata.annotations.clone().unwrap_or_default();
    let inherited = deployment.metadata.annotations.iter().flatten();
    let inherited = inherited.filter(|(name, _)| !NOT_INHERITED.contains(&name.as_str()));
    annotations.extend(inherited.map(|(name, value)| (name.clone(), value.clone())));
    if self::revision(set) < revision {
        let before = annotations.insert(REVISION.to_owned(), revision.to_string());
        if let Some(before) = before {
            let history = annotations.remove(REVISION_HISTORY).unwrap_or_default();
            annotations.insert(REVISION_HISTORY.to_owned(), remember(&history, &before));
        }
    }
    annotations
}

/// Adds a revision to the earlier ones, of which the oldest make room.
fn remember(history: &str, revision: &str) -> String {
    let mut revisions: Vec<&str> = history.split(',').filter(|text| !text.is_empty()).collect();
    revisions.push(revision);
    let length = |revisions: &[&str]| revisions.iter().map(|text| text.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&revisions) > HISTORY_MAX && revisions.len() > 1 {
        revisions.remove(0);
    }
    revisions.join(",")
}
