use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;

fn set(overrides: Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "db", "namespace": "default", "uid": "s", "generation": 1},
        "spec": {
            "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "w"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c"}]}},
        },
    });
    json_patch::merge(&mut set, &overrides);
    from_value(set).expect("a StatefulSet")
}

fn revision(name: &str) -> Revision {
    let template =
        json!({"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": name}]}});
    Revision { name: name.to_owned(), template: from_value(template).expect("a template") }
}

/// A pod by its number, revision and state: `ready`, `unready`, `pending`, `failed` or `going`.
fn pod(ordinal: i32, revision_name: &str, state: &str) -> Arc<Pod> {
    let mut pod = identity::pod(&set(json!({})), &revision(revision_name).template, revision_name, ordinal);
    let (phase, ready) = match state {
        "ready" | "going" => ("Running", "True"),
        "pending" => ("Pending", "False"),
        "failed" => ("Failed", "False"),
        _ => ("Running", "False"),
    };
    pod.status =
        from_value(json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]})).expect("a status");
    if state == "going" {
        pod.metadata.deletion_timestamp = from_value(json!("2024-01-01T00:00:00Z")).expect("a time");
    }
    Arc::new(pod)
}

fn planned(set: &StatefulSet, pods: &[Arc<Pod>]) -> Vec<String> {
    let (current, update) = (revision("old"), revision("new"));
    let now = "2024-01-01T00:00:00Z".parse().expect("a time");
    let observed = Observed { set, pods, current: &current, update: &update, now };
    let text = |step: &Step| match step {
        Step::Create(ordinal, pod) => format!("create {ordinal} {}", identity::revision(pod)),
        Step::Delete(pod) => format!("delete {}", identity::ordinal(set, pod).expect("numbered")),
        Step::Keep(ordinal, _) => format!("keep {ordinal}"),
    };
    steps(&observed).iter().map(text).collect()
}

/// What it shows, what the set says beside its defaults, its pods, and what is to be done.
type Case<'a> = (&'a str, Value, &'a [(i32, &'a str, &'a str)], &'a [&'a str]);

#[test]
fn pods_are_made_kept_scaled_and_rolled_in_order() {
    let parallel = json!({"spec": {"podManagementPolicy": "Parallel"}});
    let partition = |partition: i32| json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}});
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    let two_at_a_time = json!({"spec": {"podManagementPolicy": "Parallel",
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}});
    let cases: &[Case<'_>] = &[
        ("the first first", json!({}), &[], &["create 0 new"]),
        ("the next when that is ready", json!({}), &[(0, "new", "ready")], &["create 1 new"]),
        ("not while it is not", json!({}), &[(0, "new", "unready")], &[]),
        ("nor while it goes", json!({}), &[(0, "new", "going")], &[]),
        ("all at once in parallel", parallel.clone(), &[(1, "new", "unready")], &["create 0 new", "create 2 new"]),
        ("what has ended is replaced", json!({}), &[(0, "new", "failed")], &["delete 0"]),
        ("below the partition as it was", partition(2), &[(0, "old", "ready")], &["create 1 old"]),
        (
            "the highest goes first",
            json!({"spec": {"replicas": 1}}),
            &[(0, "new", "ready"), (1, "new", "ready"), (2, "new", "ready")],
            &["delete 2"],
        ),
        (
            "one after the other",
            json!({"spec": {"replicas": 1}}),
            &[(0, "new", "ready"), (1, "new", "ready"), (2, "new", "going")],
            &[],
        ),
        (
            "what is not well may go",
            json!({"spec": {"replicas": 1}}),
            &[(0, "new", "ready"), (1, "new", "unready")],
            &["delete 1"],
        ),
        (
            "not before the first is well",
            json!({"spec": {"replicas": 1}}),
            &[(0, "new", "unready"), (1, "new", "ready")],
            &[],
        ),
        (
            "together in parallel",
            json!({"spec": {"replicas": 1, "podManagementPolicy": "Parallel"}}),
            &[(0, "new", "ready"), (1, "new", "ready"), (2, "new", "unready")],
            &["delete 2", "delete 1"],
        ),
        (
            "from the highest down",
            json!({}),
            &[(0, "old", "ready"), (1, "old", "ready"), (2, "old", "ready")],
            &["delete 2"],
        ),
        ("down to the partition", partition(2), &[(0, "old", "ready"), (1, "old", "ready"), (2, "new", "ready")], &[]),
        ("by hand", on_delete, &[(0, "old", "ready"), (1, "old", "ready"), (2, "old", "ready")], &[]),
        (
            "two at a time",
            two_at_a_time.clone(),
            &[(0, "old", "ready"), (1, "old", "ready"), (2, "old", "ready")],
            &["delete 2", "delete 1"],
        ),
        (
            "what does not run anyway is one of them",
            two_at_a_time,
            &[(0, "old", "unready"), (1, "old", "ready"), (2, "old", "ready")],
            &["delete 2", "delete 0"],
        ),
        ("nothing of what goes itself", json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}}), &[], &[]),
    ];
    for (what, overrides, pods, expected) in cases {
        let pods: Vec<_> = pods.iter().map(|(ordinal, revision, state)| pod(*ordinal, revision, state)).collect();
        assert_eq!(planned(&set(overrides.clone()), &pods), *expected, "{what}");
    }
}

#[test]
fn a_pod_has_its_name_its_labels_and_its_claims_before_other_volumes() {
    let set = set(json!({"spec": {"ordinals": {"start": 5}, "volumeClaimTemplates": [
        {"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {"storageClassName": "fast"}}]}}));
    let mut template = revision("new").template;
    template.spec.get_or_insert_default().volumes =
        from_value(json!([{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}])).expect("volumes");
    let pod = serde_json::to_value(identity::pod(&set, &template, "new", 7)).expect("encodes");
    assert_eq!(pod["metadata"]["name"], "db-7");
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-7"}}, {"name": "tmp", "emptyDir": {}}])
    );
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-7"), &json!("db")));
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "w", identity::POD_NAME: "db-7", identity::POD_INDEX: "7",
        identity::REVISION: "new"})
    );
    let claims = identity::claims(&set, 7);
    assert_eq!(serde_json::to_value(&claims[0].1.metadata.labels).expect("encodes"), json!({"a": "b", "app": "w"}));
}

#[test]
fn claims_belong_to_whom_the_policy_says() {
    let owners = |deleted: &str, scaled: &str, ordinal: i32| {
        let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
        let owners =
            identity::claim_owners(&set(json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}})), ordinal);
        (owners.set, owners.pod)
    };
    assert_eq!(owners("Retain", "Retain", 9), (false, false));
    assert_eq!((owners("Delete", "Retain", 0), owners("Delete", "Retain", 9)), ((true, false), (true, false)));
    assert_eq!((owners("Retain", "Delete", 0), owners("Retain", "Delete", 9)), ((false, false), (false, true)));
    assert_eq!((owners("Delete", "Delete", 0), owners("Delete", "Delete", 9)), ((true, false), (false, true)));
}

#[test]
fn a_rollout_is_over_when_all_that_is_wanted_is_new_and_ready() {
    let told = |pods: &[Arc<Pod>]| {
        let (current, update) = (revision("old"), revision("new"));
        let now = "2024-01-01T00:00:00Z".parse().expect("a time");
        let status = status(&Observed { set: &set(json!({})), pods, current: &current, update: &update, now }, 0);
        serde_json::to_value(status).expect("encodes")
    };
    let half = told(&[pod(0, "old", "ready"), pod(1, "new", "ready"), pod(2, "new", "pending")]);
    assert_eq!(
        half,
        json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 2, "availableReplicas": 2,
        "currentReplicas": 1, "updatedReplicas": 2, "currentRevision": "old", "updateRevision": "new", "collisionCount": 0})
    );
    let all = told(&[0, 1, 2].map(|ordinal| pod(ordinal, "new", "ready")));
    assert_eq!((&all["currentRevision"], &all["currentReplicas"]), (&json!("new"), &json!(3)));
}

#[test]
fn the_revision_of_a_template_is_found_renumbered_or_made() {
    let kept = |name: &str, number: i64| -> Arc<ControllerRevision> {
        let data = history::data_of(&revision(name).template);
        let kept = json!({"metadata": {"name": name}, "revision": number, "data": data});
        Arc::new(from_value(kept).expect("a ControllerRevision"))
    };
    let sorted = [kept("a", 1), kept("b", 2)];
    assert!(matches!(update(&revision("b").template, &sorted), Update::Is(is) if history::name(&is) == "b"));
    assert!(matches!(update(&revision("a").template, &sorted), Update::Again(is, 3) if history::name(&is) == "a"));
    assert!(matches!(update(&revision("c").template, &sorted), Update::New(3)));
}

proptest! {
    #[test]
    fn in_order_at_most_one_is_touched_and_never_past_one_that_is_not_well(
        wanted in 0_i32..5,
        states in prop::collection::vec(prop::sample::select(vec!["none", "ready", "unready", "pending", "going"]), 6),
        old in prop::collection::vec(any::<bool>(), 6),
    ) {
        let set = set(json!({"spec": {"replicas": wanted}}));
        let pods: Vec<_> = (0..6).zip(states.iter().zip(&old)).filter(|(_, (state, _))| **state != "none")
            .map(|(ordinal, (state, old))| pod(ordinal, if *old { "old" } else { "new" }, state)).collect();
        let steps = planned(&set, &pods);
        prop_assert!(steps.len() <= 1, "{steps:?}");
        let well = |ordinal: i32| usize::try_from(ordinal).is_ok_and(|at| states[at] == "ready");
        if let Some(created) = steps.first().and_then(|step| step.strip_prefix("create ")) {
            let ordinal: i32 = created.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
            prop_assert!((0..ordinal).all(well), "{steps:?}");
        }
        if steps.iter().any(|step| step.starts_with("delete")) {
            prop_assert!((0..wanted).all(well), "{steps:?}");
        }
    }
}
