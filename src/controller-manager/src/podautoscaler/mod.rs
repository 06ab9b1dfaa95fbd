//! The horizontal pod autoscaler: as many replicas as what is measured asks for.
//!
//! ```text
//!   scale of the target ── within the bounds? ──► metrics APIs ──► plan::ask, a metric each ──► plan::weigh ──► scale, status
//!                                  │ no: to the nearer bound                                        ▲
//!                                  └───────────────────────────────────────────         what was recommended and done
//! ```
//!
//! An autoscaler is looked at when its spec changes, and every 15 seconds, as the API says; what it measures tells no changes.

mod behavior;
mod metrics;
mod plan;
mod replicas;
mod target;
mod words;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use apimachinery::selectors::LabelSelector;
use component_base::SharedClock;
use futures::future::join_all;
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{Client, Resource, api::PostParams, core::Request};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::{
    behavior::{History, Range},
    metrics::Metrics,
    plan::{Aim, Draft, Verdict},
    replicas::Observed,
    target::Target,
};
use crate::{
    framework::{
        Change, Context, Informer, Key, Outcome, Queue, Recorder, SyncError, is_gone, labels_of, spawn_workers,
    },
    inventory::Inventory,
};

const NAME: &str = "horizontal-pod-autoscaler";
/// So many are looked at at a time.
const WORKERS: usize = 5;
/// How often each is looked at.
const PERIOD: Duration = Duration::from_secs(15);

struct Controller {
    client: Client,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    inventory: Inventory,
    metrics: Metrics,
    recorder: Recorder,
    clock: SharedClock,
    /// What each has recommended and done.
    histories: Mutex<HashMap<Key, History>>,
    /// What selects the pods of each, as far as it was looked at.
    selectors: Mutex<BTreeMap<Key, LabelSelector>>,
}

/// Starts it.
pub fn start(context: &Context, inventory: &Inventory) {
    let (client, recorder) = context.identity(NAME);
    let autoscalers = context.informers.of::<HorizontalPodAutoscaler>();
    let queue = Queue::new(context.clock.clone());
    let changed = queue.clone();
    autoscalers.on_change(move |change| {
        let Change { old, new } = change;
        if old.as_ref().map(|old| &old.spec) != new.as_ref().map(|new| &new.spec) {
            changed.add(Key::of(&**change.object()));
        }
    });
    let controller = Arc::new(Controller {
        metrics: Metrics::new(client.clone(), inventory.clone()),
        client,
        autoscalers,
        pods: context.informers.of(),
        inventory: inventory.clone(),
        recorder,
        clock: context.clock.clone(),
        histories: Mutex::default(),
        selectors: Mutex::default(),
    });
    spawn_workers(context, NAME, WORKERS, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        // A key is worked on once at a time, so that nobody misses what is taken out here.
        let mut history = self.histories.lock().remove(key).unwrap_or_default();
        let Some(hpa) = self.autoscalers.get(key) else {
            self.selectors.lock().remove(key);
            return Ok(Outcome::Done);
        };
        let mut draft = Draft::of(&hpa, self.clock.now());
        let done = self.scale(&hpa, key, &mut draft, &mut history).await;
        self.histories.lock().insert(key.clone(), history);
        if let Err(error) = done {
            tracing::debug!(%key, %error, "cannot scale");
        }
        self.write(&hpa, key, draft).await?;
        Ok(Outcome::After(PERIOD))
    }

    /// Scales the target, and drafts what there is to say about it.
    async fn scale(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        draft: &mut Draft,
        history: &mut History,
    ) -> Result<(), String> {
        let spec = &hpa.spec;
        let found = Target::find(&self.client, &self.inventory, &key.namespace, &spec.scale_target_ref).await;
        let target = found.inspect_err(|error| {
            self.recorder.warning(hpa, "FailedGetScale", error.as_str());
            let message = format!("the HPA controller was unable to get the target's current scale: {error}");
            draft.condition("AbleToScale", false, "FailedGetScale", message);
        })?;
        let message = "the HPA controller was able to get the target's current scale";
        draft.condition("AbleToScale", true, "SucceededGetScale", message);
        let (current, now) = (target.wanted(), self.clock.now());
        history.begin(current, now);
        let range = Range { current, min: spec.min_replicas.unwrap_or(1), max: spec.max_replicas };
        let (replicas, reason) = match plan::aim(current, range.min, range.max) {
            Aim::Disabled => {
                let message = "scaling is disabled since the replica count of the target is zero";
                draft.condition("ScalingActive", false, "ScalingDisabled", message);
                draft.observed(current, None);
                (current, String::new())
            }
            Aim::Bound(replicas, reason) => {
                draft.observed(current, None);
                (replicas, reason.to_owned())
            }
            Aim::Measure => {
                let verdict = self.measure(hpa, key, &target, range, draft, history).await;
                match verdict {
                    Verdict::Replicas(replicas, reason, partly) => {
                        if let Some(error) = partly {
                            tracing::debug!(%key, %error, "scaled by what could be measured");
                        }
                        (replicas, reason)
                    }
                    Verdict::Unknown(error) => {
                        self.recorder.warning(hpa, "FailedComputeMetricsReplicas", error.as_str());
                        return Err(error);
                    }
                }
            }
        };
        if replicas == current {
            draft.desired(current, false);
            return Ok(());
        }
        if let Err(error) = target.rescale(&self.client, &key.namespace, replicas).await {
            self.recorder.warning(
                hpa,
                "FailedRescale",
                format!("New size: {replicas}; reason: {reason}; error: {error}"),
            );
            let message = format!("the HPA controller was unable to update the target scale: {error}");
            draft.condition("AbleToScale", false, "FailedUpdateScale", message);
            return Err(error);
        }
        let message = format!("the HPA controller was able to update the target scale to {replicas}");
        draft.condition("AbleToScale", true, "SucceededRescale", message);
        self.recorder.normal(hpa, "SuccessfulRescale", format!("New size: {replicas}; reason: {reason}"));
        history.scaled(spec.behavior.as_ref(), current, replicas, now);
        draft.desired(replicas, true);
        Ok(())
    }

    /// Measures what the autoscaler names, and weighs it.
    async fn measure(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        target: &Target,
        range: Range,
        draft: &mut Draft,
        history: &mut History,
    ) -> Verdict {
        let pods = match self.pods_of(key, target.selector()) {
            Ok(pods) => pods,
            Err(Unselected { event, reason, told, condition }) => {
                self.recorder.warning(hpa, event, told.as_str());
                draft.condition("ScalingActive", false, reason, condition);
                draft.observed(range.current, None);
                return Verdict::Unknown(told);
            }
        };
        let specs = hpa.spec.metrics.as_deref().unwrap_or_default();
        let measured = specs.iter().map(|spec| self.metrics.measure(spec, &key.namespace, target.selector()));
        let seen = Observed {
            wanted: range.current,
            present: target.present(),
            pods: &pods,
            tolerance: plan::tolerance(hpa),
            now: self.clock.now(),
        };
        let measured = join_all(measured).await;
        let asked: Vec<_> =
            specs.iter().zip(measured).map(|(spec, measured)| plan::ask(spec, measured, seen)).collect();
        for failure in asked.iter().filter_map(|asked| asked.as_ref().err()) {
            self.recorder.warning(hpa, failure.reason, failure.told.as_str());
        }
        plan::weigh(draft, hpa, asked, range, history)
    }

    /// The pods of the target, unless another autoscaler has some of them too.
    fn pods_of(&self, key: &Key, selector: &str) -> Result<Vec<Arc<Pod>>, Unselected> {
        if selector.is_empty() {
            return Err(Unselected {
                event: "SelectorRequired",
                reason: "InvalidSelector",
                told: "selector is required".to_owned(),
                condition: "the HPA target's scale is missing a selector".to_owned(),
            });
        }
        let parsed = LabelSelector::parse(selector).map_err(|error| {
            let told = format!("couldn't convert selector into a corresponding internal selector object: {error}");
            Unselected { event: "InvalidSelector", reason: "InvalidSelector", condition: told.clone(), told }
        })?;
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| parsed.matches(labels_of(&**pod)));
        let mut selectors = self.selectors.lock();
        selectors.insert(key.clone(), parsed);
        let selects = |selector: &LabelSelector| pods.iter().any(|pod| selector.matches(labels_of(&**pod)));
        let selecting =
            selectors.iter().filter(|(other, selector)| other.namespace == key.namespace && selects(selector));
        let selecting: Vec<_> = selecting.map(|(other, _)| other.to_string()).collect();
        if selecting.len() > 1 {
            let told =
                format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", selecting.join(" "));
            return Err(Unselected {
                event: "AmbiguousSelector",
                reason: "AmbiguousSelector",
                condition: told.clone(),
                told,
            });
        }
        Ok(pods)
    }

    async fn write(&self, hpa: &HorizontalPodAutoscaler, key: &Key, draft: Draft) -> Result<(), SyncError> {
        if hpa.status.as_ref() == Some(&draft.status) {
            return Ok(());
        }
        let mut body = json!(HorizontalPodAutoscaler { status: Some(draft.status), ..hpa.clone() });
        // The field is not left out when there is nothing in it.
        if body["status"]["currentMetrics"].is_null() {
            body["status"]["currentMetrics"] = Value::Null;
        }
        let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
        let request = Request::new(HorizontalPodAutoscaler::url_path(&(), Some(&key.namespace)));
        let request = request.replace_subresource("status", &key.name, &PostParams::default(), body);
        match self.client.request::<HorizontalPodAutoscaler>(request.map_err(kube::Error::BuildRequest)?).await {
            Ok(written) => self.autoscalers.written(written),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Why it cannot be told which pods an autoscaler measures.
struct Unselected {
    event: &'static str,
    reason: &'static str,
    told: String,
    condition: String,
}
