//! Events: what controllers did, for people.
//!
//! Nobody waits for an event to be written: it is queued (bounded; what does not fit is dropped and logged), and one task
//! writes. Repeated ones become one object with a count, as client-go's correlator does.

mod correlator;

use component_base::{SharedClock, Tasks};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use self::correlator::{Correlator, Decision, Occurrence};

/// More than that many unwritten events are dropped.
const QUEUE_MAX: usize = 8_192;
/// Kubernetes refuses longer messages.
const MESSAGE_MAX: usize = 1_024;

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

/// The one task that writes events.
#[derive(Debug, Clone)]
pub(super) struct Events {
    queue: mpsc::Sender<(Speaker, Occurrence)>,
    clock: SharedClock,
}

/// A client that can be printed.
#[derive(Clone)]
struct Speaker(Client);

impl std::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Events {
    pub(super) fn new(clock: SharedClock, tasks: &Tasks) -> Self {
        let (queue, occurrences) = mpsc::channel(QUEUE_MAX);
        tasks.spawn("events", write(occurrences));
        Self { queue, clock }
    }

    pub(super) fn recorder(&self, client: Client, component: &'static str) -> Recorder {
        Recorder { events: self.clone(), client: Speaker(client), component }
    }
}

/// Where a controller says what it did.
#[derive(Debug, Clone)]
pub struct Recorder {
    events: Events,
    client: Speaker,
    component: &'static str,
}

impl Recorder {
    /// Something happened to `object`.
    pub fn event<K>(&self, object: &K, severity: Severity, reason: &'static str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.event_of(reference(object), severity, reason, message);
    }

    /// As it should be.
    pub fn normal<K>(&self, object: &K, reason: &'static str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.event(object, Severity::Normal, reason, message);
    }

    /// Somebody should look.
    pub fn warning<K>(&self, object: &K, reason: &'static str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.event(object, Severity::Warning, reason, message);
    }

    /// Something happened to what `object` refers to.
    pub fn event_of(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX) {
            message.truncate(end);
        }
        let at = self.events.clock.now();
        let occurrence = Occurrence { object, severity, reason, message, at, component: self.component };
        if let Err(error) = self.events.queue.try_send((self.client.clone(), occurrence)) {
            tracing::warn!(%error, "an event was dropped");
        }
    }
}

/// A reference to an object, as events have them.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

async fn write(mut occurrences: mpsc::Receiver<(Speaker, Occurrence)>) {
    let mut correlator = Correlator::default();
    while let Some((client, occurrence)) = occurrences.recv().await {
        let namespace = occurrence.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.0, &namespace);
        let written = match correlator.observe(&occurrence) {
            Decision::Drop => continue,
            Decision::Create { name, key, message } => {
                let written =
                    api.create(&PostParams::default(), &new_event(&occurrence, &namespace, name, message, 1)).await;
                if written.is_err() {
                    correlator.forget(&key);
                }
                written
            }
            Decision::Repeat { name, key, message, count } => {
                let patch = json!({"count": count, "lastTimestamp": Time(occurrence.at), "message": message});
                match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                    // It has expired: it begins again.
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        correlator.forget(&key);
                        let event =
                            new_event(&occurrence, &namespace, correlator::event_name(&occurrence), message, count);
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

fn new_event(occurrence: &Occurrence, namespace: &str, name: String, message: String, count: i32) -> Event {
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..Default::default() },
        involved_object: occurrence.object.clone(),
        reason: Some(occurrence.reason.to_owned()),
        message: Some(message),
        type_: Some(occurrence.severity.as_str().to_owned()),
        count: Some(count),
        first_timestamp: Some(Time(occurrence.at)),
        last_timestamp: Some(Time(occurrence.at)),
        source: Some(EventSource { component: Some(occurrence.component.to_owned()), host: None }),
        reporting_component: Some(occurrence.component.to_owned()),
        ..Default::default()
    }
}
