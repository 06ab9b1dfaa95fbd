use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::{super::accounting, *};

fn now() -> Time {
    Time("2024-01-01T12:00:00Z".parse().expect("a time"))
}

fn job(overrides: Value) -> Job {
    let mut job = json!({
        "metadata": {"name": "work", "namespace": "default", "uid": "j", "generation": 1},
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "podReplacementPolicy": "TerminatingOrFailed",
            "template": {"metadata": {"labels": {"job": "work"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}},
        },
    });
    json_patch::merge(&mut job, &overrides);
    from_value(job).expect("a Job")
}

/// A Job with its pods, whose controller can be stopped after each of its writes, and whose node is played.
struct Cluster {
    job: Job,
    pods: Vec<Pod>,
    made: usize,
    failures: Failures,
    events: Vec<String>,
}

impl Cluster {
    fn new(overrides: Value) -> Self {
        Self { job: job(overrides), pods: Vec::new(), made: 0, failures: Failures::default(), events: Vec::new() }
    }

    /// One round; it ends early after `writes` of its writes, as if the controller died there.
    fn round(&mut self, writes: usize) {
        if is_finished(&self.job) {
            return;
        }
        let (job, pods) = (self.job.clone(), self.pods.iter().cloned().map(Arc::new).collect::<Vec<_>>());
        let progress = Progress::new(&job, &pods, &self.failures, now());
        let PodsPlan { end, remove, create, .. } = progress.pods_plan();
        let mut done = Done { created: number(create.len()), ..Done::default() };
        for pod in end.iter().chain(&remove) {
            done.deleted += 1;
            done.deleted_ready += i32::from(pods::is_ready(pod));
            self.delete(pod::uid(pod), remove.iter().any(|other| Arc::ptr_eq(other, pod)));
        }
        for mut pod in create {
            self.made += 1;
            pod.metadata.name = Some(format!("p{}", self.made));
            pod.metadata.uid.clone_from(&pod.metadata.name);
            pod.metadata.creation_timestamp = Some(now());
            pod.status = from_value(json!({"phase": "Running"})).expect("a status");
            self.pods.push(pod);
        }
        if writes == 0 {
            return;
        }
        let books = accounting::books(&progress, done, true);
        self.job.status = Some(books.status.clone());
        if writes == 1 {
            return;
        }
        for pod in &books.release {
            self.release(pod::uid(pod));
        }
        if writes == 2 {
            return;
        }
        self.failures = progress.failures;
        let mut tracked = accounting::tracked(&pods);
        books.release.iter().for_each(|pod| {
            tracked.remove(pod::uid(pod));
        });
        let (status, over) = accounting::settle(&books, &tracked, &now());
        self.job.status = Some(status);
        self.events.extend(books.ending.filter(|_| over).map(|ending| ending.reason));
    }

    fn delete(&mut self, uid: &str, uncounted: bool) {
        if uncounted {
            self.release(uid);
        }
        let pod = self.pods.iter_mut().find(|pod| pod::uid(pod) == uid).expect("only what is there is deleted");
        pod.metadata.deletion_timestamp = Some(now());
    }

    fn release(&mut self, uid: &str) {
        for pod in self.pods.iter_mut().filter(|pod| pod::uid(pod) == uid) {
            pod.metadata.finalizers = None;
        }
    }

    /// The node stops pods that are being deleted; those without finalizers are then gone.
    fn node_follows(&mut self) {
        for pod in self.pods.iter_mut().filter(|pod| pods::is_terminating(pod)) {
            pod.status = from_value(json!({"phase": "Failed"})).expect("a status");
        }
        self.pods.retain(|pod| !pods::is_deleting(pod) || pod::is_tracked(pod));
    }

    /// The node ends the pod that has run longest.
    fn end_one(&mut self, code: i32) -> bool {
        let Some(pod) = self.pods.iter_mut().find(|pod| pods::is_active(pod)) else { return false };
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let ended = json!({"exitCode": code, "finishedAt": "2024-01-01T00:00:00Z"});
        let container = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": ended}});
        pod.status = from_value(json!({"phase": phase, "containerStatuses": [container]})).expect("a status");
        true
    }

    fn settle(&mut self) {
        for _ in 0..6 {
            self.round(usize::MAX);
            self.node_follows();
        }
    }

    fn status(&self) -> Value {
        let mut status = serde_json::to_value(&self.job.status).expect("encodes");
        let fields = status.as_object_mut().expect("a status");
        for time in ["startTime", "completionTime", "uncountedTerminatedPods"] {
            fields.remove(time);
        }
        let conditions = fields.remove("conditions").unwrap_or_default();
        let types = conditions.as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let types =
            types.map(|one| format!("{}={} {}", text(&one["type"]), text(&one["status"]), text(&one["reason"])));
        fields.insert("conditions".to_owned(), json!(types.collect::<Vec<_>>()));
        status
    }
}

#[test]
fn it_runs_as_many_at_a_time_as_it_may_until_all_have_succeeded() {
    let mut cluster = Cluster::new(json!({"spec": {"parallelism": 2, "completions": 3}}));
    cluster.settle();
    assert_eq!(cluster.status(), json!({"active": 2, "ready": 0, "terminating": 0, "conditions": []}));
    assert!(cluster.pods.iter().all(pod::is_tracked));
    cluster.end_one(0);
    cluster.settle();
    assert_eq!(cluster.status(), json!({"active": 2, "succeeded": 1, "ready": 0, "terminating": 0, "conditions": []}));
    cluster.end_one(0);
    cluster.settle();
    cluster.end_one(0);
    cluster.settle();
    let conditions = ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"];
    assert_eq!(cluster.status(), json!({"succeeded": 3, "ready": 0, "terminating": 0, "conditions": conditions}));
    assert_eq!((cluster.events.as_slice(), cluster.made), (&["CompletionsReached".to_owned()][..], 3));
    assert!(cluster.pods.iter().all(|pod| !pod::is_tracked(pod)), "all are counted");
}

#[test]
fn it_fails_for_the_reasons_of_kubernetes_and_takes_its_pods_with_it() {
    let indexed = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
    let with = |more: Value| {
        let mut spec = indexed.clone();
        json_patch::merge(&mut spec, &more);
        spec
    };
    let policy =
        |action: &str| json!({"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]});
    // What the spec says, how pods end, and how the Job does.
    let cases: &[(Value, &[i32], &str, i32)] = &[
        (json!({"backoffLimit": 1}), &[1, 1], "BackoffLimitExceeded", 2),
        (json!({"backoffLimit": 0, "parallelism": 3, "completions": 3}), &[1], "BackoffLimitExceeded", 3),
        (json!({"podFailurePolicy": policy("FailJob")}), &[42], "PodFailurePolicy", 1),
        (with(json!({"backoffLimitPerIndex": 0})), &[1, 1], "FailedIndexes", 2),
        (with(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 0})), &[1, 1, 1], "MaxFailedIndexesExceeded", 4),
        (
            with(json!({"backoffLimitPerIndex": 5, "podFailurePolicy": policy("FailIndex")})),
            &[42, 42],
            "FailedIndexes",
            2,
        ),
    ];
    for (spec, ends, reason, failed) in cases {
        let mut cluster = Cluster::new(json!({"spec": spec}));
        cluster.settle();
        for code in *ends {
            assert!(cluster.end_one(*code), "{reason}: a pod runs");
            cluster.settle();
        }
        let status = cluster.status();
        assert_eq!(
            status["conditions"],
            json!([format!("FailureTarget=True {reason}"), format!("Failed=True {reason}")])
        );
        assert_eq!((&status["failed"], &status["active"]), (&json!(failed), &Value::Null), "{reason}");
        assert_eq!(cluster.events, [*reason]);
        assert!(cluster.pods.iter().all(|pod| !pods::is_active(pod)));
    }
}

#[test]
fn a_failure_that_a_rule_ignores_does_not_count() {
    let policy = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]});
    let mut cluster = Cluster::new(json!({"spec": {"backoffLimit": 0, "podFailurePolicy": policy}}));
    cluster.settle();
    cluster.end_one(9);
    let disrupted = json!([{"type": "DisruptionTarget", "status": "True"}]);
    cluster.pods[0].status.get_or_insert_default().conditions = from_value(disrupted).expect("conditions");
    cluster.settle();
    assert_eq!((cluster.made, cluster.status()["active"].clone()), (2, json!(1)));
    cluster.end_one(0);
    cluster.settle();
    assert_eq!(cluster.events, ["CompletionsReached"]);
}

#[test]
fn suspending_takes_pods_away_uncounted_and_resuming_starts_anew() {
    let mut cluster = Cluster::new(json!({"spec": {"parallelism": 2, "completions": 2}}));
    cluster.settle();
    cluster.job.spec.get_or_insert_default().suspend = Some(true);
    cluster.settle();
    let status = json!({"ready": 0, "terminating": 0, "conditions": ["Suspended=True JobSuspended"]});
    assert_eq!((cluster.status(), cluster.pods.len()), (status, 0));
    cluster.job.spec.get_or_insert_default().suspend = Some(false);
    cluster.settle();
    assert_eq!(cluster.status()["active"], 2);
    while cluster.end_one(0) {
        cluster.settle();
    }
    let conditions = [
        "Suspended=False JobResumed",
        "SuccessCriteriaMet=True CompletionsReached",
        "Complete=True CompletionsReached",
    ];
    assert_eq!(cluster.status()["conditions"], json!(conditions));
}

#[test]
fn every_index_succeeds_once_and_its_pod_knows_it() {
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3, "backoffLimitPerIndex": 1,
        "successPolicy": {"rules": [{"succeededIndexes": "0,3", "succeededCount": 2}]}});
    let mut cluster = Cluster::new(json!({"spec": spec}));
    cluster.settle();
    let pod = serde_json::to_value(&cluster.pods[1]).expect("encodes");
    assert_eq!(pod["metadata"]["generateName"], "work-1-");
    assert_eq!(pod["metadata"]["labels"], json!({"job": "work", pod::INDEX: "1"}));
    assert_eq!(pod["spec"]["hostname"], "work-1");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    cluster.end_one(7);
    cluster.settle();
    let again = cluster.pods.iter().filter(|pod| pods::is_active(pod));
    let again = again.filter(|pod| pod::index(&cluster.job, pod) == Some(0)).collect::<Vec<_>>();
    assert_eq!((again.len(), pod::failures(again[0])), (1, (1, 0)), "the index remembers that it failed");
    while cluster.end_one(0) {
        cluster.settle();
    }
    assert_eq!(cluster.status()["conditions"][0], "SuccessCriteriaMet=True SuccessPolicy");
    assert_eq!(cluster.status()["failed"], 1);
}

#[test]
fn pauses_double_with_failures_and_end_with_a_success() {
    let ended = |phase: &str, second: i64| {
        let time = Time(now().0 - SignedDuration::from_secs(second));
        Arc::new(Pod {
            metadata: Default::default(),
            spec: None,
            status: from_value(
                json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": time}}}]}),
            )
            .expect("a status"),
        })
    };
    let none = Failures::default();
    let wait = |failures: &Failures| failures.wait(now().0).map(|wait| wait.as_secs());
    let once = none.with(&[], &[ended("Failed", 1)]);
    let twice = once.with(&[], &[ended("Failed", 0)]);
    assert_eq!((wait(&none), wait(&once), wait(&twice)), (None, Some(9), Some(20)));
    let many = (0..40).fold(none, |failures, _| failures.with(&[], &[ended("Failed", 0)]));
    assert_eq!(wait(&many), Some(600));
    assert_eq!(wait(&many.with(&[ended("Succeeded", 0)], &[])), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn however_often_it_is_interrupted_every_pod_is_counted_once(
        parallelism in 1_i32..4, completions in 1_i32..6, indexed in any::<bool>(),
        ends in prop::collection::vec((0_i32..2, 0_usize..4), 1..30),
    ) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let spec = json!({"parallelism": parallelism, "completions": completions, "backoffLimit": 100, "completionMode": mode});
        let mut cluster = Cluster::new(json!({"spec": spec}));
        let (mut succeeded, mut failed) = (0, 0);
        for (code, writes) in ends {
            cluster.round(writes);
            if cluster.end_one(code) {
                succeeded += i32::from(code == 0);
                failed += i32::from(code != 0);
            }
            cluster.round(writes);
            prop_assert!(number(cluster.pods.iter().filter(|pod| pods::is_active(pod)).count()) <= parallelism);
        }
        cluster.settle();
        let status = cluster.job.status.clone().unwrap_or_default();
        prop_assert_eq!(status.succeeded.unwrap_or_default(), succeeded);
        prop_assert_eq!(status.failed.unwrap_or_default(), failed);
        prop_assert!(succeeded <= completions);
        while cluster.end_one(0) {
            cluster.settle();
        }
        prop_assert_eq!(&cluster.events, &["CompletionsReached"]);
        prop_assert_eq!(cluster.job.status.unwrap_or_default().succeeded, Some(completions));
    }
}
