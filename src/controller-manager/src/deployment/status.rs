//! What there is to say about a Deployment: counts and conditions, in kube-controller-manager's words. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::sets;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";
/// Why a set could not be made.
pub const CREATE_ERROR: &str = "ReplicaSetCreateError";

/// The sets that count.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    /// That of the present template.
    pub newest: Option<&'a ReplicaSet>,
    /// The others.
    pub old: &'a [ReplicaSet],
}

impl<'a> Sets<'a> {
    fn iter(self) -> impl Iterator<Item = &'a ReplicaSet> + Clone {
        self.old.iter().chain(self.newest)
    }
}

/// Counts; conditions and collisions are those `before`, but for `Available`.
pub fn of(deployment: &Deployment, before: &DeploymentStatus, sets: &Sets<'_>) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSetStatus) -> i32| sets::sum(sets.iter(), |set| set.status.as_ref().map_or(0, of));
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    let available = sets::sum(sets.iter(), sets::available);
    let missing = sets::sum(sets.iter(), sets::replicas) - available;
    let updated = sets.newest.and_then(|newest| newest.status.as_ref()).map_or(0, |status| status.replicas);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(&|status| status.replicas)),
        updated_replicas: some(updated),
        ready_replicas: some(sum(&|status| status.ready_replicas.unwrap_or_default())),
        available_replicas: some(available),
        unavailable_replicas: some(missing.max(0)),
        terminating_replicas: terminating(*sets),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let (_, may_miss) = sets::fences(deployment);
    let may_miss = if sets::wanted(deployment) == 0 { 0 } else { may_miss };
    let condition = if available >= sets::wanted(deployment) - may_miss {
        (AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.".to_owned())
    } else {
        (AVAILABLE, "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.".to_owned())
    };
    status.conditions.get_or_insert_default();
    Pending(condition).put(&mut status, None);
    status
}

/// How many pods are going, if every set that was looked at says so.
fn terminating(sets: Sets<'_>) -> Option<i32> {
    let unknown = ReplicaSetStatus::default();
    let mut sum = 0_i32;
    for status in sets.iter().map(|set| set.status.as_ref().unwrap_or(&unknown)) {
        match status.terminating_replicas {
            Some(count) => sum = sum.saturating_add(count),
            None if status.observed_generation.unwrap_or_default() == 0 => {}
            None => return None,
        }
    }
    Some(sum)
}

/// A condition that has no time yet.
struct Pending((&'static str, &'static str, &'static str, String));

impl Pending {
    /// Sets it, unless one of the same status and reason is there; its time of transition moves when its status does. Without
    /// a time, the time is filled in by [`stamp`].
    fn put(self, status: &mut DeploymentStatus, now: Option<&Time>) {
        let (type_, value, reason, message) = self.0;
        let conditions = status.conditions.get_or_insert_default();
        let there = conditions.iter().position(|condition| condition.type_ == type_);
        let before = there.map(|at| &conditions[at]);
        if before.is_some_and(|before| before.status == value && before.reason.as_deref() == Some(reason)) {
            return;
        }
        let transition =
            before.filter(|before| before.status == value).map(|before| before.last_transition_time.clone());
        if let Some(at) = there {
            conditions.remove(at);
        }
        conditions.push(DeploymentCondition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: now.cloned(),
            last_transition_time: transition.unwrap_or(now.cloned()),
        });
    }
}

/// Gives new conditions their time.
pub fn stamp(status: &mut DeploymentStatus, now: &Time) {
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_update_time.get_or_insert_with(|| now.clone());
        condition.last_transition_time.get_or_insert_with(|| now.clone());
    }
}

fn condition<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != type_);
    }
}

fn progressing(status: &mut DeploymentStatus, value: &'static str, reason: &'static str, message: String, now: &Time) {
    Pending((PROGRESSING, value, reason, message)).put(status, Some(now));
}

/// For how long nothing may happen, if that is bounded.
fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    let seconds = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    seconds.filter(|seconds| *seconds != i32::MAX)
}

/// Pausing stops the clock of the deadline, and resuming starts it anew.
pub fn note_pause(deployment: &Deployment, status: &mut DeploymentStatus, now: &Time) {
    if progress_deadline(deployment).is_none() {
        return;
    }
    let reason = condition(status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    match (paused, reason) {
        (_, Some(TIMED_OUT)) | (true, Some(PAUSED)) => {}
        (true, _) => progressing(status, "Unknown", PAUSED, "Deployment is paused".to_owned(), now),
        (false, Some(PAUSED)) => progressing(status, "Unknown", RESUMED, "Deployment is resumed".to_owned(), now),
        (false, _) => {}
    }
}

/// The set of the present template was there already.
pub fn note_found(deployment: &Deployment, status: &mut DeploymentStatus, newest: &ReplicaSet, now: &Time) {
    if progress_deadline(deployment).is_some() && condition(status, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{}\"", name(newest));
        progressing(status, "True", "FoundNewReplicaSet", message, now);
    }
}

/// The set of the present template is made.
pub fn note_created(deployment: &Deployment, status: &mut DeploymentStatus, newest: &ReplicaSet, now: &Time) {
    if progress_deadline(deployment).is_some() {
        let message = format!("Created new replica set \"{}\"", name(newest));
        progressing(status, "True", "NewReplicaSetCreated", message, now);
    }
}

/// The set of the present template cannot be made.
pub fn note_create_failed(deployment: &Deployment, status: &mut DeploymentStatus, message: String, now: &Time) {
    if progress_deadline(deployment).is_some() {
        progressing(status, "False", CREATE_ERROR, message, now);
    }
}

/// Whether all that is wanted is there, new and available.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = sets::wanted(deployment);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or_default() == wanted)
        && status.observed_generation.unwrap_or_default() >= deployment.metadata.generation.unwrap_or_default()
}

/// Whether anything came nearer since `before`.
fn has_progressed(before: &DeploymentStatus, status: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or_default();
    let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(status.updated_replicas) > number(before.updated_replicas)
        || old(status) < old(before)
        || number(status.ready_replicas) > number(before.ready_replicas)
        || number(status.available_replicas) > number(before.available_replicas)
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    match condition(status, PROGRESSING).and_then(|condition| condition.reason.as_deref()) {
        Some(TIMED_OUT) => true,
        _ => deadline(deployment, status).is_some_and(|time| time < now),
    }
}

/// When the rollout has taken too long, if it still runs and that is bounded.
pub fn deadline(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let seconds = progress_deadline(deployment)?;
    let condition = condition(status, PROGRESSING)?;
    let over = matches!(condition.reason.as_deref(), Some(NEW_SET_AVAILABLE | TIMED_OUT));
    if over || is_complete(deployment, status) {
        return None;
    }
    condition.last_update_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// What has become of the rollout since `before`.
pub fn note_progress(
    deployment: &Deployment,
    before: &DeploymentStatus,
    status: &mut DeploymentStatus,
    sets: &Sets<'_>,
    now: &Time,
) {
    let subject = match sets.newest {
        Some(newest) => format!("ReplicaSet \"{}\"", name(newest)),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if progress_deadline(deployment).is_none() {
        remove(status, PROGRESSING);
    } else {
        let current = condition(before, PROGRESSING).cloned();
        let was_over = status.replicas == status.updated_replicas
            && current.as_ref().is_some_and(|current| current.reason.as_deref() == Some(NEW_SET_AVAILABLE));
        if was_over {
        } else if is_complete(deployment, status) {
            progressing(status, "True", NEW_SET_AVAILABLE, format!("{subject} has successfully progressed."), now);
        } else if has_progressed(before, status) {
            // Said anew each time: the deadline counts from here.
            remove(status, PROGRESSING);
            progressing(status, "True", "ReplicaSetUpdated", format!("{subject} is progressing."), now);
            let transition = current.filter(|current| current.status == "True").and_then(|it| it.last_transition_time);
            let progressing = status.conditions.iter_mut().flatten().find(|condition| condition.type_ == PROGRESSING);
            if let Some((progressing, transition)) = progressing.zip(transition) {
                progressing.last_transition_time = Some(transition);
            }
        } else if has_timed_out(deployment, status, now.0) {
            progressing(status, "False", TIMED_OUT, format!("{subject} has timed out progressing."), now);
        }
    }
    note_failure(status, *sets);
}

/// Why a set cannot make or delete its pods; the newest one's reason before another's.
fn note_failure(status: &mut DeploymentStatus, sets: Sets<'_>) {
    let conditions = |set: &'_ ReplicaSet| set.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let mut failures = sets.newest.into_iter().chain(sets.old).flat_map(conditions);
    let Some(failure) = failures.find(|condition| condition.type_ == REPLICA_FAILURE) else {
        return remove(status, REPLICA_FAILURE);
    };
    let there = condition(status, REPLICA_FAILURE);
    if there.is_some_and(|there| there.status == failure.status && there.reason == failure.reason) {
        return;
    }
    remove(status, REPLICA_FAILURE);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
    });
}

fn name(set: &ReplicaSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}
