//! The books of a Job: which pods are counted when, and what its status says. Pure.
//!
//! A pod bears a finalizer until it is counted, so that none is lost or counted twice: first its uid is written into the status,
//! then its finalizer is taken off, then it becomes a number in the status. Whatever is interrupted goes on from there.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::{
    api::{
        batch::v1::{JobCondition, JobStatus, UncountedTerminatedPods},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    indexes::Indexes,
    plan::{Done, Ending, Progress, Uncounted, is_suspended, number},
    pod, policy,
};

/// So many uids are in a status at most.
const UNCOUNTED_MAX: usize = 500;

/// What is to be written before and after the finalizers are taken off.
#[derive(Debug)]
pub struct Books {
    /// The status to write first.
    pub status: JobStatus,
    /// The pods whose finalizers then go.
    pub release: Vec<Arc<Pod>>,
    /// How the Job ends once all is counted.
    pub ending: Option<Ending>,
    /// Whether it has just been suspended (or, if not, resumed).
    pub suspended: Option<bool>,
}

/// Makes up the books after the pods plan was carried out; `all_done` when nothing of it failed.
pub fn books(progress: &Progress<'_>, done: Done, all_done: bool) -> Books {
    let (job, mut status) = (progress.job, progress.job.status.clone().unwrap_or_default());
    let active = number(progress.active.len()) - done.deleted + done.created;
    let mut ending = progress.ending.clone();
    if ending.is_some() && active > 0 {
        // Not before all pods are told to go.
        ending = None;
    }
    let managed = progress.ending.is_none() && job.metadata.deletion_timestamp.is_none();
    if progress.ending.is_none() && all_done && is_complete(progress, active) {
        ending = Some(Ending {
            success: true,
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        });
    }
    status.start_time.clone_from(&progress.started);
    let mut suspended = None;
    if managed && ending.is_none() {
        suspended = note_suspension(&mut status, is_suspended(job), &progress.now);
        if suspended == Some(false) {
            // The time it was suspended does not count.
            status.start_time = Some(progress.now.clone());
        }
    }
    status.active = Some(active).filter(|count| *count != 0);
    status.ready = Some(progress.ready - done.deleted_ready);
    status.terminating = Some(progress.terminating + done.deleted);
    count_released(&mut status, &tracked(progress.pods));
    let release = count_ended(progress, &mut status, ending.as_ref());
    if let Some(ending) = &ending {
        let type_ = if ending.success { "SuccessCriteriaMet" } else { "FailureTarget" };
        announce(&mut status, type_, ending, &progress.now);
    }
    Books { status, release, ending, suspended }
}

fn is_complete(progress: &Progress<'_>, active: i32) -> bool {
    match progress.job.spec.as_ref().and_then(|spec| spec.completions) {
        Some(completions) => progress.succeeded >= completions && active == 0,
        None => progress.succeeded > 0 && active == 0,
    }
}

/// The uids of pods that bear the finalizer.
pub fn tracked(pods: &[Arc<Pod>]) -> HashSet<&str> {
    pods.iter().filter(|pod| pod::is_tracked(pod)).map(|pod| pod::uid(pod)).collect()
}

/// Uids whose pods do not bear the finalizer any more become numbers.
fn count_released(status: &mut JobStatus, tracked: &HashSet<&str>) {
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let released = |uids: &mut Option<Vec<String>>| {
        let before = uids.as_ref().map_or(0, Vec::len);
        let left: Vec<String> =
            uids.take().into_iter().flatten().filter(|uid| tracked.contains(uid.as_str())).collect();
        let released = number(before - left.len());
        *uids = Some(left).filter(|left| !left.is_empty());
        released
    };
    let (succeeded, failed) = (released(&mut uncounted.succeeded), released(&mut uncounted.failed));
    let add = |count: &mut Option<i32>, more: i32| {
        *count = Some(count.unwrap_or_default() + more).filter(|count| *count != 0);
    };
    add(&mut status.succeeded, succeeded);
    add(&mut status.failed, failed);
}

/// Writes down the pods that have ended; those that may then be released come back.
fn count_ended(progress: &Progress<'_>, status: &mut JobStatus, ending: Option<&Ending>) -> Vec<Arc<Pod>> {
    let job = progress.job;
    let indexed = pod::is_indexed(job);
    let uncounted = Uncounted::new(status);
    let (mut release, mut new_indexes) = (Vec::new(), Vec::new());
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    let mut pods: Vec<_> = progress.pods.iter().filter(|pod| pod::is_tracked(pod)).collect();
    pods.sort_by_key(|pod| pod::index(job, pod));
    let room = UNCOUNTED_MAX.saturating_sub(uncounted.succeeded.len() + uncounted.failed.len());
    for pod in pods {
        if new_indexes.len() + succeeded.len() + failed.len() >= room {
            break;
        }
        let (well, badly) = (pod::has_succeeded(pod), pod::has_failed(job, pod));
        if !may_release(progress, pod, badly, ending) {
            continue;
        }
        release.push(Arc::clone(pod));
        let uid = pod::uid(pod);
        if well && !uncounted.failed.contains(uid) {
            match pod::index(job, pod) {
                Some(index) if indexed && !progress.told_succeeded.has(index) => new_indexes.push(index),
                _ if indexed || uncounted.succeeded.contains(uid) => {}
                _ => succeeded.push(uid.to_owned()),
            }
        } else if badly || ending.is_some_and(|ending| !ending.success) {
            // What a failed Job leaves unfinished has failed.
            let new = !uncounted.failed.contains(uid) && pod::counts(job, pod);
            if new && policy::counts(job, pod) {
                failed.push(uid.to_owned());
            }
        }
    }
    let all = status.uncounted_terminated_pods.get_or_insert_default();
    let UncountedTerminatedPods { succeeded: all_succeeded, failed: all_failed } = all;
    extend(all_succeeded, succeeded);
    extend(all_failed, failed);
    if indexed {
        let done = progress.told_succeeded.with(&new_indexes.into_iter().collect());
        status.succeeded = Some(done.total()).filter(|count| *count != 0);
        status.completed_indexes = text(&done);
        if let Some(failed) = &progress.failed_indexes {
            // An empty one says that it is counted.
            status.failed_indexes = Some(failed.to_string());
        }
    }
    release
}

fn extend(uids: &mut Option<Vec<String>>, more: Vec<String>) {
    if !more.is_empty() {
        uids.get_or_insert_default().extend(more);
    }
}

fn text(indexes: &Indexes) -> Option<String> {
    Some(indexes.to_string()).filter(|text| !text.is_empty())
}

fn may_release(progress: &Progress<'_>, pod: &Pod, failed: bool, ending: Option<&Ending>) -> bool {
    if progress.job.metadata.deletion_timestamp.is_some() || ending.is_some() || pod::has_succeeded(pod) {
        return true;
    }
    let remembered = pod::index(progress.job, pod).and_then(|index| progress.remembered.get(&index));
    failed && remembered.is_none_or(|remembered| pod::uid(remembered) != pod::uid(pod))
}

/// What the status becomes when `tracked` are the uids that still bear the finalizer; whether the Job is over.
pub fn settle(books: &Books, tracked: &HashSet<&str>, now: &Time) -> (JobStatus, bool) {
    let mut status = books.status.clone();
    count_released(&mut status, tracked);
    let Some(ending) = &books.ending else { return (status, false) };
    let uncounted = Uncounted::new(&status);
    let open = !uncounted.succeeded.is_empty() || !uncounted.failed.is_empty();
    if open || !tracked.is_empty() || status.terminating.unwrap_or_default() > 0 {
        return (status, false);
    }
    announce(&mut status, if ending.success { "Complete" } else { "Failed" }, ending, now);
    if ending.success {
        status.completion_time = Some(now.clone());
    }
    (status, true)
}

fn announce(status: &mut JobStatus, type_: &str, ending: &Ending, now: &Time) {
    set_condition(status, type_, true, (&ending.reason, &ending.message), now);
}

/// Notes that the Job is suspended or not; `Some` when that is news.
fn note_suspension(status: &mut JobStatus, suspended: bool, now: &Time) -> Option<bool> {
    let why = if suspended { ("JobSuspended", "Job suspended") } else { ("JobResumed", "Job resumed") };
    set_condition(status, "Suspended", suspended, why, now).then_some(suspended)
}

/// Sets a condition, unless it has that status; that one does not hold is only said when it did.
fn set_condition(status: &mut JobStatus, type_: &str, holds: bool, why: (&str, &str), now: &Time) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let value = if holds { "True" } else { "False" };
    let there = conditions.iter().position(|condition| condition.type_ == type_);
    let news = match there {
        Some(at) => conditions[at].status != value,
        None => holds,
    };
    if news {
        let condition = JobCondition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: Some(why.0.to_owned()),
            message: Some(why.1.to_owned()),
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
        };
        match there {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
    }
    if status.conditions.as_ref().is_some_and(Vec::is_empty) {
        status.conditions = None;
    }
    news
}
