//! Telling the API server: bindings, conditions, evictions, and the events that people read.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    plugins::volumes::{Step, Volumes},
    pod::PodInfo,
};

/// Requests at once; more would only wait in the API server.
const AT_ONCE: usize = 64;

/// What became of a binding.
#[derive(Debug)]
pub enum Outcome {
    /// The pod has its node.
    Bound {
        /// The pod.
        uid: String,
    },
    /// It has not; it is tried again.
    Failed {
        /// The pod.
        uid: String,
    },
}

/// Sends decisions to the API server without holding up the next.
pub struct Binder {
    client: Client,
    recorder: Recorder,
    outcomes: mpsc::UnboundedSender<Outcome>,
    permits: Arc<Semaphore>,
}

impl Binder {
    /// A binder that tells `outcomes` how each binding ended.
    pub fn new(client: Client, outcomes: mpsc::UnboundedSender<Outcome>) -> Self {
        let reporter = Reporter { controller: "default-scheduler".to_owned(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, recorder, outcomes, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }

    /// Binds `pod` to `node`.
    pub fn bind(&self, pod: Arc<PodInfo>, node: String) {
        let (api, recorder, outcomes, permits) =
            (self.pods(&pod), self.recorder.clone(), self.outcomes.clone(), self.permits.clone());
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            let binding = Binding {
                metadata: ObjectMeta {
                    name: Some(pod.name.clone()),
                    namespace: Some(pod.namespace.clone()),
                    uid: Some(pod.uid.clone()),
                    ..ObjectMeta::default()
                },
                target: ObjectReference {
                    kind: Some("Node".to_owned()),
                    name: Some(node.clone()),
                    ..ObjectReference::default()
                },
            };
            let uid = pod.uid.clone();
            let bound = api
                .create_subresource::<Binding, serde_json::Value>(
                    "binding",
                    &pod.name,
                    &PostParams::default(),
                    &binding,
                )
                .await;
            match bound {
                Ok(_) => {
                    // The receiver is only gone when the scheduler stops.
                    let _ = outcomes.send(Outcome::Bound { uid });
                    let note = format!("Successfully assigned {} to {node}", pod.key());
                    publish(&recorder, &pod, EventType::Normal, "Scheduled", "Binding", note).await;
                }
                Err(error) => {
                    tracing::warn!(pod = %pod.key(), node, %error, "binding failed; the pod is tried again");
                    let _ = outcomes.send(Outcome::Failed { uid });
                }
            }
        });
    }

    /// Has the volumes of `pod` bound for `node`: to volumes that are there, or by telling the provisioner the node.
    pub fn prepare_volumes(&self, pod: Arc<PodInfo>, node: String, steps: &[Step], known: &Volumes) {
        for step in steps {
            let step = step.clone();
            let (client, pod, node, outcomes) = (self.client.clone(), pod.clone(), node.clone(), self.outcomes.clone());
            let (Step::Bind { claim, .. } | Step::Provision { claim }) = &step;
            let claim_uid =
                known.claims.get(&(pod.namespace.clone(), claim.clone())).and_then(|claim| claim.metadata.uid.clone());
            tokio::spawn(async move {
                let done = match &step {
                    Step::Provision { claim } => {
                        let annotations = json!({"volume.kubernetes.io/selected-node": node});
                        let patch = json!({"metadata": {"uid": claim_uid, "annotations": annotations}});
                        let api: Api<PersistentVolumeClaim> = Api::namespaced(client, &pod.namespace);
                        api.patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
                    }
                    Step::Bind { volume, claim } => {
                        let reference = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1",
                            "namespace": pod.namespace, "name": claim, "uid": claim_uid});
                        let annotations = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
                        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"claimRef": reference}});
                        let api: Api<PersistentVolume> = Api::all(client);
                        api.patch(volume, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
                    }
                };
                if let Err(error) = done {
                    tracing::warn!(pod = %pod.key(), node, %error, "volumes are not bound; the pod is tried again");
                    let _ = outcomes.send(Outcome::Failed { uid: pod.uid.clone() });
                }
            });
        }
    }

    /// Says in the pod's condition and in an event why it has no node; `nominated` is where room is being made.
    pub fn report_unschedulable(&self, pod: Arc<PodInfo>, message: String, nominated: Option<String>) {
        let (api, recorder, permits) = (self.pods(&pod), self.recorder.clone(), self.permits.clone());
        if says_already(&pod, &message) && nominated.is_none() {
            return;
        }
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            let mut status = json!({"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastProbeTime": null, "lastTransitionTime": transition_time(&pod),
                "observedGeneration": pod.pod.metadata.generation,
            }]});
            if let Some(node) = nominated {
                status["nominatedNodeName"] = node.into();
            }
            let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
            let sent = api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            if let Err(error) = sent {
                tracing::debug!(pod = %pod.key(), %error, "condition not written; the pod may be gone");
            }
            publish(&recorder, &pod, EventType::Warning, "FailedScheduling", "Scheduling", message).await;
        });
    }

    /// Makes room for `pod`: deletes `victims`.
    pub fn preempt(&self, pod: Arc<PodInfo>, victims: Vec<Arc<PodInfo>>) {
        for victim in victims {
            let (api, recorder, by) = (self.pods(&victim), self.recorder.clone(), pod.clone());
            tokio::spawn(async move {
                let who = by.pod.metadata.uid.as_deref().unwrap_or_default();
                let note = format!("Preempted by pod {who} on node {}", victim.node_name().unwrap_or_default());
                let condition = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [{
                    "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                    "message": "default-scheduler: preempting to accommodate a higher priority pod",
                }]}});
                let marked =
                    api.patch_status(&victim.name, &PatchParams::default(), &Patch::Strategic(condition)).await;
                if let Err(error) = marked {
                    tracing::debug!(pod = %victim.key(), %error, "victim not marked; it may be gone");
                }
                let only_this = DeleteParams {
                    preconditions: Some(kube::api::Preconditions {
                        uid: Some(victim.uid.clone()),
                        resource_version: None,
                    }),
                    ..DeleteParams::default()
                };
                if let Err(error) = api.delete(&victim.name, &only_this).await {
                    tracing::warn!(pod = %victim.key(), %error, "victim of preemption not deleted");
                }
                publish(&recorder, &victim, EventType::Normal, "Preempted", "Preempting", note).await;
            });
        }
    }
}

/// Whether the pod's condition has this message already.
fn says_already(pod: &PodInfo, message: &str) -> bool {
    scheduled_condition(pod).is_some_and(|condition| condition.message.as_deref() == Some(message))
}

fn scheduled_condition(pod: &PodInfo) -> Option<&k8s_openapi::api::core::v1::PodCondition> {
    let conditions = pod.pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")
}

/// When the pod became unschedulable: at its creation, or when its condition says.
fn transition_time(pod: &PodInfo) -> serde_json::Value {
    let since = scheduled_condition(pod).and_then(|condition| condition.last_transition_time.clone());
    json!(since.or_else(|| pod.pod.metadata.creation_timestamp.clone()))
}

async fn publish(recorder: &Recorder, pod: &PodInfo, type_: EventType, reason: &str, action: &str, note: String) {
    let event =
        Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None };
    if let Err(error) = recorder.publish(&event, &pod.pod.object_ref(&())).await {
        tracing::debug!(pod = %pod.key(), reason, %error, "event not recorded");
    }
}
