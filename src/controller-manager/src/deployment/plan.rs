//! What is to be done about a Deployment, given its ReplicaSets. Pure: the sets are changed in a copy, as if every step
//! succeeded, and what has to be written to make it so comes out.

use std::{collections::HashSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time},
};

use super::{
    sets::{self, DESIRED_REPLICAS, MAX_REPLICAS, REVISION, TEMPLATE_HASH, replicas},
    status,
};
use crate::{framework::controller_ref, hash};

/// What the controller sees.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// The sets it controls.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// The uids of sets that have pods which have not ended; only looked at when it recreates.
    pub running: HashSet<String>,
    /// The present second.
    pub now: Time,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Makes the newest set.
    Create(Box<ReplicaSet>),
    /// Brings a set to this: its annotations, replicas and `minReadySeconds`.
    Update {
        /// As it is to be.
        set: Box<ReplicaSet>,
        /// From how many replicas to how many, when that is a reason to tell.
        scaled: Option<(i32, i32)>,
    },
    /// Forgets an old set.
    Delete(Box<ReplicaSet>),
}

/// What comes out.
#[derive(Debug)]
pub struct Plan {
    /// What is to be written, in this order.
    pub steps: Vec<Step>,
    /// What there is to say once it is.
    pub status: DeploymentStatus,
    /// The Deployment's own revision.
    pub revision: Option<String>,
    /// When to look again by time alone: at the progress deadline.
    pub again_at: Option<Timestamp>,
}

/// Decides.
pub fn plan(observed: Observed<'_>) -> Plan {
    let mut rollout = Rollout::new(observed);
    let deployment = rollout.deployment;
    if deployment.metadata.deletion_timestamp.is_some() {
        return rollout.only_status();
    }
    status::note_pause(deployment, &mut rollout.status, &rollout.now);
    rollout.renew_newest();
    if deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true) {
        rollout.scale_all();
        rollout.forget_old();
        return rollout.only_status();
    }
    if rollout.is_scaling() {
        rollout.scale_all();
        return rollout.only_status();
    }
    let acted = if sets::rolls(deployment) { rollout.roll() } else { rollout.recreate() };
    if !acted && status::is_complete(deployment, &status::of(deployment, &rollout.status, &rollout.all())) {
        rollout.forget_old();
    }
    rollout.with_progress()
}

struct Rollout<'a> {
    deployment: &'a Deployment,
    running: HashSet<String>,
    now: Time,
    /// The status so far; its conditions are added to on the way.
    status: DeploymentStatus,
    newest: Option<ReplicaSet>,
    /// Oldest first.
    old: Vec<ReplicaSet>,
    steps: Vec<Step>,
    revision: Option<String>,
}

impl<'a> Rollout<'a> {
    fn new(observed: Observed<'a>) -> Self {
        let Observed { deployment, mut sets, running, now } = observed;
        sets.sort_by(|one, other| sets::by_age(one, other));
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let is_newest = |set: &Arc<ReplicaSet>| {
            let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.zip(own).is_some_and(|(template, own)| sets::same_template(template, own))
        };
        let newest = sets.iter().position(is_newest).map(|at| sets.remove(at));
        let annotations = deployment.metadata.annotations.as_ref();
        Self {
            deployment,
            running,
            now,
            status: deployment.status.clone().unwrap_or_default(),
            newest: newest.map(Arc::unwrap_or_clone),
            old: sets.into_iter().map(Arc::unwrap_or_clone).collect(),
            steps: Vec::new(),
            revision: sets::annotation(annotations, REVISION).map(str::to_owned),
        }
    }

    fn all(&self) -> status::Sets<'_> {
        status::Sets { newest: self.newest.as_ref(), old: &self.old }
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(sets::revision).max().unwrap_or_default() + 1
    }

    /// Brings the newest set's annotations, and what the Deployment says of it, up to date.
    fn renew_newest(&mut self) {
        let revision = self.next_revision();
        let Some(newest) = &mut self.newest else { return };
        let annotations = sets::annotations_of_newest(self.deployment, newest, revision);
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let spec = newest.spec.get_or_insert_default();
        let same_wait = spec.min_ready_seconds.unwrap_or_default() == min_ready.unwrap_or_default();
        if newest.metadata.annotations.as_ref() != Some(&annotations) || !same_wait {
            newest.metadata.annotations = Some(annotations);
            spec.min_ready_seconds = min_ready;
            self.steps.push(Step::Update { set: Box::new(newest.clone()), scaled: None });
        }
        self.revision = sets::annotation(newest.metadata.annotations.as_ref(), REVISION).map(str::to_owned);
        status::note_found(self.deployment, &mut self.status, newest, &self.now);
    }

    fn create_newest(&mut self) {
        if self.newest.is_some() {
            return;
        }
        let (deployment, spec) = (self.deployment, sets::spec(self.deployment));
        let mut template = spec.template;
        let hash = hash::of(&template, self.status.collision_count);
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut match_labels = spec.selector.match_labels.unwrap_or_default();
        match_labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
        let selector = LabelSelector { match_labels: Some(match_labels), ..spec.selector };
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
                namespace: deployment.metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![controller_ref(deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        let revision = self.next_revision();
        let mut annotations = sets::annotations_of_newest(deployment, &set, revision);
        annotations.insert(DESIRED_REPLICAS.to_owned(), sets::wanted(deployment).to_string());
        annotations.insert(MAX_REPLICAS.to_owned(), sets::most(deployment).to_string());
        set.metadata.annotations = Some(annotations);
        let first = self.room_for_newest(0);
        set.spec.get_or_insert_default().replicas = Some(first);
        self.steps.push(Step::Create(Box::new(set.clone())));
        self.revision = Some(revision.to_string());
        status::note_created(deployment, &mut self.status, &set, &self.now);
        self.newest = Some(set);
    }

    /// To how many replicas the newest set, which has `have`, may grow now.
    fn room_for_newest(&self, have: i32) -> i32 {
        let wanted = sets::wanted(self.deployment);
        if !sets::rolls(self.deployment) {
            return wanted;
        }
        let room = sets::most(self.deployment) - have - sets::sum(&self.old, replicas);
        if room <= 0 { have } else { have + room.min(wanted - have) }
    }

    /// Whether the Deployment's size has changed since its sets were last scaled: they share in that before they roll on.
    fn is_scaling(&self) -> bool {
        let active = self.old.iter().chain(&self.newest).filter(|set| replicas(set) > 0);
        let mut sizes = active.filter_map(|set| sets::number(set, DESIRED_REPLICAS));
        sizes.any(|size| size != sets::wanted(self.deployment))
    }

    /// Rolls on by one step; whether there was one.
    fn roll(&mut self) -> bool {
        self.create_newest();
        self.grow_newest() || self.shrink_old()
    }

    fn grow_newest(&mut self) -> bool {
        let Some(newest) = &self.newest else { return false };
        let (have, wanted) = (replicas(newest), sets::wanted(self.deployment));
        let target = if have >= wanted { wanted } else { self.room_for_newest(have) };
        // A set that this plan makes is made in its right size.
        have != target && self.scale_newest(target)
    }

    fn shrink_old(&mut self) -> bool {
        let old_pods = sets::sum(&self.old, replicas);
        if old_pods == 0 {
            return false;
        }
        let (_, unavailable) = sets::fences(self.deployment);
        let least = sets::wanted(self.deployment) - unavailable;
        let newest_missing = self.newest.as_ref().map_or(0, |newest| replicas(newest) - sets::available(newest));
        let newest_pods = self.newest.as_ref().map_or(0, replicas);
        // Even if all that is missing of the newest never comes, the least stays available.
        let spare = old_pods + newest_pods - least - newest_missing;
        if spare <= 0 {
            return false;
        }
        let mut cleaned = 0;
        for at in 0..self.old.len() {
            let (have, available) = (replicas(&self.old[at]), sets::available(&self.old[at]));
            let victims = (spare - cleaned).min(have - available);
            if have > 0 && victims > 0 {
                self.scale_old(at, have - victims);
                cleaned += victims;
            }
        }
        let available = sets::sum(self.old.iter().chain(&self.newest), sets::available);
        let (mut shrunk, spare) = (0, available - least);
        for at in 0..self.old.len() {
            let victims = replicas(&self.old[at]).min(spare - shrunk);
            if victims > 0 {
                let target = replicas(&self.old[at]) - victims;
                self.scale_old(at, target);
                shrunk += victims;
            }
        }
        cleaned + shrunk > 0
    }

    /// Takes one more step of a change in which no two templates run at a time; whether there was one.
    fn recreate(&mut self) -> bool {
        let mut scaled = false;
        for at in 0..self.old.len() {
            scaled |= replicas(&self.old[at]) > 0 && self.scale_old(at, 0);
        }
        if scaled || self.old_pods_run() {
            return true;
        }
        self.create_newest();
        if self.newest.as_ref().is_some_and(|newest| replicas(newest) != sets::wanted(self.deployment)) {
            self.scale_newest(sets::wanted(self.deployment));
        }
        false
    }

    fn old_pods_run(&self) -> bool {
        let reported = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
        let newest = self.newest.as_ref().and_then(|newest| newest.metadata.uid.as_ref());
        sets::sum(&self.old, reported) > 0 || self.running.iter().any(|uid| Some(uid) != newest)
    }

    /// Spreads a new size over the sets: to the only one there is, else in proportion.
    fn scale_all(&mut self) {
        let wanted = sets::wanted(self.deployment);
        let active: Vec<usize> = (0..self.old.len()).filter(|at| replicas(&self.old[*at]) > 0).collect();
        let newest_active = self.newest.as_ref().is_some_and(|newest| replicas(newest) > 0);
        match (active.as_slice(), newest_active) {
            ([], _) if self.newest.is_some() => {
                self.scale_newest(wanted);
            }
            ([], _) => {
                if let Some(latest) = self.old.len().checked_sub(1) {
                    self.scale_old(latest, wanted);
                }
            }
            ([only], false) => {
                self.scale_old(*only, wanted);
            }
            _ if self.is_saturated() => active.into_iter().for_each(|at| {
                self.scale_old(at, 0);
            }),
            _ if sets::rolls(self.deployment) => self.scale_in_proportion(active, newest_active),
            _ => {}
        }
    }

    /// Whether the newest set has all that is wanted and all are available.
    fn is_saturated(&self) -> bool {
        let wanted = sets::wanted(self.deployment);
        self.newest.as_ref().is_some_and(|newest| {
            replicas(newest) == wanted
                && sets::number(newest, DESIRED_REPLICAS) == Some(wanted)
                && sets::available(newest) == wanted
        })
    }

    fn scale_in_proportion(&mut self, active: Vec<usize>, newest_active: bool) {
        let wanted = sets::wanted(self.deployment);
        // None stands for the newest.
        let mut order: Vec<Option<usize>> = active.into_iter().map(Some).collect();
        order.extend(newest_active.then_some(None));
        let size = |at: &Option<usize>| self.at(*at).map_or(0, replicas);
        let allowed = if wanted > 0 { sets::most(self.deployment) } else { 0 };
        let to_add = allowed - order.iter().map(size).sum::<i32>();
        // The larger first; of equals the newer when it grows, the older when it shrinks.
        order.sort_by(|one, other| {
            let age = |at: &Option<usize>| self.at(*at).map(|set| (sets::created(set), set.metadata.name.clone()));
            let ages = if to_add > 0 { age(other).cmp(&age(one)) } else { age(one).cmp(&age(other)) };
            size(other).cmp(&size(one)).then(ages)
        });
        let (mut added, mut sizes) = (0, Vec::new());
        for at in &order {
            let Some(set) = self.at(*at) else { continue };
            let share = if to_add == 0 { 0 } else { self.share(set, to_add, added) };
            added += share;
            sizes.push((*at, replicas(set) + share));
        }
        if let Some((_, largest)) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (at, size) in sizes {
            match at {
                Some(at) => self.scale_old(at, size),
                None => self.scale_newest(size),
            };
        }
    }

    fn at(&self, at: Option<usize>) -> Option<&ReplicaSet> {
        at.map_or(self.newest.as_ref(), |at| self.old.get(at))
    }

    /// By how many of the `to_add` (less what others have `added`) a set grows, or shrinks when they are below nothing.
    fn share(&self, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
        let (have, allowed) = (replicas(set), to_add - added);
        if have == 0 || allowed == 0 {
            return 0;
        }
        let fraction = if sets::wanted(self.deployment) == 0 {
            -have
        } else {
            let before = sets::number(set, MAX_REPLICAS).filter(|most| *most != 0);
            let before = before.or(self.status.replicas).unwrap_or_default();
            if before == 0 { 0 } else { rounded(have, sets::most(self.deployment), before) - have }
        };
        if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
    }

    fn scale_newest(&mut self, size: i32) -> bool {
        let Some(newest) = &mut self.newest else { return false };
        let (scaled, step) = scale(self.deployment, newest, size);
        self.steps.extend(step);
        scaled
    }

    fn scale_old(&mut self, at: usize, size: i32) -> bool {
        let (scaled, step) = scale(self.deployment, &mut self.old[at], size);
        self.steps.extend(step);
        scaled
    }

    /// Forgets the oldest sets beyond those that are remembered.
    fn forget_old(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return };
        let alive = |set: &&ReplicaSet| set.metadata.deletion_timestamp.is_none();
        let mut cleanable: Vec<ReplicaSet> = self.old.iter().filter(alive).cloned().collect();
        let surplus = cleanable.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        cleanable.sort_by_key(|set| (sets::revision(set), sets::created(set)));
        for set in cleanable.into_iter().take(surplus) {
            let status = set.status.clone().unwrap_or_default();
            let unseen = set.metadata.generation.unwrap_or_default() > status.observed_generation.unwrap_or_default();
            if status.replicas == 0 && replicas(&set) == 0 && !unseen {
                self.steps.push(Step::Delete(Box::new(set)));
            }
        }
    }

    fn only_status(self) -> Plan {
        let status = status::of(self.deployment, &self.status, &self.all());
        Plan { steps: self.steps, status, revision: self.revision, again_at: None }
    }

    fn with_progress(self) -> Plan {
        let mut status = status::of(self.deployment, &self.status, &self.all());
        status::note_progress(self.deployment, &self.status, &mut status, &self.all(), &self.now);
        let again_at = status::deadline(self.deployment, &status);
        // A second later, for times are kept in whole seconds.
        let again_at = again_at.and_then(|time| time.checked_add(SignedDuration::from_secs(1)).ok());
        Plan { steps: self.steps, status, revision: self.revision, again_at }
    }
}

/// `have` of `before`, as a share of `now`, rounded half away from nothing.
fn rounded(have: i32, now: i32, before: i32) -> i32 {
    let share = f64::from(have) * f64::from(now) / f64::from(before);
    #[expect(clippy::cast_possible_truncation, reason = "a share of an i32 that is at most a few times as large")]
    let share = share.round() as i32;
    share
}

/// Gives a set a size and the annotations that remember whose share it is.
fn scale(deployment: &Deployment, set: &mut ReplicaSet, size: i32) -> (bool, Option<Step>) {
    let have = replicas(set);
    let (wanted, most) = (sets::wanted(deployment).to_string(), sets::most(deployment).to_string());
    let annotations = set.metadata.annotations.get_or_insert_default();
    let changes = annotations.get(DESIRED_REPLICAS) != Some(&wanted) || annotations.get(MAX_REPLICAS) != Some(&most);
    if have == size && !changes {
        return (false, None);
    }
    annotations.insert(DESIRED_REPLICAS.to_owned(), wanted);
    annotations.insert(MAX_REPLICAS.to_owned(), most);
    set.spec.get_or_insert_default().replicas = Some(size);
    let scaled = (have != size).then_some((have, size));
    (scaled.is_some(), Some(Step::Update { set: Box::new(set.clone()), scaled }))
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
