//! What is to be done about a StatefulSet's pods, in which order, and what there is to say of them. Pure.

use std::sync::Arc;

use apimachinery::intstr::IntOrString;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::util::intstr,
};

use super::identity;
use crate::{history, pods};

/// Which revision is the one to come.
#[derive(Debug)]
pub enum Update {
    /// One that is there and is the last.
    Is(Arc<ControllerRevision>),
    /// One that is there and becomes the last again, with this number.
    Again(Arc<ControllerRevision>, i64),
    /// None is: it has to be made, with this number.
    New(i64),
}

/// Finds the revision of the present template among `sorted`.
pub fn update(template: &PodTemplateSpec, sorted: &[Arc<ControllerRevision>]) -> Update {
    let equal = sorted.iter().rposition(|revision| history::keeps(revision, template));
    match equal {
        Some(at) if at + 1 == sorted.len() => Update::Is(sorted[at].clone()),
        Some(at) => Update::Again(sorted[at].clone(), history::next(sorted)),
        None => Update::New(history::next(sorted)),
    }
}

/// A revision by name, and its template.
#[derive(Debug, Clone)]
pub struct Revision {
    /// The name.
    pub name: String,
    /// The template.
    pub template: PodTemplateSpec,
}

/// What the controller sees.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The set.
    pub set: &'a StatefulSet,
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// What it comes from.
    pub current: &'a Revision,
    /// What it goes to.
    pub update: &'a Revision,
    /// The present moment.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug)]
pub enum Step {
    /// Make the pod with this number, and its claims before it.
    Create(i32, Box<Pod>),
    /// Delete a pod.
    Delete(Arc<Pod>),
    /// See to a pod's labels and claims.
    Keep(i32, Arc<Pod>),
}

/// What is to be done, in this order; one at a time unless the set's pods are managed in parallel.
pub fn steps(observed: &Observed<'_>) -> Vec<Step> {
    let mut plan = Steps { observed, steps: Vec::new() };
    plan.all();
    plan.steps
}

struct Steps<'a> {
    observed: &'a Observed<'a>,
    steps: Vec<Step>,
}

impl Steps<'_> {
    fn all(&mut self) {
        let set = self.observed.set;
        if set.metadata.deletion_timestamp.is_some() {
            return;
        }
        let ordinals = identity::ordinals(set);
        let numbered = self.observed.pods.iter().filter_map(|pod| Some((identity::ordinal(set, pod)?, pod.clone())));
        let (there, mut condemned): (Vec<_>, Vec<_>) = numbered.partition(|(ordinal, _)| ordinals.contains(ordinal));
        let slots: Vec<(i32, Option<Arc<Pod>>)> = ordinals
            .map(|ordinal| (ordinal, there.iter().find(|(other, _)| *other == ordinal).map(|(_, pod)| pod.clone())))
            .collect();
        condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        let first_unhealthy = self.first_unhealthy(&slots, &condemned);
        let waits = slots.iter().any(|(ordinal, pod)| self.replica(*ordinal, pod.as_ref()) == Then::Wait)
            || condemned
                .iter()
                .any(|(ordinal, pod)| self.condemned(*ordinal, pod, first_unhealthy.as_ref()) == Then::Wait);
        if !waits && !self.is_on_delete() {
            self.roll(&slots);
        }
    }

    fn is_monotonic(&self) -> bool {
        let policy = self.observed.set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref());
        policy != Some("Parallel")
    }

    fn is_on_delete(&self) -> bool {
        let strategy = self.observed.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    fn rolling(&self) -> Option<&RollingUpdateStatefulSetStrategy> {
        self.observed.set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod) && pods::is_available(pod, min_ready(self.observed.set), self.observed.now)
    }

    /// The pod that alone may be waited for while others are scaled away: the first that is missing or not well.
    fn first_unhealthy(&self, slots: &[(i32, Option<Arc<Pod>>)], condemned: &[(i32, Arc<Pod>)]) -> Option<Arc<Pod>> {
        let healthy = |pod: &Pod| is_running_and_ready(pod) && !pods::is_deleting(pod);
        match slots.iter().find(|(_, pod)| pod.as_ref().is_none_or(|pod| !healthy(pod))) {
            Some((_, pod)) => pod.clone(),
            None => condemned.iter().rev().find(|(_, pod)| !healthy(pod)).map(|(_, pod)| pod.clone()),
        }
    }

    fn replica(&mut self, ordinal: i32, pod: Option<&Arc<Pod>>) -> Then {
        let monotonic = self.is_monotonic();
        let wait_if = |wait: bool| if wait { Then::Wait } else { Then::GoOn };
        let Some(pod) = pod else {
            self.create(ordinal);
            return wait_if(monotonic);
        };
        if pods::is_finished(pod) {
            if !pods::is_deleting(pod) {
                self.steps.push(Step::Delete(pod.clone()));
            }
            // Its successor can be made when it is gone.
            return wait_if(monotonic);
        }
        if pods::phase(pod) == "Pending" || !monotonic || self.is_available(pod) {
            self.keep(ordinal, pod);
        }
        wait_if(monotonic && (pods::is_deleting(pod) || !self.is_available(pod)))
    }

    fn keep(&mut self, ordinal: i32, pod: &Arc<Pod>) {
        let set = self.observed.set;
        let has_claims = set.spec.as_ref().is_some_and(|spec| spec.volume_claim_templates.iter().flatten().count() > 0);
        if !pods::is_deleting(pod) && (has_claims || !identity::is_labelled(set, pod, ordinal)) {
            self.steps.push(Step::Keep(ordinal, pod.clone()));
        }
    }

    fn create(&mut self, ordinal: i32) {
        let Observed { set, current, update, .. } = self.observed;
        let revision = if self.stays_current(ordinal) { current } else { update };
        let pod = identity::pod(set, &revision.template, &revision.name, ordinal);
        self.steps.push(Step::Create(ordinal, Box::new(pod)));
    }

    /// Whether a new pod with this number is made from what the set comes from, since the rollout has not come to it or
    /// its partition keeps it.
    fn stays_current(&self, ordinal: i32) -> bool {
        if self.is_on_delete() {
            return false;
        }
        let set = self.observed.set;
        let start = identity::ordinals(set).start;
        let bound = match self.rolling() {
            Some(rolling) => rolling.partition.unwrap_or_default(),
            None => set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or_default(),
        };
        ordinal < start.saturating_add(bound)
    }

    fn condemned(&mut self, ordinal: i32, pod: &Arc<Pod>, first_unhealthy: Option<&Arc<Pod>>) -> Then {
        let monotonic = self.is_monotonic();
        if pods::is_deleting(pod) {
            return if monotonic { Then::Wait } else { Then::GoOn };
        }
        let spared = first_unhealthy.is_none_or(|first| !Arc::ptr_eq(first, pod));
        if monotonic && !self.is_available(pod) && spared {
            return Then::Wait;
        }
        self.keep(ordinal, pod);
        self.steps.push(Step::Delete(pod.clone()));
        if monotonic { Then::Wait } else { Then::GoOn }
    }

    /// Deletes pods of other revisions from the highest number down, so many that no more than may be are unavailable.
    fn roll(&mut self, slots: &[(i32, Option<Arc<Pod>>)]) {
        let wanted = identity::replicas(self.observed.set);
        let partition = self.rolling().and_then(|rolling| rolling.partition).unwrap_or_default();
        let most = most_unavailable(self.rolling(), wanted);
        let available =
            |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|pod| self.is_available(pod) && !pods::is_deleting(pod));
        let mut unavailable = slots.iter().filter(|(_, pod)| !available(pod)).count();
        let mut victims = Vec::new();
        for (at, (_, pod)) in slots.iter().enumerate().rev() {
            let Some(there) = pod else { continue };
            let stays = i32::try_from(at).is_ok_and(|at| at < partition);
            if stays || pods::is_deleting(there) || identity::revision(there) == self.observed.update.name {
                continue;
            }
            // One that is not available anyway costs nothing.
            let costs = usize::from(available(pod));
            if unavailable + costs > most {
                continue;
            }
            unavailable += costs;
            victims.push(Step::Delete(there.clone()));
        }
        self.steps.extend(victims);
    }
}

/// How the walk over the pods goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Wait,
}

fn most_unavailable(rolling: Option<&RollingUpdateStatefulSetStrategy>, wanted: i32) -> usize {
    let value = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        Some(intstr::IntOrString::Int(number)) => IntOrString::Int(*number),
        Some(intstr::IntOrString::String(text)) => IntOrString::String(text.clone()),
        None => IntOrString::Int(1),
    };
    usize::try_from(value.scaled(wanted.into(), false).unwrap_or(1).max(1)).unwrap_or(1)
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

/// For how long a pod has to be ready before it is available.
pub fn min_ready(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
}

/// What there is to say.
pub fn status(observed: &Observed<'_>, collision_count: i32) -> StatefulSetStatus {
    let Observed { set, pods: all, current, update, now } = observed;
    let count =
        |counts: &dyn Fn(&Pod) -> bool| i32::try_from(all.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX);
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    let of = |revision: &Revision| count(&|pod| !pods::is_deleting(pod) && identity::revision(pod) == revision.name);
    let (replicas, ready, updated) = (count(&|_| true), count(&is_running_and_ready), of(update));
    let available = count(&|pod| is_running_and_ready(pod) && pods::is_available(pod, min_ready(set), *now));
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(available),
        current_replicas: some(of(current)),
        updated_replicas: some(updated),
        current_revision: Some(current.name.clone()),
        update_revision: Some(update.name.clone()),
        collision_count: Some(collision_count),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolls = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
    let wanted = identity::replicas(set);
    if rolls && updated == wanted && replicas == wanted && ready == wanted {
        status.current_replicas = some(updated);
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
