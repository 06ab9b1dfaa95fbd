use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, from_value, json};

use super::{
    super::replicas::{Sample, Samples},
    *,
};

const ABSENT: &str = "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: \
                      the server could not find the requested resource (get pods.metrics.k8s.io)";

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a valid time")
}

fn hpa(change: impl Fn(&mut Value)) -> HorizontalPodAutoscaler {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let mut hpa =
        json!({"metadata": {"name": "h"}, "spec": {"minReplicas": 1, "maxReplicas": 10, "scaleTargetRef": target}});
    change(&mut hpa);
    from_value(hpa).expect("an autoscaler")
}

fn metric(value: Value) -> MetricSpec {
    from_value(value).expect("a metric")
}

fn cpu() -> MetricSpec {
    metric(
        json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
    )
}

fn pods() -> Vec<Arc<Pod>> {
    let pod = |name: &str| {
        let value = json!({"metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "startTime": "2023-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2023-01-01T00:00:10Z"}]}});
        Arc::new(from_value(value).expect("a pod"))
    };
    vec![pod("a"), pod("b")]
}

fn measured(millis: i64) -> Result<Measured, String> {
    let sample = Sample { value: millis, at: now(), window: SignedDuration::from_secs(30) };
    Ok(Measured::Pods(Samples::from([("a".to_owned(), sample), ("b".to_owned(), sample)])))
}

fn asked(spec: &MetricSpec, measured: Result<Measured, String>) -> Result<Asked, Failure> {
    let tolerance = Tolerance { down: 0.1, up: 0.1 };
    ask(spec, measured, Observed { wanted: 2, present: 2, pods: &pods(), tolerance, now: now() })
}

fn range() -> Range {
    Range { current: 2, min: 1, max: 10 }
}

fn weighed(draft: &mut Draft, asked: Vec<Result<Asked, Failure>>) -> Verdict {
    weigh(draft, &hpa(|_| ()), asked, range(), &mut History::default())
}

/// The conditions as `Type=Status Reason`.
fn said(draft: &Draft) -> Vec<String> {
    let conditions = draft.status.conditions.iter().flatten();
    let text = |condition: &HorizontalPodAutoscalerCondition| {
        format!("{}={} {}", condition.type_, condition.status, condition.reason.as_deref().unwrap_or_default())
    };
    conditions.map(text).collect()
}

#[test]
fn what_is_out_of_bounds_is_not_measured() {
    assert_eq!(aim(0, 1, 3), Aim::Disabled);
    assert_eq!(aim(0, 0, 3), Aim::Measure, "who allows zero wants to come back from it");
    assert_eq!(aim(1, 2, 3), Aim::Bound(2, "Current number of replicas below Spec.MinReplicas"));
    assert_eq!(aim(4, 2, 3), Aim::Bound(3, "Current number of replicas above Spec.MaxReplicas"));
    assert_eq!(aim(3, 2, 3), Aim::Measure);
}

#[test]
fn each_sort_of_metric_says_what_it_found() {
    let identified = json!({"name": "m", "selector": {"matchLabels": {"a": "b"}}});
    let object = json!({"kind": "Service", "name": "s"});
    let value = |value| Ok(Measured::Value(value));
    let cases = [
        (
            cpu(),
            measured(1000),
            4,
            "cpu resource utilization (percentage of request)",
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "1"}}}),
        ),
        (
            metric(
                json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "100"}}}),
            ),
            measured(300_000),
            6,
            "memory resource",
            json!({"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "300"}}}),
        ),
        (
            metric(json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 50}}})),
            measured(500),
            2,
            "cpu resource utilization (percentage of request)",
            json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "current": {"averageUtilization": 50, "averageValue": "500m"}}}),
        ),
        (
            metric(
                json!({"type": "Pods", "pods": {"metric": identified, "target": {"type": "AverageValue", "averageValue": "2"}}}),
            ),
            measured(3000),
            3,
            "pods metric m",
            json!({"type": "Pods", "pods": {"metric": identified, "current": {"averageValue": "3"}}}),
        ),
        (
            metric(
                json!({"type": "Object", "object": {"metric": identified, "describedObject": object, "target": {"type": "Value", "value": "2"}}}),
            ),
            value(4000),
            4,
            "Service metric m",
            json!({"type": "Object", "object": {"metric": identified, "describedObject": object, "current": {"value": "4"}}}),
        ),
        (
            metric(
                json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
            ),
            value(45_500),
            5,
            "external metric m(nil)",
            json!({"type": "External", "external": {"metric": {"name": "m"}, "current": {"averageValue": "22750m"}}}),
        ),
    ];
    for (spec, measured, replicas, name, status) in cases {
        let got = asked(&spec, measured).expect(name);
        assert_eq!((got.replicas, got.name.as_str(), json!(got.status)), (replicas, name, status));
    }
}

#[test]
fn an_api_that_is_not_there_is_told_as_kube_controller_manager_does() {
    let mut draft = Draft::of(&hpa(|_| ()), now());
    let failure = asked(&cpu(), Err(ABSENT.to_owned())).expect_err("nothing was measured");
    assert_eq!(failure.told, format!("failed to get cpu utilization: {ABSENT}"));
    let error = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: {ABSENT}"
    );
    assert_eq!(weighed(&mut draft, vec![Err(failure)]), Verdict::Unknown(error));
    let told = json!([{"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
        "message": format!("the HPA was unable to compute the replica count: failed to get cpu utilization: {ABSENT}"),
        "lastTransitionTime": now().to_string()}]);
    assert_eq!(json!(draft.status.conditions), told);
    assert_eq!(json!(draft.status.current_metrics), json!([{"type": ""}]));
}

#[test]
fn the_most_counts_and_what_is_unknown_stands_in_the_way_of_fewer_only() {
    let ask = |millis| asked(&cpu(), measured(millis));
    let unknown = || asked(&cpu(), Err(ABSENT.to_owned()));
    let active = "ScalingActive=True ValidMetricFound";
    let above = "cpu resource utilization (percentage of request) above target";
    let mut draft = Draft::of(&hpa(|_| ()), now());
    let verdict = weighed(&mut draft, vec![ask(600), ask(900), ask(100)]);
    assert_eq!(verdict, Verdict::Replicas(4, above.to_owned(), None));
    assert_eq!(said(&draft), [active, "AbleToScale=True ReadyForNewScale", "ScalingLimited=False DesiredWithinRange"]);
    let verdict = weighed(&mut draft, vec![ask(900), unknown()]);
    assert!(matches!(verdict, Verdict::Replicas(4, _, Some(_))), "{verdict:?}");
    assert!(matches!(weighed(&mut draft, vec![ask(100), unknown()]), Verdict::Unknown(_)));
    assert_eq!(said(&draft)[0], "ScalingActive=False FailedGetResourceMetric");
    let verdict = weighed(&mut draft, vec![ask(100)]);
    assert_eq!(verdict, Verdict::Replicas(1, "All metrics below target".to_owned(), None));
    assert!(matches!(weighed(&mut draft, vec![ask(510)]), Verdict::Replicas(2, reason, None) if reason.is_empty()));
    let verdict = weighed(&mut draft, vec![ask(9000)]);
    assert!(matches!(verdict, Verdict::Replicas(4, ..)), "{verdict:?}");
    assert_eq!(said(&draft)[2], "ScalingLimited=True ScaleUpLimit");
}

#[test]
fn a_condition_began_when_its_status_changed() {
    let earlier = "2020-01-01T00:00:00Z";
    let mut draft = Draft::of(
        &hpa(|hpa| {
            let condition =
                json!({"type": "AbleToScale", "status": "True", "reason": "r", "lastTransitionTime": earlier});
            hpa["status"] = json!({"desiredReplicas": 1, "conditions": [condition]});
        }),
        now(),
    );
    let since = |draft: &Draft| json!(draft.status.conditions)[0]["lastTransitionTime"].clone();
    draft.condition("AbleToScale", true, "SucceededRescale", "m");
    assert_eq!(since(&draft), earlier);
    draft.condition("AbleToScale", false, "FailedGetScale", "m");
    assert_eq!(since(&draft), now().to_string());
    draft.desired(3, false);
    assert_eq!(draft.status.last_scale_time, None);
    draft.desired(4, true);
    assert_eq!(draft.status.last_scale_time, Some(Time(now())));
}

#[test]
fn an_autoscaler_may_say_its_own_tolerance() {
    let own = hpa(|hpa| hpa["spec"]["behavior"] = json!({"scaleUp": {"tolerance": "50m"}, "scaleDown": {}}));
    assert_eq!(tolerance(&own), Tolerance { down: 0.1, up: 0.05 });
}
