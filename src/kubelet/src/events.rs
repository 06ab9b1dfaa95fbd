//! Events: what happened to a pod or to the node, for people.
//!
//! Nobody waits for an event to be written: it is queued (bounded; what does not fit is dropped and logged), and one
//! task writes. Repeated ones become one object with a count, similar ones one with a common message, and a pod that
//! has too much to tell is not listened to for a while, as Kubernetes' event correlator does.

use std::sync::Arc;

use component_base::{
    SharedClock,
    events::{self, Correlator, Written},
};
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

pub use component_base::events::Severity;

use crate::pod::traits::PodExt;

/// More than that many unwritten events are dropped.
const QUEUE_MAX: usize = 4_096;

/// One thing that happened.
#[derive(Debug, Clone)]
struct Occurrence {
    object: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
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
        let message = events::shortened(message);
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
        let Some(event) = correlator.observe(&occurrence.heard(&node_name)) else { continue };
        let namespace = occurrence.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let create = || occurrence.event(&namespace, &event, &node_name);
        let written = if event.count == 1 {
            api.create(&PostParams::default(), &create()).await
        } else {
            let patch = json!({"count": event.count, "lastTimestamp": Time(occurrence.at), "message": event.message});
            match api.patch(&event.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // It has expired: it begins again, where it was.
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    api.create(&PostParams::default(), &create()).await
                }
                other => other,
            }
        };
        if let Err(error) = written {
            // Of a namespace that is going, or a server that is away: not worth more than a line.
            tracing::debug!(%error, reason = occurrence.reason, "an event was not written");
        }
    }
}

impl Occurrence {
    fn heard<'a>(&'a self, node_name: &'a str) -> events::Occurrence<'a> {
        fn part(part: &Option<String>) -> &str {
            part.as_deref().unwrap_or_default()
        }
        let ObjectReference { api_version, kind, namespace, name, uid, field_path, .. } = &self.object;
        events::Occurrence {
            source: ["kubelet", node_name],
            object: [part(api_version), part(kind), part(namespace), part(name), part(uid)],
            field_path: part(field_path),
            severity: self.severity.as_str(),
            reason: self.reason,
            message: &self.message,
            at: self.at,
        }
    }

    fn event(&self, namespace: &str, written: &Written, node_name: &str) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(written.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..Default::default()
            },
            involved_object: self.object.clone(),
            reason: Some(self.reason.to_owned()),
            message: Some(written.message.clone()),
            type_: Some(self.severity.as_str().to_owned()),
            count: Some(written.count),
            first_timestamp: Some(Time(written.first)),
            last_timestamp: Some(Time(self.at)),
            source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(node_name.to_owned()) }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(node_name.to_owned()),
            ..Default::default()
        }
    }
}
