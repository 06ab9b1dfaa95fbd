//! What an autoscaler makes of what was measured: the replicas it wants, and what it says of itself. Pure.

use apimachinery::quantity::{Format, Quantity};
use jiff::Timestamp;
use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricStatus, ExternalMetricStatus, HPAScalingRules, HorizontalPodAutoscaler,
        HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus, MetricTarget,
        MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
    },
    apimachinery::pkg::{api::resource, apis::meta::v1::Time},
};

use super::{
    behavior::{History, Range},
    metrics::Measured,
    replicas::{self, Observed, Proposal, Tolerance},
    words,
};

/// How far a measurement may be off before anything changes, unless the autoscaler says so itself.
const TOLERANCE: f64 = 0.1;

/// What is to be done about a number of replicas before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Nothing: who set it to zero meant it.
    Disabled,
    /// It is outside the bounds.
    Bound(i32, &'static str),
    /// Measure.
    Measure,
}

/// Says it.
pub fn aim(current: i32, min: i32, max: i32) -> Aim {
    if current == 0 && min != 0 {
        Aim::Disabled
    } else if current > max {
        Aim::Bound(max, "Current number of replicas above Spec.MaxReplicas")
    } else if current < min {
        Aim::Bound(min, "Current number of replicas below Spec.MinReplicas")
    } else {
        Aim::Measure
    }
}

/// How far off is near enough for an autoscaler.
pub fn tolerance(hpa: &HorizontalPodAutoscaler) -> Tolerance {
    let behavior = hpa.spec.behavior.as_ref();
    let of = |rules: Option<&HPAScalingRules>| {
        let own = rules.and_then(|rules| rules.tolerance.as_ref()).and_then(|own| own.0.parse::<Quantity>().ok());
        own.map_or(TOLERANCE, |own| own.as_f64())
    };
    Tolerance {
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
    }
}

/// What one metric asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// So many replicas.
    pub replicas: i32,
    /// What it is called.
    pub name: String,
    /// What the status says of it.
    pub status: MetricStatus,
}

/// Why a metric asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In a word.
    pub reason: &'static str,
    /// As its event and condition say it.
    pub told: String,
    /// As the sum of all says it.
    pub error: String,
}

/// What a metric asks for by what was measured.
///
/// # Errors
/// Why it asks for nothing.
pub fn ask(spec: &MetricSpec, measured: Result<Measured, String>, seen: Observed<'_>) -> Result<Asked, Failure> {
    if let Some(source) = &spec.resource {
        let failed = |told: String| Failure {
            reason: "FailedGetResourceMetric",
            error: format!("failed to get {} resource metric value: {told}", source.name),
            told,
        };
        let (replicas, name, current) =
            of_resource(&source.target, &source.name, None, measured, seen).map_err(failed)?;
        let resource = Some(ResourceMetricStatus { current, name: source.name.clone() });
        return Ok(Asked { replicas, name, status: MetricStatus { resource, ..status("Resource") } });
    }
    if let Some(source) = &spec.container_resource {
        let failed = |told: String| Failure {
            reason: "FailedGetContainerResourceMetric",
            error: format!("failed to get {} container metric value: {told}", source.container),
            told,
        };
        let (container, target) = (Some(source.container.as_str()), &source.target);
        let (replicas, name, current) = of_resource(target, &source.name, container, measured, seen).map_err(failed)?;
        let container = source.container.clone();
        let container_resource = Some(ContainerResourceMetricStatus { container, current, name: source.name.clone() });
        return Ok(Asked {
            replicas,
            name,
            status: MetricStatus { container_resource, ..status("ContainerResource") },
        });
    }
    if let Some(source) = &spec.pods {
        let failed = |told: String| Failure {
            reason: "FailedGetPodsMetric",
            error: format!("failed to get pods metric value: {told}"),
            told,
        };
        let target = milli(source.target.average_value.as_ref()).unwrap_or_default();
        let found = pods_of(measured).and_then(|samples| replicas::by_average(seen, samples, None, target));
        let found = found.map_err(failed)?;
        let pods = Some(PodsMetricStatus { current: average(found, None), metric: source.metric.clone() });
        let name = format!("pods metric {}", source.metric.name);
        return Ok(Asked { replicas: found.replicas, name, status: MetricStatus { pods, ..status("Pods") } });
    }
    if let Some(source) = &spec.object {
        let metric = &source.metric.name;
        let shared = source.target.type_ == "AverageValue";
        let failed = |told: String| Failure {
            reason: "FailedGetObjectMetric",
            error: match shared {
                true => format!("failed to get object metric value: failed to get {metric} object metric: {told}"),
                false => format!("failed to get object metric value: {told}"),
            },
            told,
        };
        let value = measured.and_then(value_of);
        let (found, current) = one_value(&source.target, value, seen, "object").map_err(failed)?;
        let name = if shared {
            format!("external metric {metric}({})", words::selector(source.metric.selector.as_ref()))
        } else {
            format!("{} metric {metric}", source.described_object.kind)
        };
        let described_object = source.described_object.clone();
        let object = Some(ObjectMetricStatus { current, described_object, metric: source.metric.clone() });
        return Ok(Asked { replicas: found.replicas, name, status: MetricStatus { object, ..status("Object") } });
    }
    if let Some(source) = &spec.external {
        let metric = &source.metric.name;
        let failed = |told: String| Failure {
            reason: "FailedGetExternalMetric",
            error: match (&source.target.average_value, &source.target.value) {
                (Some(_), _) => format!(
                    "failed to get {metric} external metric value: failed to get {metric} external metric: {told}"
                ),
                (_, Some(_)) => format!(
                    "failed to get {metric} external metric value: failed to get external metric {metric}: {told}"
                ),
                (None, None) => format!("failed to get {metric} external metric value: {told}"),
            },
            told,
        };
        let (found, current) =
            one_value(&source.target, measured.and_then(value_of), seen, "external").map_err(failed)?;
        let name = format!("external metric {metric}({})", words::selector(source.metric.selector.as_ref()));
        let external = Some(ExternalMetricStatus { current, metric: source.metric.clone() });
        return Ok(Asked { replicas: found.replicas, name, status: MetricStatus { external, ..status("External") } });
    }
    let told = format!("unknown metric source type {:?}", spec.type_);
    Err(Failure { reason: "InvalidMetricSourceType", error: told.clone(), told })
}

fn status(kind: &str) -> MetricStatus {
    MetricStatus { type_: kind.to_owned(), ..MetricStatus::default() }
}

fn of_resource(
    target: &MetricTarget,
    resource: &str,
    container: Option<&str>,
    measured: Result<Measured, String>,
    seen: Observed<'_>,
) -> Result<(i32, String, MetricValueStatus), String> {
    let failed = |error: String| format!("failed to get {resource} utilization: {error}");
    if let Some(target) = milli(target.average_value.as_ref()) {
        let found = pods_of(measured).and_then(|samples| replicas::by_average(seen, samples, Some(resource), target));
        let found = found.map_err(failed)?;
        Ok((found.replicas, format!("{resource} resource"), average(found, None)))
    } else if let Some(target) = target.average_utilization {
        let found = pods_of(measured)
            .and_then(|samples| replicas::by_utilization(seen, samples, resource, container, target))
            .map_err(failed)?;
        let name = format!("{resource} resource utilization (percentage of request)");
        Ok((found.replicas, name, average(found, found.percent)))
    } else {
        Err("invalid resource metric source: neither a utilization target nor an average value target was set"
            .to_owned())
    }
}

/// One value for all, against what it should be or what each pod's share of it should be.
fn one_value(
    target: &MetricTarget,
    value: Result<i64, String>,
    seen: Observed<'_>,
    what: &str,
) -> Result<(Proposal, MetricValueStatus), String> {
    if let Some(target) = milli(target.average_value.as_ref()) {
        let found = replicas::by_share(seen, value?, target);
        Ok((found, average(found, None)))
    } else if let Some(target) = milli(target.value.as_ref()) {
        let found = replicas::by_value(seen, value?, target)?;
        Ok((found, MetricValueStatus { value: Some(quantity(found.value)), ..MetricValueStatus::default() }))
    } else {
        Err(format!("invalid {what} metric source: neither a value target nor an average value target was set"))
    }
}

fn pods_of(measured: Result<Measured, String>) -> Result<replicas::Samples, String> {
    match measured? {
        Measured::Pods(samples) => Ok(samples),
        Measured::Value(_) => Err("one value was measured for all pods".to_owned()),
    }
}

fn value_of(measured: Measured) -> Result<i64, String> {
    match measured {
        Measured::Value(value) => Ok(value),
        Measured::Pods(_) => Err("each pod was measured by itself".to_owned()),
    }
}

fn milli(quantity: Option<&resource::Quantity>) -> Option<i64> {
    quantity.and_then(|quantity| quantity.0.parse::<Quantity>().ok()).map(|quantity| quantity.milli_value())
}

fn quantity(millis: i64) -> resource::Quantity {
    resource::Quantity(Quantity::from_millis(millis, Format::DecimalSi).canonical())
}

fn average(found: Proposal, percent: Option<i32>) -> MetricValueStatus {
    MetricValueStatus {
        average_utilization: percent,
        average_value: Some(quantity(found.value)),
        ..MetricValueStatus::default()
    }
}

/// The status of an autoscaler as it is written.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it says so far.
    pub status: HorizontalPodAutoscalerStatus,
    now: Timestamp,
}

impl Draft {
    /// What it says now, before anything is looked at.
    pub fn of(hpa: &HorizontalPodAutoscaler, now: Timestamp) -> Self {
        Self { status: hpa.status.clone().unwrap_or_default(), now }
    }

    /// A condition holds or not; when it began to counts from a change only.
    pub fn condition(&mut self, kind: &str, holds: bool, reason: &str, message: impl Into<String>) {
        let status = if holds { "True" } else { "False" };
        let now = Some(Time(self.now));
        let conditions = self.status.conditions.get_or_insert_default();
        let at = match conditions.iter().position(|condition| condition.type_ == kind) {
            Some(at) => at,
            None => {
                conditions.push(HorizontalPodAutoscalerCondition {
                    type_: kind.to_owned(),
                    last_transition_time: now.clone(),
                    ..HorizontalPodAutoscalerCondition::default()
                });
                conditions.len() - 1
            }
        };
        let condition = &mut conditions[at];
        if condition.status != status {
            condition.last_transition_time = now;
        }
        status.clone_into(&mut condition.status);
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.into());
    }

    /// So many there are, and this is what was measured.
    pub fn observed(&mut self, current: i32, metrics: Option<Vec<MetricStatus>>) {
        self.status.current_replicas = Some(current);
        self.status.current_metrics = metrics;
    }

    /// So many are wanted.
    pub fn desired(&mut self, replicas: i32, rescaled: bool) {
        self.status.desired_replicas = replicas;
        if rescaled {
            self.status.last_scale_time = Some(Time(self.now));
        }
    }
}

/// What all metrics together come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// So many replicas, with the reason if that is a change; and what could not be measured nevertheless.
    Replicas(i32, String, Option<String>),
    /// It cannot be told.
    Unknown(String),
}

/// Weighs what the metrics ask for: the most counts, and what cannot be measured only stands in the way of fewer.
pub fn weigh(
    draft: &mut Draft,
    hpa: &HorizontalPodAutoscaler,
    asked: Vec<Result<Asked, Failure>>,
    range: Range,
    history: &mut History,
) -> Verdict {
    let statuses =
        asked.iter().map(|asked| asked.as_ref().map_or_else(|_| MetricStatus::default(), |asked| asked.status.clone()));
    draft.observed(range.current, Some(statuses.collect()));
    let failed = asked.iter().filter(|asked| asked.is_err()).count();
    let first = asked.iter().find_map(|asked| asked.as_ref().err());
    let error = first.map(|first| {
        format!("invalid metrics ({failed} invalid out of {}), first error is: {}", asked.len(), first.error)
    });
    let mut most: Option<&Asked> = None;
    for one in asked.iter().flatten() {
        if most.is_none_or(|most| most.replicas == 0 || one.replicas > most.replicas) {
            most = Some(one);
        }
    }
    let most = match (most, first, &error) {
        (most, Some(first), Some(error)) if most.is_none_or(|most| most.replicas < range.current) => {
            let message = format!("the HPA was unable to compute the replica count: {}", first.told);
            draft.condition("ScalingActive", false, first.reason, message);
            return Verdict::Unknown(error.clone());
        }
        (Some(most), ..) => most,
        (None, ..) => return Verdict::Unknown("no metric is asked for".to_owned()),
    };
    let message = format!("the HPA was able to successfully calculate a replica count from {}", most.name);
    draft.condition("ScalingActive", true, "ValidMetricFound", message);
    let reason = match most.replicas {
        more if more > range.current => format!("{} above target", most.name),
        fewer if fewer < range.current => "All metrics below target".to_owned(),
        _ => String::new(),
    };
    let behavior = hpa.spec.behavior.as_ref();
    let normalized = history.normalize(behavior, range, most.replicas, draft.now);
    draft.condition("AbleToScale", true, normalized.stabilized.reason, normalized.stabilized.message);
    draft.condition("ScalingLimited", normalized.limited, normalized.limit.reason, normalized.limit.message);
    Verdict::Replicas(normalized.replicas, reason, error)
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
