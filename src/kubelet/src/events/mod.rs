//! Events: what happened to a pod or to the node, for people.
//!
//! Nobody waits for an event to be written: it is queued (bounded; what does not fit is dropped and logged), and one
//! task writes. Repeated ones become one object with a count, similar ones one with a common message, and a pod that
//! has too much to tell is not listened to for a while, as Kubernetes' event correlator does.

mod correlator;

use std::sync::Arc;

use component_base::SharedClock;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, Node, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use self::correlator::{Correlator, Decision};
use crate::pod::traits::PodExt;

/// More than that many unwritten events are dropped.
const QUEUE_MAX: usize = 4_096;

/// `Normal` or `Warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) struct Occurrence {
    pub object: ObjectReference,
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
    pub at: Timestamp,
}

/// Where components say what happened.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    clock: SharedClock,
    node_name: Arc<str>,
}

impl Recorder {
    /// A recorder of the node's kubelet and the task that writes.
    pub fn new(client: Client, clock: SharedClock, node_name: &str) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, occurrences) = mpsc::channel(QUEUE_MAX);
        let node_name: Arc<str> = node_name.into();
        let writing = write(client, occurrences, node_name.clone());
        (Self { queue, clock, node_name }, writing)
    }

    /// Something happened to a pod.
    pub fn pod(&self, pod: &Pod, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.record(pod_reference(pod, None), severity, reason, message.into());
    }

    /// Something happened to a container of a pod.
    pub fn container(
        &self,
        pod: &Pod,
        container: &str,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let path = pod.find_container(container).map(|(_, path)| path);
        self.record(pod_reference(pod, path), severity, reason, message.into());
    }

    /// Something happened to the node.
    pub fn node(&self, node: Option<&Node>, severity: Severity, reason: &'static str, message: impl Into<String>) {
        let object = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.node_name.to_string()),
            uid: Some(node.and_then(|node| node.metadata.uid.clone()).unwrap_or_else(|| self.node_name.to_string())),
            ..Default::default()
        };
        self.record(object, severity, reason, message.into());
    }

    fn record(&self, object: ObjectReference, severity: Severity, reason: &'static str, message: String) {
        // Kubernetes refuses longer ones.
        let message = match message.char_indices().nth(1_024) {
            Some((end, _)) => message[..end].to_owned(),
            None => message,
        };
        let occurrence = Occurrence { object, severity, reason, message, at: self.clock.now() };
        if let Err(error) = self.queue.try_send(occurrence) {
            tracing::warn!(%error, "an event was dropped");
        }
    }
}

fn pod_reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

async fn write(client: Client, mut occurrences: mpsc::Receiver<Occurrence>, node_name: Arc<str>) {
    let mut correlator = Correlator::default();
    while let Some(occurrence) = occurrences.recv().await {
        let namespace = occurrence.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let written = match correlator.observe(&occurrence) {
            Decision::Drop => continue,
            Decision::Create { name, key, message } => {
                let event = new_event(&occurrence, &namespace, name, message, &node_name);
                let written = api.create(&PostParams::default(), &event).await;
                if written.is_err() {
                    correlator.forget(&key);
                }
                written
            }
            Decision::Repeat { name, key, message, count } => {
                let last = Time(occurrence.at);
                let patch = json!({"count": count, "lastTimestamp": last, "message": message});
                let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
                match patched {
                    // It has expired: it begins again.
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        correlator.forget(&key);
                        let name = correlator::event_name(&occurrence);
                        let mut event = new_event(&occurrence, &namespace, name, message, &node_name);
                        event.count = Some(count);
                        api.create(&PostParams::default(), &event).await
                    }
                    other => other,
                }
            }
        };
        if let Err(error) = written {
            // Of a namespace that is going, or a server that is away: not worth more than a line.
            tracing::debug!(%error, reason = occurrence.reason, "an event was not written");
        }
    }
}

fn new_event(occurrence: &Occurrence, namespace: &str, name: String, message: String, node_name: &str) -> Event {
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..Default::default() },
        involved_object: occurrence.object.clone(),
        reason: Some(occurrence.reason.to_owned()),
        message: Some(message),
        type_: Some(occurrence.severity.as_str().to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(occurrence.at)),
        last_timestamp: Some(Time(occurrence.at)),
        source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(node_name.to_owned()) }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: Some(node_name.to_owned()),
        ..Default::default()
    }
}
