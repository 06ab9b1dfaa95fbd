//! How many replicas a measurement asks for. Pure.
//!
//! The rule is `ceil(replicas × measured / wanted)`, held back where it is not known enough: what is near the target changes nothing,
//! a pod without a measurement counts against the direction, and so does one that has just begun.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apimachinery::{pod_resources, quantity::Quantity};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::json;

use crate::pods;

/// In its first minutes a pod's use of processors says more of its start than of its load.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that becomes unready so soon after its start has never been ready.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What one pod was measured at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// In thousandths.
    pub value: i64,
    /// When.
    pub at: Timestamp,
    /// Over how long a time before.
    pub window: SignedDuration,
}

/// Measurements by pod.
pub type Samples = BTreeMap<String, Sample>;

/// How far a measurement may be from its target before anything changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Below it.
    pub down: f64,
    /// Above it.
    pub up: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What is scaled, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// So many replicas are wanted.
    pub wanted: i32,
    /// So many there are.
    pub present: i32,
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// How far off is near enough.
    pub tolerance: Tolerance,
    /// The present moment.
    pub now: Timestamp,
}

/// What a measurement comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// So many replicas are asked for.
    pub replicas: i32,
    /// The value, or the average a pod, in thousandths.
    pub value: i64,
    /// The average in percent of what the pods ask for.
    pub percent: Option<i32>,
}

/// By the share of a resource that pods use of what they (or their containers called `container`) ask for.
///
/// # Errors
/// Why it cannot be told.
pub fn by_utilization(
    seen: Observed<'_>,
    samples: Samples,
    resource: &str,
    container: Option<&str>,
    target_percent: i32,
) -> Result<Proposal, String> {
    let groups = Groups::of(seen, &samples, Some(resource))?;
    let samples = groups.counted(samples)?;
    let requests = requests(seen.pods, resource, container)?;
    let first = utilization(&samples, &requests, target_percent)?;
    let full = i64::from(target_percent.max(100));
    let missing = |pod: &str| requests.get(pod).copied().unwrap_or_default().saturating_mul(full) / 100;
    let again =
        |values: &BTreeMap<String, i64>| utilization(values, &requests, target_percent).map(|found| found.ratio);
    let replicas = groups.settle(seen, first.ratio, samples, missing, again)?;
    Ok(Proposal { replicas, value: first.average, percent: Some(first.percent) })
}

/// By the average of a value over pods, in thousandths; `resource` is what it is a use of, if it is of one.
///
/// # Errors
/// Why it cannot be told.
pub fn by_average(
    seen: Observed<'_>,
    samples: Samples,
    resource: Option<&str>,
    target: i64,
) -> Result<Proposal, String> {
    let groups = Groups::of(seen, &samples, resource)?;
    let samples = groups.counted(samples)?;
    let average = |values: &BTreeMap<String, i64>| {
        let sum = values.values().fold(0_i64, |sum, value| sum.saturating_add(*value));
        sum / i64::try_from(values.len().max(1)).unwrap_or(i64::MAX)
    };
    let value = average(&samples);
    let again = |values: &BTreeMap<String, i64>| Ok(float(average(values)) / float(target));
    let replicas = groups.settle(seen, float(value) / float(target), samples, |_| target, again)?;
    Ok(Proposal { replicas, value, percent: None })
}

/// By one value for all, in thousandths: what is at zero begins with what the value alone asks for.
///
/// # Errors
/// Why it cannot be told.
pub fn by_value(seen: Observed<'_>, value: i64, target: i64) -> Result<Proposal, String> {
    let ratio = float(value) / float(target);
    let replicas = if seen.wanted == 0 {
        ceil(ratio)
    } else if seen.tolerance.covers(ratio) {
        seen.wanted
    } else if seen.pods.is_empty() {
        return Err(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count".into()
        );
    } else {
        let ready = seen.pods.iter().filter(|pod| pods::phase(pod) == "Running" && pods::is_ready(pod)).count();
        ceil(ratio * count(ready))
    };
    Ok(Proposal { replicas, value, percent: None })
}

/// By one value that all share, in thousandths, of which each should have `target`.
pub fn by_share(seen: Observed<'_>, value: i64, target: i64) -> Proposal {
    let present = f64::from(seen.present);
    let near = seen.tolerance.covers(float(value) / (float(target) * present));
    let replicas = if near { seen.present } else { ceil(float(value) / float(target)) };
    let share = if seen.present == 0 { value } else { whole((float(value) / present).ceil()) };
    Proposal { replicas, value: share, percent: None }
}

/// Pods by what can be said of them.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Groups {
    fn of(seen: Observed<'_>, samples: &Samples, resource: Option<&str>) -> Result<Self, String> {
        if seen.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".into());
        }
        let mut groups = Self::default();
        for pod in seen.pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let sample = samples.get(&name);
            if pods::is_deleting(pod) || pods::phase(pod) == "Failed" {
                groups.ignored.insert(name);
            } else if pods::phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else if let Some(sample) = sample {
                if resource == Some("cpu") && is_starting(pod, sample, seen.now) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        Ok(groups)
    }

    /// The values that count at first.
    fn counted(&self, samples: Samples) -> Result<BTreeMap<String, i64>, String> {
        let counts = |name: &String| !self.ignored.contains(name) && !self.unready.contains(name);
        let values: BTreeMap<_, _> =
            samples.into_iter().filter(|(name, _)| counts(name)).map(|(name, sample)| (name, sample.value)).collect();
        if values.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".into());
        }
        Ok(values)
    }

    /// The replicas that `ratio` asks for. With pods of which nothing is known it is asked `again`, with those at what speaks
    /// against the change: at nothing when there should be more, at what `missing` says when there should be fewer.
    fn settle(
        &self,
        seen: Observed<'_>,
        ratio: f64,
        mut values: BTreeMap<String, i64>,
        missing: impl Fn(&str) -> i64,
        again: impl Fn(&BTreeMap<String, i64>) -> Result<f64, String>,
    ) -> Result<i32, String> {
        let more_with_unready = !self.unready.is_empty() && ratio > 1.0;
        if !more_with_unready && self.missing.is_empty() {
            return Ok(if seen.tolerance.covers(ratio) { seen.wanted } else { ceil(ratio * count(self.ready)) });
        }
        if ratio < 1.0 {
            values.extend(self.missing.iter().map(|name| (name.clone(), missing(name))));
        } else if ratio > 1.0 {
            values.extend(self.missing.iter().map(|name| (name.clone(), 0)));
        }
        if more_with_unready {
            values.extend(self.unready.iter().map(|name| (name.clone(), 0)));
        }
        let second = again(&values)?;
        let replicas = ceil(second * count(values.len()));
        let turned = (ratio < 1.0 && second > 1.0) || (ratio > 1.0 && second < 1.0);
        let against = (second < 1.0 && replicas > seen.wanted) || (second > 1.0 && replicas < seen.wanted);
        Ok(if seen.tolerance.covers(second) || turned || against { seen.wanted } else { replicas })
    }
}

/// Whether what a pod uses of processors is not yet its load.
fn is_starting(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let (Some(ready), Some(started)) = (pods::condition(pod, "Ready"), started) else { return true };
    let changed = ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let unready = ready.status == "False";
    if started.saturating_add(CPU_INITIALIZATION).unwrap_or(Timestamp::MAX) > now {
        unready || sample.at < changed.saturating_add(sample.window).unwrap_or(Timestamp::MAX)
    } else {
        unready && started.saturating_add(INITIAL_READINESS).unwrap_or(Timestamp::MAX) > changed
    }
}

struct Utilization {
    ratio: f64,
    percent: i32,
    average: i64,
}

fn utilization(
    values: &BTreeMap<String, i64>,
    requests: &BTreeMap<String, i64>,
    target_percent: i32,
) -> Result<Utilization, String> {
    let known = values.iter().filter_map(|(pod, value)| Some((*value, *requests.get(pod)?)));
    let (used, requested, pods) = known.fold((0_i64, 0_i64, 0_i64), |(used, requested, pods), (value, request)| {
        (used.saturating_add(value), requested.saturating_add(request), pods + 1)
    });
    if requested == 0 {
        return Err("no metrics returned matched known pods".into());
    }
    let percent = i32::try_from(used.saturating_mul(100) / requested).unwrap_or(i32::MAX);
    Ok(Utilization { ratio: f64::from(percent) / f64::from(target_percent), percent, average: used / pods.max(1) })
}

/// What each pod asks for of a resource, in thousandths.
fn requests(pods: &[Arc<Pod>], resource: &str, container: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
    let of = |pod: &Arc<Pod>| {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let request = if container.is_none() && asks_as_a_whole(pod) {
            let all = pod_resources::total(&json!(**pod), "requests");
            let found = all.get(resource).map(Quantity::milli_value);
            found.ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"))?
        } else {
            containers_request(pod, &name, resource, container)?
        };
        Ok((name, request))
    };
    pods.iter().map(of).collect()
}

fn asks_as_a_whole(pod: &Pod) -> bool {
    let resources = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let mut names =
        resources.into_iter().flat_map(|resources| resources.requests.iter().flatten()).map(|(name, _)| name);
    names.any(|name| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"))
}

fn containers_request(pod: &Pod, name: &str, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let Some(spec) = &pod.spec else { return Ok(0) };
    let beside = spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let mut chosen = spec.containers.iter().chain(beside).filter(|one| container.is_none_or(|name| one.name == name));
    let request = |one: &Container| {
        let requests = one.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let found =
            requests.and_then(|requests| requests.get(resource)).and_then(|amount| amount.0.parse::<Quantity>().ok());
        let missing = || format!("missing request for {resource} in container {} of Pod {name}", one.name);
        found.map(|amount| amount.milli_value()).ok_or_else(missing)
    };
    match container {
        Some(container) => {
            request(chosen.next().ok_or_else(|| format!("container {container} not found in Pod {name}"))?)
        }
        None => chosen.try_fold(0_i64, |sum, one| Ok(sum.saturating_add(request(one)?))),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of two measurements needs no more precision than a float has")]
fn float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "pods are countable exactly in a float")]
fn count(pods: usize) -> f64 {
    pods as f64
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
fn whole(value: f64) -> i64 {
    value as i64
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

#[cfg(test)]
#[path = "replicas_test.rs"]
mod tests;
