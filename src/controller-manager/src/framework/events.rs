//! Events: what controllers did, for people.
//!
//! Nobody waits for an event to be written: it is queued (bounded; what does not fit is dropped and logged), and one task
//! writes. Repeated ones become one object with a count, as client-go's correlator does.

use component_base::{
    SharedClock, Tasks,
    events::{self, Correlator, Written},
};
use jiff::Timestamp;
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

pub use component_base::events::Severity;

/// More than that many unwritten events are dropped.
const QUEUE_MAX: usize = 8_192;

/// One thing that happened.
#[derive(Debug, Clone)]
struct Occurrence {
    object: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    at: Timestamp,
    component: &'static str,
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
        let message = events::shortened(message.into());
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
        let Some(event) = correlator.observe(&occurrence.heard()) else { continue };
        let namespace = occurrence.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.0, &namespace);
        let create = || occurrence.event(&namespace, &event);
        let written = if event.count == 1 {
            api.create(&PostParams::default(), &create()).await
        } else {
            let patch = json!({"count": event.count, "lastTimestamp": Time(occurrence.at), "message": event.message});
            match api.patch(&event.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // It has expired: it begins again, where it was.
                Err(error) if super::is_gone(&error) => api.create(&PostParams::default(), &create()).await,
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
    fn heard(&self) -> events::Occurrence<'_> {
        fn part(part: &Option<String>) -> &str {
            part.as_deref().unwrap_or_default()
        }
        let ObjectReference { api_version, kind, namespace, name, uid, field_path, .. } = &self.object;
        events::Occurrence {
            source: [self.component, ""],
            object: [part(api_version), part(kind), part(namespace), part(name), part(uid)],
            field_path: part(field_path),
            severity: self.severity.as_str(),
            reason: self.reason,
            message: &self.message,
            at: self.at,
        }
    }

    fn event(&self, namespace: &str, written: &Written) -> Event {
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
            source: Some(EventSource { component: Some(self.component.to_owned()), host: None }),
            reporting_component: Some(self.component.to_owned()),
            ..Default::default()
        }
    }
}
