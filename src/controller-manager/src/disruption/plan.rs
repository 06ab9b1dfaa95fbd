//! What a PodDisruptionBudget's status should be, as a function of its pods and the sizes of their controllers.

use std::collections::BTreeMap;

use apimachinery::intstr::IntOrString;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr,
    },
};

use crate::pods;

/// A pod whose eviction was granted counts as gone for that long.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
/// A pod that says it is a target of disruption and is still there after that time is none.
pub const STALE: SignedDuration = SignedDuration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// How many pods a budget expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// As many as there are.
    Present,
    /// As many as their controllers want.
    Scale,
}

/// Which count a budget's spec speaks of.
pub fn expected(budget: &PodDisruptionBudget) -> Expected {
    let spec = budget.spec.as_ref();
    let share = spec
        .and_then(|spec| spec.min_available.as_ref())
        .is_some_and(|min| matches!(min, intstr::IntOrString::String(_)));
    let unavailable = spec.is_some_and(|spec| spec.max_unavailable.is_some());
    if share || unavailable { Expected::Scale } else { Expected::Present }
}

/// What a look at a budget comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The status as it should be.
    pub status: PodDisruptionBudgetStatus,
    /// When it is to be looked at again.
    pub recheck: Option<Timestamp>,
    /// Pods whose eviction was granted, and that are still there.
    pub overdue: Vec<String>,
}

/// Counts. `expected` is how many pods there should be.
pub fn plan(budget: &PodDisruptionBudget, selected: &[&Pod], expected: i32, now: Timestamp) -> Plan {
    let current = budget.status.clone().unwrap_or_default();
    let spec = budget.spec.clone().unwrap_or_default();
    let scaled = |value: &intstr::IntOrString| {
        i32::try_from(value_of(value).scaled(expected.into(), true).unwrap_or_default()).unwrap_or(i32::MAX)
    };
    let desired = match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => expected.saturating_sub(scaled(max)).max(0),
        (None, Some(min)) => scaled(min),
        (None, None) => 0,
    };
    let (mut disrupted, mut recheck, mut overdue) = (BTreeMap::new(), None, Vec::new());
    for pod in selected.iter().filter(|pod| !pods::is_deleting(pod)) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(time) = current.disrupted_pods.as_ref().and_then(|pods| pods.get(name)) else { continue };
        let until = time.0.checked_add(DELETION_TIMEOUT).unwrap_or(Timestamp::MAX);
        if until < now {
            overdue.push(name.to_owned());
        } else {
            recheck = Some(recheck.map_or(until, |other: Timestamp| other.min(until)));
            disrupted.insert(name.to_owned(), time.clone());
        }
    }
    let counts = |pod: &&&Pod| {
        let granted = disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default());
        !pods::is_deleting(pod) && !granted && pods::is_ready(pod)
    };
    let healthy = i32::try_from(selected.iter().filter(counts).count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 { healthy.saturating_sub(desired).max(0) } else { 0 };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: current.conditions,
    };
    let (says, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, says, reason, String::new(), now);
    Plan { status, recheck, overdue }
}

/// The status of a budget that cannot be counted: nothing may be disrupted.
pub fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    set_condition(&mut status, "False", "SyncFailed", why.to_owned(), now);
    status
}

fn set_condition(status: &mut PodDisruptionBudgetStatus, says: &str, reason: &str, message: String, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let there = conditions.iter().position(|condition| condition.type_ == ALLOWED);
    let since = there.map(|at| &conditions[at]).filter(|condition| condition.status == says);
    let condition = Condition {
        type_: ALLOWED.to_owned(),
        status: says.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        observed_generation: status.observed_generation,
    };
    match there {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

fn value_of(value: &intstr::IntOrString) -> IntOrString {
    match value {
        intstr::IntOrString::Int(number) => IntOrString::Int(*number),
        intstr::IntOrString::String(text) => IntOrString::String(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(spec: &Value, status: &Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 2}, "spec": spec, "status": status}))
            .expect("a budget")
    }

    fn pod(name: &str, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
        )
        .expect("a pod")
    }

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().expect("a moment")
    }

    #[test]
    fn what_may_be_disrupted_is_what_is_healthy_beyond_what_is_wanted() {
        let none = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
        let (a, b, c) = (pod("a", true), pod("b", true), pod("c", false));
        type Case<'a> = (Value, &'a [&'a Pod], i32, (i32, i32, i32));
        let cases: [Case<'_>; 6] = [
            (json!({"minAvailable": 2}), &[&a, &b, &c], 3, (2, 2, 0)),
            (json!({"minAvailable": 1}), &[&a, &b, &c], 3, (2, 1, 1)),
            (json!({"minAvailable": "50%"}), &[&a, &b, &c], 3, (2, 2, 0)),
            (json!({"maxUnavailable": "50%"}), &[&a, &b, &c], 4, (2, 2, 0)),
            (json!({"maxUnavailable": 9}), &[&a, &b], 2, (2, 0, 2)),
            (json!({"maxUnavailable": 1}), &[], 0, (0, 0, 0)),
        ];
        for (spec, pods, expected, counts) in cases {
            let status = plan(&budget(&spec, &none), pods, expected, now()).status;
            let said = [status.current_healthy, status.desired_healthy, status.disruptions_allowed];
            assert_eq!(said, [counts.0, counts.1, counts.2].map(Some), "{spec}");
            let reason = if counts.2 > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!(status.conditions.expect("one")[0].reason, reason);
            assert_eq!(status.observed_generation, Some(2));
        }
    }

    #[test]
    fn a_granted_eviction_counts_until_it_is_overdue() {
        let granted = |time: &str| json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0, "disruptedPods": {"a": time}});
        let (a, b) = (pod("a", true), pod("b", true));
        let fresh = plan(&budget(&json!({"minAvailable": 1}), &granted("2026-01-01T00:09:00Z")), &[&a, &b], 2, now());
        assert_eq!(
            (fresh.status.current_healthy, fresh.recheck.map(|at| at.to_string())),
            (Some(1), Some("2026-01-01T00:11:00Z".to_owned()))
        );
        let old = plan(&budget(&json!({"minAvailable": 1}), &granted("2026-01-01T00:07:00Z")), &[&a, &b], 2, now());
        assert_eq!(
            (old.status.current_healthy, old.overdue, old.status.disrupted_pods),
            (Some(2), vec!["a".to_owned()], None)
        );
    }
}
