use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;

fn set(overrides: Value) -> DaemonSet {
    let mut set = json!({
        "metadata": {"name": "every", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "selector": {"matchLabels": {"app": "w"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": []}},
        },
    });
    json_patch::merge(&mut set, &overrides);
    from_value(set).expect("a DaemonSet")
}

fn node(name: &str, taints: Value) -> Arc<Node> {
    Arc::new(from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}})).expect("a Node"))
}

/// A pod of a node, of the revision with `hash`, in a state.
fn pod(name: &str, node: &str, hash: &str, state: &str) -> Arc<Pod> {
    let set = set(json!({}));
    let mut pod = template::pod_for(&set, &template::of(&set, hash), node);
    pod.metadata.name = Some(name.to_owned());
    let (phase, ready) = match state {
        "ready" | "going" => ("Running", "True"),
        "failed" => ("Failed", "False"),
        "succeeded" => ("Succeeded", "False"),
        _ => ("Pending", "False"),
    };
    pod.status =
        from_value(json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]})).expect("a status");
    if state != "unplaced" {
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    }
    if state == "going" {
        pod.metadata.deletion_timestamp = from_value(json!("2024-01-01T00:00:00Z")).expect("a time");
    }
    Arc::new(pod)
}

fn observe<T>(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>], look: impl FnOnce(&Observed<'_>) -> T) -> T {
    let template = template::of(set, "new");
    let now = "2024-01-01T00:00:00Z".parse().expect("a time");
    look(&Observed { set, template: &template, hash: "new", nodes, pods, now })
}

fn planned(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Vec<String> {
    let Plan { create, delete, ended } = observe(set, nodes, pods, plan);
    let name = |pod: &Arc<Pod>| pod.metadata.name.clone().unwrap_or_default();
    let created = create.iter().map(|node| format!("create {node}"));
    let deleted = delete.iter().map(|pod| format!("delete {}", name(pod)));
    let ended = ended.iter().map(|(_, pod)| format!("ended {}", name(pod)));
    created.chain(deleted).chain(ended).collect()
}

/// What it shows, what the set says beside its defaults, the node, its pods, and what is to be done.
type Case<'a> = (&'a str, Value, Arc<Node>, Vec<Arc<Pod>>, &'a [&'a str]);

#[test]
fn every_node_has_one_pod_if_it_belongs_there() {
    let taint = |effect: &str| json!([{"key": "k", "effect": effect}]);
    let plain = node("a", json!([]));
    let cases: &[Case<'_>] = &[
        ("a new node", json!({}), plain.clone(), vec![], &["create a"]),
        ("it has one", json!({}), plain.clone(), vec![pod("x", "a", "new", "ready")], &[]),
        ("one that is meant for it", json!({}), plain.clone(), vec![pod("x", "a", "new", "unplaced")], &[]),
        (
            "too many",
            json!({}),
            plain.clone(),
            vec![pod("y", "a", "new", "ready"), pod("x", "a", "new", "ready")],
            &["delete y"],
        ),
        ("not while one goes", json!({}), plain.clone(), vec![pod("x", "a", "new", "going")], &[]),
        ("it failed", json!({}), plain.clone(), vec![pod("x", "a", "new", "failed")], &["ended x"]),
        ("it ended", json!({}), plain.clone(), vec![pod("x", "a", "new", "succeeded")], &["ended x"]),
        ("no new one on a tainted node", json!({}), node("a", taint("NoSchedule")), vec![], &[]),
        ("what runs there stays", json!({}), node("a", taint("NoSchedule")), vec![pod("x", "a", "new", "ready")], &[]),
        (
            "unless it may not",
            json!({}),
            node("a", taint("NoExecute")),
            vec![pod("x", "a", "new", "ready")],
            &["delete x"],
        ),
        (
            "or is not selected any more",
            json!({"spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}}),
            plain.clone(),
            vec![pod("x", "a", "new", "ready")],
            &["delete x"],
        ),
        (
            "conditions of the node are borne",
            json!({}),
            node("a", json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}])),
            vec![],
            &["create a"],
        ),
        (
            "its node is gone",
            json!({}),
            plain,
            vec![pod("x", "a", "new", "ready"), pod("y", "gone", "new", "unplaced")],
            &["delete y"],
        ),
    ];
    for (what, overrides, node, pods, expected) in cases {
        assert_eq!(planned(&set(overrides.clone()), std::slice::from_ref(node), pods), *expected, "{what}");
    }
}

#[test]
fn old_pods_are_replaced_within_the_fences() {
    let nodes = ["a", "b", "c"].map(|name| node(name, json!([])));
    let old = |state: [&str; 3]| {
        let pods = ["a", "b", "c"].iter().zip(state);
        pods.map(|(node, state)| pod(node, node, "old", state)).collect::<Vec<_>>()
    };
    let strategy = |rolling: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": rolling}}});
    let ready = old(["ready"; 3]);
    let with = |more: Arc<Pod>| [ready.clone(), vec![more]].concat();
    let cases = [
        ("one at a time", strategy(json!({})), ready.clone(), vec!["delete a"]),
        ("two", strategy(json!({"maxUnavailable": "50%"})), ready.clone(), vec!["delete a", "delete b"]),
        (
            "what is not available is one of them",
            strategy(json!({})),
            old(["ready", "pending", "ready"]),
            vec!["delete b"],
        ),
        ("not while one goes", strategy(json!({})), old(["going", "ready", "ready"]), vec![]),
        (
            "by hand",
            json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
            ready.clone(),
            vec![],
        ),
        ("beside the old one", strategy(json!({"maxSurge": 1, "maxUnavailable": 0})), ready.clone(), vec!["create a"]),
        (
            "and no further",
            strategy(json!({"maxSurge": 1, "maxUnavailable": 0})),
            with(pod("z", "a", "new", "pending")),
            vec![],
        ),
        (
            "then that goes",
            strategy(json!({"maxSurge": 1, "maxUnavailable": 0})),
            with(pod("z", "a", "new", "ready")),
            vec!["delete a"],
        ),
    ];
    for (what, overrides, pods, expected) in cases {
        assert_eq!(planned(&set(overrides), &nodes, &pods), expected, "{what}");
    }
}

#[test]
fn status_counts_nodes() {
    let nodes = [node("a", json!([])), node("b", json!([])), node("c", json!([{"key": "k", "effect": "NoSchedule"}]))];
    let pods = [pod("x", "a", "new", "ready"), pod("y", "b", "old", "pending"), pod("z", "c", "new", "ready")];
    let status = observe(&set(json!({})), &nodes, &pods, status);
    let expected = json!({
        "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberAvailable": 1, "numberMisscheduled": 1,
        "numberReady": 1, "numberUnavailable": 1, "observedGeneration": 1, "updatedNumberScheduled": 1,
    });
    assert_eq!(serde_json::to_value(status).expect("encodes"), expected);
}

proptest! {
    #[test]
    fn a_rollout_never_takes_more_than_it_may(
        states in prop::collection::vec((any::<bool>(), prop::sample::select(vec!["ready", "pending", "going"])), 1..8),
        most in 1_usize..4,
    ) {
        let strategy = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": most}}}});
        let names: Vec<String> = (0..states.len()).map(|at| format!("n{at}")).collect();
        let nodes: Vec<_> = names.iter().map(|name| node(name, json!([]))).collect();
        let pods: Vec<_> = names.iter().zip(&states)
            .map(|(name, (new, state))| pod(name, name, if *new { "new" } else { "old" }, state)).collect();
        let plan = observe(&set(strategy), &nodes, &pods, plan);
        let available = |pod: &&Arc<Pod>| pods::is_ready(pod) && !pods::is_deleting(pod);
        let missing = pods.iter().filter(|pod| !available(pod)).count();
        let taken = plan.delete.iter().filter(available).count();
        prop_assert!(taken == 0 || missing + taken <= most);
        prop_assert!(plan.delete.iter().all(|pod| !template::is_updated(pod, "new", None)));
        prop_assert!(plan.create.is_empty());
    }
}
