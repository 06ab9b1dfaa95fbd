//! How far a Job is, and which pods it makes and deletes next. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    backoff::{self, Failures},
    indexes::Indexes,
    pod, policy,
    policy::Verdict,
};
use crate::pods;

/// So many pods are created or deleted before the next look.
const BURST: usize = 500;

/// How a Job ends, as the conditions that announce it say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Well or not.
    pub success: bool,
    /// Why, in a word.
    pub reason: String,
    /// And in a sentence.
    pub message: String,
}

impl Ending {
    fn new(success: bool, reason: &str, message: &str) -> Self {
        Self { success, reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// What there is to know about a Job, from itself and its pods.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The Job.
    pub job: &'a Job,
    /// All its pods.
    pub pods: &'a [Arc<Pod>],
    /// The present second.
    pub now: Time,
    /// Its pods that count.
    pub active: Vec<Arc<Pod>>,
    /// How many of those are ready.
    pub ready: i32,
    /// How many pods are going.
    pub terminating: i32,
    /// How many have succeeded, those among them that are not counted in the status yet.
    pub succeeded: i32,
    /// The indexes that the status says have succeeded.
    pub told_succeeded: Indexes,
    /// And those that have.
    pub succeeded_indexes: Indexes,
    /// The indexes that have failed for good, if that is counted.
    pub failed_indexes: Option<Indexes>,
    /// The last failed pod of each index that is to be tried again: it stays uncounted, since it remembers how often.
    pub remembered: BTreeMap<i32, Arc<Pod>>,
    /// How it ends, if it does.
    pub ending: Option<Ending>,
    /// What is known of its failures, with those that are new.
    pub failures: Failures,
    /// Since when it runs.
    pub started: Option<Time>,
}

impl<'a> Progress<'a> {
    /// Looks at a Job; `failures` is what was known of its failures before.
    pub fn new(job: &'a Job, pods: &'a [Arc<Pod>], failures: &Failures, now: Time) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let active: Vec<_> = pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        let uncounted = Uncounted::new(&status);
        let new = |uncounted: &HashSet<String>, ended: &dyn Fn(&Pod) -> bool| {
            let new = pods.iter().filter(|pod| pod::is_tracked(pod) && !uncounted.contains(pod::uid(pod)));
            new.filter(|pod| pod::counts(job, pod) && ended(pod)).cloned().collect::<Vec<_>>()
        };
        let new_succeeded = new(&uncounted.succeeded, &pod::has_succeeded);
        let new_failed = new(&uncounted.failed, &|pod| pod::has_failed(job, pod));
        let counted = new_failed.iter().filter(|pod| policy::counts(job, pod)).count();
        let failed = status.failed.unwrap_or_default() + number(counted) + number(uncounted.failed.len());
        let waiting = number(new_succeeded.len()) + number(uncounted.succeeded.len());
        let suspended = is_suspended(job);
        let mut progress = Self {
            job,
            pods,
            ready: number(active.iter().filter(|pod| pods::is_ready(pod)).count()),
            active,
            terminating: number(pods.iter().filter(|pod| pods::is_terminating(pod)).count()),
            succeeded: status.succeeded.unwrap_or_default() + waiting,
            told_succeeded: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            remembered: BTreeMap::new(),
            ending: None,
            failures: failures.with(&new_succeeded, &new_failed),
            started: status.start_time.clone().or_else(|| (!suspended).then(|| now.clone())),
            now,
        };
        progress.ending = progress.announced(&status).or_else(|| progress.failed_by_policy());
        if progress.ending.is_none() {
            progress.ending = progress.beyond_limits(failed);
        }
        if pod::is_indexed(job) {
            progress.look_at_indexes(&status);
        }
        progress
    }

    /// An ending that an earlier look has announced.
    fn announced(&self, status: &JobStatus) -> Option<Ending> {
        let find = |type_: &str| {
            status.conditions.iter().flatten().find(|condition| condition.type_ == type_ && condition.status == "True")
        };
        let of = |condition: &JobCondition, success| Ending {
            success,
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        };
        let success = find("SuccessCriteriaMet").map(|condition| of(condition, true));
        success.or_else(|| find("FailureTarget").map(|condition| of(condition, false)))
    }

    fn failed_by_policy(&self) -> Option<Ending> {
        let failed = self.pods.iter().filter(|pod| pod::has_failed(self.job, pod));
        failed.into_iter().find_map(|pod| match policy::judge(self.job, pod) {
            Verdict::FailJob(message) => Some(Ending::new(false, "PodFailurePolicy", &message)),
            _ => None,
        })
    }

    fn beyond_limits(&self, failed: i32) -> Option<Ending> {
        let spec = self.job.spec.as_ref()?;
        let limit = spec.backoff_limit.unwrap_or(6);
        if failed > limit || self.restarted_too_often(limit) {
            return Some(Ending::new(false, "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        let over = self.deadline().is_some_and(|deadline| deadline <= self.now.0);
        over.then(|| Ending::new(false, "DeadlineExceeded", "Job was active longer than specified deadline"))
    }

    /// Containers that are restarted in place count as pods that failed.
    fn restarted_too_often(&self, limit: i32) -> bool {
        let policy = self.job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.restart_policy.as_deref());
        if policy != Some("OnFailure") {
            return false;
        }
        let running = self.pods.iter().filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
        let restarts = running.map(|pod| pod::restarts(pod)).fold(0, i32::saturating_add);
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    /// When it has run too long.
    pub fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.job.spec.as_ref()?.active_deadline_seconds?;
        if is_suspended(self.job) {
            return None;
        }
        self.started.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    fn look_at_indexes(&mut self, status: &JobStatus) {
        let (job, completions) = (self.job, pod::completions(self.job));
        let told = |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), completions);
        let of = |which: &dyn Fn(&Pod) -> bool| {
            let tracked = self.pods.iter().filter(|pod| pod::is_tracked(pod) && which(pod));
            tracked.filter_map(|pod| pod::index(job, pod)).collect::<Indexes>()
        };
        self.told_succeeded = told(&status.completed_indexes);
        self.succeeded_indexes = self.told_succeeded.with(&of(&pod::has_succeeded));
        self.succeeded = self.succeeded_indexes.total();
        if pod::limit_per_index(job).is_some() {
            let failed = |pod: &Pod| pod::has_failed(job, pod) && policy::fails_index(job, pod);
            let failed = told(&status.failed_indexes).with(&of(&failed));
            self.ending = self.ending.take().or_else(|| self.failed_by_indexes(&failed, completions));
            self.remembered = self.last_failures(&failed);
            self.failed_indexes = Some(failed);
        }
        if self.ending.is_none() {
            let met = policy::success(job, &self.succeeded_indexes);
            self.ending = met.map(|message| Ending::new(true, "SuccessPolicy", &message));
        }
    }

    fn failed_by_indexes(&self, failed: &Indexes, completions: i32) -> Option<Ending> {
        let most = self.job.spec.as_ref().and_then(|spec| spec.max_failed_indexes);
        if most.is_some_and(|most| failed.total() > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(Ending::new(false, "MaxFailedIndexesExceeded", message));
        }
        let all = failed.total() > 0 && failed.total() + self.succeeded_indexes.total() >= completions;
        all.then(|| Ending::new(false, "FailedIndexes", "Job has failed indexes"))
    }

    fn last_failures(&self, failed: &Indexes) -> BTreeMap<i32, Arc<Pod>> {
        let active: HashSet<_> = self.active.iter().filter_map(|pod| pod::index(self.job, pod)).collect();
        let mut last: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| pod::is_tracked(pod) && pod::has_failed(self.job, pod)) {
            let Some(index) = pod::index(self.job, pod) else { continue };
            if active.contains(&index) || self.succeeded_indexes.has(index) || failed.has(index) {
                continue;
            }
            let order = |pod: &Pod| (pod::failures_with(pod), pod::finished_at(pod));
            if last.get(&index).is_none_or(|other| order(other) <= order(pod)) {
                last.insert(index, pod.clone());
            }
        }
        last
    }

    /// What is to be done about pods.
    pub fn pods_plan(&self) -> PodsPlan {
        let mut plan = PodsPlan::default();
        if self.ending.is_some() {
            plan.end = self.active.clone();
        } else if self.job.metadata.deletion_timestamp.is_none() {
            self.manage(&mut plan);
        }
        plan
    }

    fn manage(&self, plan: &mut PodsPlan) {
        let active = number(self.active.len());
        if is_suspended(self.job) {
            plan.remove.clone_from(&self.active);
            return;
        }
        let wanted = self.wanted(active);
        let surplus = usize::try_from(active - wanted).unwrap_or_default();
        plan.remove = self.surplus(surplus);
        plan.remove.truncate(BURST);
        if !plan.remove.is_empty() {
            return;
        }
        let going = if pod::waits_for_end(self.job) { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - going - active).unwrap_or_default().min(BURST);
        if missing == 0 {
            return;
        }
        if pod::limit_per_index(self.job).is_none() {
            let wait = self.failures.wait(self.now.0);
            if let Some(wait) = wait {
                plan.after = Some(wait);
                return;
            }
        }
        if pod::is_indexed(self.job) {
            self.make_indexes(missing, plan);
        } else {
            plan.create = std::iter::repeat_with(|| pod::make(self.job, None, None)).take(missing).collect();
        }
    }

    /// How many pods are to run.
    fn wanted(&self, active: i32) -> i32 {
        let spec = self.job.spec.as_ref();
        let parallelism = spec.and_then(|spec| spec.parallelism).unwrap_or(1);
        match spec.and_then(|spec| spec.completions) {
            Some(completions) => (completions - self.succeeded).clamp(0, parallelism),
            // One success is enough, and who runs may finish.
            None if self.succeeded > 0 => active,
            None => parallelism,
        }
    }

    /// At least that many pods to do without: first those whose index another has.
    fn surplus(&self, at_least: usize) -> Vec<Arc<Pod>> {
        let mut left = self.active.clone();
        left.sort_by_key(|pod| dispensable(pod));
        let mut surplus = Vec::new();
        if pod::is_indexed(self.job) {
            let mut taken = HashSet::new();
            // The least dispensable of an index stays.
            left.reverse();
            let (keep, double): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|pod| pod::index(self.job, pod).is_some_and(|index| taken.insert(index)));
            (left, surplus) = (keep, double);
            left.reverse();
        }
        let more = at_least.saturating_sub(surplus.len());
        surplus.extend(left.into_iter().take(more));
        surplus
    }

    fn make_indexes(&self, missing: usize, plan: &mut PodsPlan) {
        let waits = pod::waits_for_end(self.job);
        let busy = self.pods.iter().filter(|pod| pods::is_active(pod) || (waits && pods::is_terminating(pod)));
        let busy: Indexes = busy.filter_map(|pod| pod::index(self.job, pod)).collect();
        let busy = busy.with(&self.succeeded_indexes).with(self.failed_indexes.as_ref().unwrap_or(&Indexes::default()));
        let mut soonest: Option<SignedDuration> = None;
        for index in busy.missing(pod::completions(self.job)).take(missing) {
            let replaced = self.remembered.get(&index);
            let wait = replaced.and_then(|pod| backoff::wait_after(pod, self.now.0));
            match wait {
                Some(wait) => soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait))),
                None => plan.create.push(pod::make(self.job, Some(index), replaced.map(|pod| &**pod))),
            }
        }
        plan.after = soonest;
    }
}

/// What is to be done about a Job's pods.
#[derive(Debug, Default)]
pub struct PodsPlan {
    /// Delete these: the Job ends.
    pub end: Vec<Arc<Pod>>,
    /// Delete these without counting them: there are too many, or the Job is suspended.
    pub remove: Vec<Arc<Pod>>,
    /// Make these.
    pub create: Vec<Pod>,
    /// More can be made after that time.
    pub after: Option<SignedDuration>,
}

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Done {
    /// So many pods were deleted.
    pub deleted: i32,
    /// So many of those had been ready.
    pub deleted_ready: i32,
    /// So many were made.
    pub created: i32,
}

/// The uids in the status of pods that have ended and may still bear the finalizer.
#[derive(Debug, Default)]
pub struct Uncounted {
    /// Of those that succeeded.
    pub succeeded: HashSet<String>,
    /// Of those that failed.
    pub failed: HashSet<String>,
}

impl Uncounted {
    /// Reads a status.
    pub fn new(status: &JobStatus) -> Self {
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        Self {
            succeeded: uncounted.succeeded.into_iter().flatten().collect(),
            failed: uncounted.failed.into_iter().flatten().collect(),
        }
    }
}

/// Whether it is suspended.
pub fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

/// Whether it is over.
pub fn is_finished(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut over = conditions.filter(|condition| condition.status == "True");
    over.any(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed"))
}

/// The order in which pods go: those that have done least first.
fn dispensable(pod: &Pod) -> (bool, bool, bool, std::cmp::Reverse<Option<Timestamp>>, String) {
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let running = pods::phase(pod) == "Running";
    let placed = !pods::node_name(pod).is_empty();
    (placed, running, pods::is_ready(pod), std::cmp::Reverse(created), pod::uid(pod).to_owned())
}

/// A count as the API has it.
pub fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
