//! Kinds of `batch`.

mod cron_job;
mod indexes;
mod job;
mod job_spec;
mod job_status;
mod schedule;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Job" => &job::Job,
        "CronJob" => &cron_job::CronJob,
        _ => return None,
    })
}
