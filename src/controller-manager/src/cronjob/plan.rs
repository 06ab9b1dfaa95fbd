//! Whether a CronJob starts a Job now, and when it is to be looked at again. Pure.

use std::{collections::HashSet, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use super::schedule::{Schedule, time_zone};
use crate::framework::{Severity, controller_ref};

/// The annotation of a Job that says for when it was scheduled.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than that are worth a warning.
const MISSED_MAX: usize = 100;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How bad it is.
    pub severity: Severity,
    /// Why, in a word.
    pub reason: &'static str,
    /// And in a sentence.
    pub message: String,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// What there is to say.
    pub status: CronJobStatus,
    /// What there is to tell.
    pub events: Vec<Told>,
    /// Jobs to delete first, since another takes their place.
    pub replace: Vec<Arc<Job>>,
    /// The Job to start, and its time.
    pub start: Option<(Box<Job>, Timestamp)>,
    /// Jobs that ended too long ago to be kept.
    pub forget: Vec<Arc<Job>>,
    /// When to look again.
    pub again_at: Option<Timestamp>,
}

/// Decides for `cron`, which controls `jobs`.
pub fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    let spec = &cron.spec;
    plan.take_stock(jobs);
    plan.forget = surplus(spec, jobs);
    if cron.metadata.deletion_timestamp.is_none() && spec.suspend != Some(true) {
        plan.schedule(cron, spec, jobs, now);
    }
    plan
}

impl Plan {
    fn tell(&mut self, severity: Severity, reason: &'static str, message: String) {
        self.events.push(Told { severity, reason, message });
    }

    /// Brings the list of active Jobs up to date.
    fn take_stock(&mut self, jobs: &[Arc<Job>]) {
        let active: HashSet<String> = self.status.active.iter().flatten().filter_map(|job| job.uid.clone()).collect();
        let mut over = HashSet::new();
        for job in jobs {
            let (uid, name) = (job.metadata.uid.clone().unwrap_or_default(), name(job));
            match ended(job) {
                None if !active.contains(&uid) => {
                    let text = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.tell(Severity::Warning, "UnexpectedJob", text);
                }
                Some(condition) if active.contains(&uid) => {
                    let text = format!("Saw completed job: {name}, condition: {condition}");
                    self.tell(Severity::Normal, "SawCompletedJob", text);
                    over.insert(uid);
                }
                _ => {}
            }
        }
        let there: HashSet<&String> = jobs.iter().filter_map(|job| job.metadata.uid.as_ref()).collect();
        let (mut left, mut missing) = (Vec::new(), Vec::new());
        for job in self.status.active.take().into_iter().flatten() {
            match &job.uid {
                Some(uid) if over.contains(uid) => {}
                Some(uid) if !there.contains(uid) => missing.push(job.name.unwrap_or_default()),
                _ => left.push(job),
            }
        }
        for name in missing {
            self.tell(Severity::Normal, "MissingJob", format!("Active job went missing: {name}"));
        }
        self.status.active = Some(left).filter(|left| !left.is_empty());
        let successes = jobs.iter().filter(|job| ended(job) == Some("Complete"));
        let last = successes.filter_map(|job| job.status.as_ref()?.completion_time.clone()).max_by_key(|time| time.0);
        let known = self.status.last_successful_time.as_ref().map(|time| time.0);
        if last.as_ref().map(|time| time.0) > known {
            self.status.last_successful_time = last;
        }
    }

    fn schedule(&mut self, cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>], now: Timestamp) {
        let zone_name = spec.time_zone.as_deref().unwrap_or_default();
        let Some(zone) = time_zone(zone_name) else {
            let text = format!("invalid timeZone: \"{zone_name}\": unknown time zone {zone_name}");
            return self.tell(Severity::Warning, "UnknownTimeZone", text);
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let text = format!("unparseable schedule: \"{}\" : {error}", spec.schedule);
                return self.tell(Severity::Warning, "UnparseableSchedule", text);
            }
        };
        self.again_at = schedule.next(now, &zone);
        let since = self.since(cron, spec, now);
        let Some((due, missed)) = due(&schedule, &zone, since, now) else { return };
        if missed > MISSED_MAX {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(Severity::Warning, "TooManyMissedTimes", text.to_owned());
        }
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        let too_late = deadline.is_some_and(|deadline| due.checked_add(deadline).is_ok_and(|last| last < now));
        if too_late {
            let time = due.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
            return self.tell(
                Severity::Warning,
                "MissSchedule",
                format!("Missed scheduled time to start a job: {time}"),
            );
        }
        let name = job_name(cron, due);
        let running = |job: &ObjectReference| job.name.as_deref() == Some(&name);
        let last = self.status.last_schedule_time.as_ref().map(|time| time.0);
        if self.status.active.iter().flatten().any(running) || last == Some(due) {
            return;
        }
        let active: HashSet<_> = self.status.active.iter().flatten().filter_map(|job| job.uid.as_ref()).collect();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.tell(Severity::Normal, "JobAlreadyActive", text.to_owned());
            }
            Some("Replace") => {
                let running = |job: &&Arc<Job>| job.metadata.uid.as_ref().is_some_and(|uid| active.contains(uid));
                self.replace = jobs.iter().filter(running).cloned().collect();
            }
            _ => {}
        }
        self.start = Some((Box::new(job(cron, spec, name, due, &zone)), due));
    }

    /// From when on times count: the last that was met, or the CronJob's beginning; not longer ago than the deadline.
    fn since(&self, cron: &CronJob, spec: &CronJobSpec, now: Timestamp) -> Timestamp {
        let last = self.status.last_schedule_time.as_ref().or(cron.metadata.creation_timestamp.as_ref());
        let since = last.map_or(now, |time| time.0);
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        let earliest = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
        earliest.map_or(since, |earliest| since.max(earliest))
    }

    /// The Job of `scheduled` was started.
    pub fn started(&mut self, job: ObjectReference, scheduled: Timestamp) {
        self.status.active.get_or_insert_default().push(job);
        self.status.last_schedule_time = Some(Time(scheduled));
    }

    /// A Job was deleted.
    pub fn deleted(&mut self, job: &Job) {
        let others = |active: &ObjectReference| active.uid != job.metadata.uid;
        let left: Vec<_> = self.status.active.take().into_iter().flatten().filter(others).collect();
        self.status.active = Some(left).filter(|left| !left.is_empty());
    }
}

/// The last time after `since` and not after `now`, and how many there were (not counted beyond what is worth a warning).
fn due(schedule: &Schedule, zone: &TimeZone, since: Timestamp, now: Timestamp) -> Option<(Timestamp, usize)> {
    let times = |from| std::iter::successors(schedule.next(from, zone), |time| schedule.next(*time, zone));
    let first = schedule.next(since, zone).filter(|time| *time <= now)?;
    let missed = times(since).take_while(|time| *time <= now).take(MISSED_MAX + 1).count();
    if missed <= MISSED_MAX || matches!(schedule, Schedule::Every(_)) {
        return times(since).take_while(|time| *time <= now).last().map(|time| (time, missed));
    }
    // Looked for in ever longer spans that end now, so that a year of minutes is not counted through.
    let mut span = SignedDuration::from_mins(1);
    loop {
        let from = now.checked_sub(span).unwrap_or(first).max(since);
        if let Some(last) = times(from).take_while(|time| *time <= now).last() {
            return Some((last, missed));
        }
        span = span.saturating_mul(2);
    }
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

/// How a Job ended, if it did.
fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ended = conditions.filter(|condition| condition.status == "True").map(|condition| condition.type_.as_str());
    ended.find(|type_| matches!(*type_, "Complete" | "Failed"))
}

/// The name of the Job of a time: the same for whoever asks, so that none is started twice.
fn job_name(cron: &CronJob, scheduled: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), scheduled.as_second() / 60)
}

fn job(cron: &CronJob, spec: &CronJobSpec, name: String, scheduled: Timestamp, zone: &TimeZone) -> Job {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    let local = scheduled.to_zoned(zone.clone());
    let format = if local.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    annotations.insert(SCHEDULED.to_owned(), local.strftime(format).to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: cron.metadata.namespace.clone(),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

/// The oldest Jobs that ended, well or not, beyond those that are remembered.
fn surplus(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let mut surplus = Vec::new();
    for (condition, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let mut over: Vec<_> = jobs.iter().filter(|job| ended(job) == Some(condition)).cloned().collect();
        over.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
            (started.or(job.metadata.creation_timestamp.as_ref()).map(|time| time.0), job.metadata.name.clone())
        });
        let count = over.len().saturating_sub(limit);
        surplus.extend(over.into_iter().take(count).filter(|job| job.metadata.deletion_timestamp.is_none()));
    }
    surplus
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
