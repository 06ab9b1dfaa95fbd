//! When a Job that has ended goes.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

/// That moment; `None` when it stays.
pub fn expiry(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let ended = |kind: &str| matches!(kind, "Complete" | "Failed");
    let ended = conditions.iter().find(|condition| condition.status == "True" && ended(&condition.type_))?;
    let at = ended.last_transition_time.as_ref()?.0;
    job.metadata
        .deletion_timestamp
        .is_none()
        .then(|| at.checked_add(SignedDuration::from_secs(ttl.into())).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_job_that_has_ended_goes_after_its_time() {
        let ended = json!([{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let running = json!([{"type": "Suspended", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let cases: [(Value, &Value, Option<&str>); 3] = [
            (json!(60), &ended, Some("2026-01-01T00:01:00Z")),
            (Value::Null, &ended, None),
            (json!(60), &running, None),
        ];
        for (ttl, conditions, at) in cases {
            let job = json!({"metadata": {}, "spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": conditions}});
            let at = at.map(|at| at.parse().expect("a moment"));
            assert_eq!(expiry(&serde_json::from_value(job).expect("a job")), at, "{ttl}");
        }
    }
}
