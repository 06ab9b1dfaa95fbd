use k8s_openapi::api::apps::v1::ReplicaSet;
use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;

const NOW: &str = "2024-01-01T12:00:00Z";

fn now() -> Time {
    Time(NOW.parse().expect("a time"))
}

fn pod(name: &str, overrides: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "labels": {"app": "w"}, "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"nodeName": format!("n-{name}"), "containers": []},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}]},
    });
    json_patch::merge(&mut pod, &overrides);
    Arc::new(from_value(pod).expect("a Pod"))
}

fn names(scale: &Scale) -> Vec<&str> {
    let Scale::Delete(pods) = scale else { panic!("not to delete: {scale:?}") };
    pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

#[test]
fn the_least_needed_go_first() {
    let not_ready = json!([{"type": "Ready", "status": "False"}]);
    let since = |time: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": time}]);
    let in_order = [
        pod("unplaced", json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": not_ready}})),
        pod("pending", json!({"status": {"phase": "Pending", "conditions": not_ready}})),
        pod("unready", json!({"status": {"conditions": not_ready}})),
        pod("cheap", json!({"metadata": {"annotations": {DELETION_COST: "-5"}}})),
        pod("crowded", json!({"spec": {"nodeName": "busy"}})),
        pod("fresh", json!({"status": {"conditions": since("2024-01-01T11:59:50Z")}})),
        pod(
            "restarting",
            json!({"status": {"containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 4}]}}),
        ),
        pod("young", json!({"metadata": {"creationTimestamp": "2024-01-01T11:00:00Z"}})),
        pod("old", json!({})),
        pod("dear", json!({"metadata": {"annotations": {DELETION_COST: "7"}}})),
    ];
    let beside = pod("beside", json!({"spec": {"nodeName": "busy"}}));
    let mut active = in_order.to_vec();
    active.reverse();
    let related = || active.iter().cloned().chain([beside.clone()]).collect();
    let planned = scale(1, &active, related, now().0);
    let expected: Vec<_> = in_order[..9].iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    assert_eq!(names(&planned), expected);
}

#[test]
fn status_says_what_counts_and_keeps_the_first_failure() {
    let set: ReplicaSet = from_value(json!({
        "metadata": {"name": "web", "generation": 3},
        "spec": {"replicas": 3, "minReadySeconds": 60, "selector": {"matchLabels": {"app": "w"}},
                 "template": {"metadata": {"labels": {"app": "w", "more": "yes"}}}},
    }))
    .expect("a ReplicaSet");
    let just = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}]}});
    let active = [pod("a", json!({"metadata": {"labels": {"more": "yes"}}})), pod("b", just)];
    let failure = |text: &str| Some(("FailedCreate", text.to_owned()));
    let counted = Counted { active: &active, terminating: 1, failure: failure("quota") };
    let first = status(&set, &counted, &now());
    let expected = json!({
        "replicas": 2, "fullyLabeledReplicas": 1, "readyReplicas": 2, "availableReplicas": 1, "terminatingReplicas": 1,
        "observedGeneration": 3,
        "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota",
                        "lastTransitionTime": NOW}],
    });
    assert_eq!(serde_json::to_value(&first).expect("encodes"), expected);
    let set = set.with_status(first.clone());
    let again = status(&set, &Counted { failure: failure("another name"), ..counted }, &now());
    assert_eq!(again, first, "every attempt has another pod name, and none of them is news");
    let none = Counted { active: &[], terminating: 0, failure: None };
    let healed = serde_json::to_value(status(&set, &none, &now())).expect("encodes");
    assert_eq!(healed, json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 3}));
}

proptest! {
    #[test]
    fn what_is_done_gives_the_wanted_number(wanted in 0_i32..20, there in 0_usize..20) {
        let active: Vec<_> = (0..there).map(|n| pod(&n.to_string(), json!({}))).collect();
        let after = match scale(wanted, &active, || active.clone(), now().0) {
            Scale::Nothing => there,
            Scale::Create(count) => there + count,
            Scale::Delete(victims) => {
                let distinct: std::collections::HashSet<_> = victims.iter().map(|pod| pod.metadata.uid.clone()).collect();
                there - distinct.len()
            }
        };
        prop_assert_eq!(i32::try_from(after).expect("small"), wanted);
    }
}
