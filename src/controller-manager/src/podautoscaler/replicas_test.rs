use serde_json::{Value, from_value};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a valid time")
}

/// A pod that runs and has been ready for an hour, asking for so many thousandths of a processor.
fn pod(name: &str, cpu: i64, change: impl Fn(&mut Value)) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{cpu}m")}}}]},
        "status": {"phase": "Running", "startTime": at(-3600).to_string(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(-3590).to_string()}]},
    });
    change(&mut pod);
    Arc::new(from_value(pod).expect("a pod"))
}

fn samples(values: &[(&str, i64)]) -> Samples {
    let sample = |value| Sample { value, at: at(-10), window: SignedDuration::from_secs(30) };
    values.iter().map(|(name, value)| ((*name).to_owned(), sample(*value))).collect()
}

fn seen(pods: &[Arc<Pod>], wanted: i32) -> Observed<'_> {
    let tolerance = Tolerance { down: 0.1, up: 0.1 };
    Observed { wanted, present: wanted, pods, tolerance, now: at(0) }
}

fn as_is(_: &mut Value) {}

fn pending(pod: &mut Value) {
    pod["status"] = json!({"phase": "Pending"});
}

/// Began a minute ago and is not ready.
fn starting(pod: &mut Value) {
    pod["status"]["startTime"] = json!(at(-60).to_string());
    pod["status"]["conditions"][0] =
        json!({"type": "Ready", "status": "False", "lastTransitionTime": at(-60).to_string()});
}

fn deleting(pod: &mut Value) {
    pod["metadata"]["deletionTimestamp"] = json!(at(-1).to_string());
}

#[test]
fn utilization_moves_in_proportion_and_unknown_pods_hold_it_back() {
    type Change = fn(&mut Value);
    type Case = (&'static str, [(Option<i64>, Change); 3], i32, i32, i32);
    // Three pods of a processor each; what each uses, what is special about it, the target, the replicas, the percentage.
    let cases: [Case; 11] = [
        ("in proportion", [(Some(900), as_is), (Some(900), as_is), (Some(900), as_is)], 60, 5, 90),
        ("near enough", [(Some(640), as_is), (Some(650), as_is), (Some(660), as_is)], 60, 3, 65),
        ("down", [(Some(100), as_is), (Some(100), as_is), (Some(100), as_is)], 50, 1, 10),
        (
            "a missing one counts as idle when there should be more",
            [(Some(900), as_is), (Some(900), as_is), (None, as_is)],
            50,
            4,
            90,
        ),
        ("and as busy when there should be fewer", [(Some(100), as_is), (Some(100), as_is), (None, as_is)], 50, 3, 10),
        (
            "with a target above all it asks for, as busy as that",
            [(Some(100), as_is), (Some(100), as_is), (None, as_is)],
            200,
            2,
            10,
        ),
        (
            "a pending one counts as idle when there should be more",
            [(Some(900), as_is), (Some(900), as_is), (None, pending)],
            50,
            4,
            90,
        ),
        (
            "and not at all when there should be fewer",
            [(Some(100), as_is), (Some(100), as_is), (None, pending)],
            50,
            1,
            10,
        ),
        (
            "one that has begun and is not ready too",
            [(Some(900), as_is), (Some(900), as_is), (Some(5000), starting)],
            50,
            4,
            90,
        ),
        ("what goes is not there", [(Some(900), as_is), (Some(900), as_is), (Some(5000), deleting)], 60, 3, 90),
        ("a change that turns is none", [(Some(600), as_is), (None, as_is), (None, as_is)], 50, 3, 60),
    ];
    for (name, pods, target, replicas, percent) in cases {
        let names = ["a", "b", "c"];
        let all: Vec<_> = names.iter().zip(pods).map(|(name, (_, change))| pod(name, 1000, change)).collect();
        let used: Vec<_> = names.iter().zip(pods).filter_map(|(name, (value, _))| Some((*name, value?))).collect();
        let got = by_utilization(seen(&all, 3), samples(&used), "cpu", None, target).expect(name);
        assert_eq!((got.replicas, got.percent), (replicas, Some(percent)), "{name}");
    }
}

#[test]
fn averages_count_missing_pods_at_the_target_or_at_nothing() {
    let pods = [pod("a", 1000, as_is), pod("b", 1000, as_is), pod("c", 1000, as_is)];
    let cases = [
        (vec![("a", 20_000), ("b", 10_000), ("c", 30_000)], 10_000, 6, 20_000),
        (vec![("a", 10_000), ("b", 10_900), ("c", 10_000)], 10_000, 3, 10_300),
        (vec![("a", 4_000), ("b", 4_000)], 10_000, 2, 4_000),
        (vec![("a", 20_000), ("b", 20_000)], 10_000, 4, 20_000),
    ];
    for (values, target, replicas, average) in cases {
        let got = by_average(seen(&pods, 3), samples(&values), None, target).expect("a proposal");
        assert_eq!((got.replicas, got.value), (replicas, average), "{values:?}");
    }
    let unready = [pod("a", 1000, starting)];
    let got =
        by_average(seen(&unready, 1), samples(&[("a", 50)]), None, 10).expect("only processors need a warm start");
    assert_eq!(got.replicas, 5);
}

#[test]
fn one_value_is_set_against_ready_pods_or_shared_out() {
    let pods = [pod("a", 1000, as_is), pod("b", 1000, as_is), pod("c", 1000, starting)];
    let value = |wanted, value| by_value(seen(&pods, wanted), value, 10_000).map(|got| got.replicas);
    assert_eq!(value(3, 20_000), Ok(4), "two are ready");
    assert_eq!(value(3, 10_500), Ok(3));
    assert_eq!(value(0, 25_000), Ok(3), "from zero, whatever is ready");
    assert_eq!(value(0, 0), Ok(0));
    assert!(by_value(seen(&[], 3), 20_000, 10_000).is_err());
    let share = |present, value| {
        let got = by_share(Observed { present, ..seen(&pods, present) }, value, 10_000);
        (got.replicas, got.value)
    };
    assert_eq!(share(3, 45_000), (5, 15_000));
    assert_eq!(share(3, 31_000), (3, 10_334));
    assert_eq!(share(0, 15_000), (2, 15_000), "from zero");
    assert_eq!(share(2, 0), (0, 0));
    assert_eq!(share(1, i64::MAX).0, i32::MAX, "saturates");
}

#[test]
fn a_tolerance_of_its_own_counts_by_direction() {
    let pods = [pod("a", 1000, as_is), pod("b", 1000, as_is)];
    let tolerance = Tolerance { down: 0.5, up: 0.0 };
    let of =
        |value| by_average(Observed { tolerance, ..seen(&pods, 2) }, samples(&[("a", value), ("b", value)]), None, 100);
    assert_eq!(of(101).map(|got| got.replicas), Ok(3));
    assert_eq!(of(55).map(|got| got.replicas), Ok(2));
    assert_eq!(of(40).map(|got| got.replicas), Ok(1));
}

#[test]
fn what_cannot_be_told_is_said() {
    let pods = [pod("a", 1000, as_is)];
    let two = pod("a", 1000, |pod| {
        let more = json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}, {"name": "d"}]);
        pod["spec"]["containers"] = more;
    });
    let whole = pod("a", 1000, |pod| pod["spec"]["resources"] = json!({"requests": {"memory": "1Gi"}}));
    let used = || samples(&[("a", 500)]);
    let error = |pods: &[Arc<Pod>], samples, resource, container| {
        by_utilization(seen(pods, 1), samples, resource, container, 50).expect_err("it cannot be told")
    };
    assert_eq!(error(&[], used(), "cpu", None), "no pods returned by selector while calculating replica count");
    let unready = "did not receive metrics for targeted pods (pods might be unready)";
    assert_eq!(error(&pods, samples(&[]), "cpu", None), unready);
    assert_eq!(error(&pods, used(), "memory", None), "missing request for memory in container c of Pod a");
    assert_eq!(
        error(std::slice::from_ref(&two), used(), "cpu", None),
        "missing request for cpu in container d of Pod a"
    );
    assert_eq!(error(&pods, used(), "cpu", Some("x")), "container x not found in Pod a");
    assert_eq!(
        error(std::slice::from_ref(&whole), used(), "example.com/gpu", None),
        "missing pod-level request for example.com/gpu in Pod a"
    );
    assert!(by_utilization(seen(&[two], 1), used(), "cpu", Some("c"), 50).is_ok(), "its own container asks");
    assert!(by_utilization(seen(&[whole], 1), used(), "cpu", None, 50).is_ok());
    assert_eq!(error(&pods, samples(&[("other", 1)]), "cpu", None), "no metrics returned matched known pods");
}
