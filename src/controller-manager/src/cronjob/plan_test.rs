use serde_json::{Value, from_value, json};

use super::*;

fn cron(overrides: Value) -> CronJob {
    let mut cron = json!({
        "metadata": {"name": "cron", "namespace": "default", "uid": "c", "creationTimestamp": "2024-01-01T00:00:30Z"},
        "spec": {
            "schedule": "*/10 * * * *", "concurrencyPolicy": "Allow",
            "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": []}}}},
        },
    });
    json_patch::merge(&mut cron, &overrides);
    from_value(cron).expect("a CronJob")
}

fn job_called(name: &str, ended: Option<&str>, started: &str) -> Arc<Job> {
    let conditions: Vec<_> = ended.iter().map(|type_| json!({"type": type_, "status": "True"})).collect();
    let completed = ended.filter(|type_| *type_ == "Complete").map(|_| started);
    let status = json!({"conditions": conditions, "startTime": started, "completionTime": completed});
    Arc::new(from_value(json!({"metadata": {"name": name, "uid": name}, "status": status})).expect("a Job"))
}

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.events.iter().map(|told| told.reason).collect()
}

#[test]
fn a_job_is_started_when_one_is_due_and_the_next_time_is_awaited() {
    let nothing = plan(&cron(json!({})), &[], at("2024-01-01T00:09:59Z"));
    assert!(nothing.start.is_none());
    assert_eq!(nothing.again_at, Some(at("2024-01-01T00:10:00Z")));
    let mut due = plan(&cron(json!({"spec": {"timeZone": "Asia/Tokyo"}})), &[], at("2024-01-01T00:10:00Z"));
    assert_eq!(due.again_at, Some(at("2024-01-01T00:20:00Z")));
    let (job, scheduled) = due.start.take().expect("due");
    let metadata = serde_json::to_value(&job.metadata).expect("encodes");
    assert_eq!(metadata["name"], format!("cron-{}", scheduled.as_second() / 60));
    assert_eq!(metadata["annotations"], json!({SCHEDULED: "2024-01-01T09:10:00+09:00"}));
    assert_eq!(metadata["labels"], json!({"a": "b"}));
    due.started(ObjectReference { uid: Some("j".to_owned()), ..Default::default() }, scheduled);
    let cron = CronJob { status: Some(due.status), ..cron(json!({})) };
    let again = plan(&cron, &[job_called("j", None, "2024-01-01T00:10:00Z")], at("2024-01-01T00:10:05Z"));
    assert!(again.start.is_none() && again.events.is_empty(), "one is enough");
}

#[test]
fn only_the_last_of_missed_times_is_made_up_for_unless_it_is_too_late() {
    let starts = |overrides: Value, now: &str| {
        let plan = plan(&cron(overrides), &[], at(now));
        let start = plan.start.as_ref().map(|(_, scheduled)| scheduled.to_string());
        (start, reasons(&plan).join(" "))
    };
    let some = |time: &str| Some(time.to_owned());
    assert_eq!(starts(json!({}), "2024-01-01T02:05:00Z"), (some("2024-01-01T02:00:00Z"), String::new()));
    let long = starts(json!({}), "2025-01-01T00:05:00Z");
    assert_eq!(long, (some("2025-01-01T00:00:00Z"), "TooManyMissedTimes".to_owned()));
    let patient = json!({"spec": {"startingDeadlineSeconds": 600}});
    assert_eq!(starts(patient, "2025-01-01T00:05:00Z"), (some("2025-01-01T00:00:00Z"), String::new()));
    let impatient = json!({"spec": {"startingDeadlineSeconds": 60}});
    assert_eq!(starts(impatient, "2025-01-01T00:05:00Z"), (None, String::new()));
    assert_eq!(starts(json!({"spec": {"suspend": true}}), "2024-01-01T02:05:00Z"), (None, String::new()));
    assert_eq!(
        starts(json!({"spec": {"schedule": "x"}}), "2024-01-01T02:05:00Z"),
        (None, "UnparseableSchedule".to_owned())
    );
    assert_eq!(
        starts(json!({"spec": {"timeZone": "No/Where"}}), "2024-01-01T02:05:00Z"),
        (None, "UnknownTimeZone".to_owned())
    );
}

#[test]
fn what_runs_is_left_replaced_or_in_the_way() {
    let active = json!({"status": {"active": [{"name": "a", "uid": "a"}], "lastScheduleTime": "2024-01-01T00:10:00Z"}});
    let running = [job_called("a", None, "2024-01-01T00:10:00Z")];
    let planned = |policy: &str| {
        let mut overrides = active.clone();
        overrides["spec"] = json!({"concurrencyPolicy": policy});
        let plan = plan(&cron(overrides), &running, at("2024-01-01T00:20:00Z"));
        (plan.start.is_some(), plan.replace.len(), reasons(&plan).join(" "))
    };
    assert_eq!(planned("Allow"), (true, 0, String::new()));
    assert_eq!(planned("Replace"), (true, 1, String::new()));
    assert_eq!(planned("Forbid"), (false, 0, "JobAlreadyActive".to_owned()));
}

#[test]
fn jobs_that_ended_are_noted_and_the_oldest_forgotten() {
    let active = json!([{"name": "new", "uid": "new"}, {"name": "lost", "uid": "lost"}]);
    let jobs = [
        job_called("new", Some("Complete"), "2024-01-01T00:08:00Z"),
        job_called("old", Some("Complete"), "2024-01-01T00:01:00Z"),
        job_called("bad", Some("Failed"), "2024-01-01T00:02:00Z"),
        job_called("stray", None, "2024-01-01T00:03:00Z"),
    ];
    let plan = plan(&cron(json!({"status": {"active": active}})), &jobs, at("2024-01-01T00:09:00Z"));
    assert_eq!(reasons(&plan), ["SawCompletedJob", "UnexpectedJob", "MissingJob"]);
    assert_eq!(plan.events[0].message, "Saw completed job: new, condition: Complete");
    assert_eq!(plan.forget.iter().map(|job| name(job)).collect::<Vec<_>>(), ["old"]);
    let status = serde_json::to_value(&plan.status).expect("encodes");
    assert_eq!(status, json!({"lastSuccessfulTime": "2024-01-01T00:08:00Z"}));
}
