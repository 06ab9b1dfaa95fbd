//! The namespace controller: empties namespaces that are being deleted, and lets them go.
//!
//! Pods go first, since what they use should outlive them. What is left behind (by graceful deletion or finalizers) wakes the
//! controller when it goes: the inventory tells.

pub mod plan;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use component_base::SharedClock;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Client, ResourceExt,
    api::{DeleteParams, ListParams, PropagationPolicy},
    core::Request,
    discovery::verbs,
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::Found;
use crate::{
    framework::{Context, Informer, Key, Outcome, Queue, SyncError, is_gone, spawn_workers},
    inventory::{Inventory, Partial, Resource, Told},
};

const NAME: &str = "namespace-controller";
/// Content that nobody tells about (of a resource that cannot be watched) is looked for again after that time.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

struct Controller {
    client: Client,
    namespaces: Informer<Namespace>,
    inventory: Inventory,
    clock: SharedClock,
    /// Those that are being emptied.
    going: Arc<Mutex<HashSet<String>>>,
}

/// Starts it.
pub fn start(context: &Context, inventory: &Inventory) {
    let (client, _) = context.identity(NAME);
    let namespaces = context.informers.of::<Namespace>();
    let queue = Queue::new(context.clock.clone());
    let going: Arc<Mutex<HashSet<String>>> = Arc::default();
    let (marked, left) = (queue.clone(), going.clone());
    namespaces.on_change(move |change| match &change.new {
        Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => marked.add(namespace.name_any()),
        Some(_) => {}
        None => {
            left.lock().remove(&change.object().name_any());
        }
    });
    let (told, emptied) = (queue.clone(), going.clone());
    inventory.on_change(move |change| {
        if let Told::Gone(_, meta) = change
            && !meta.namespace.is_empty()
            && emptied.lock().contains(&meta.namespace)
        {
            told.add(meta.namespace.clone());
        }
    });
    let (inventory, clock) = (inventory.clone(), context.clock.clone());
    let controller = Arc::new(Controller { client, namespaces, inventory, clock, going });
    spawn_workers(context, NAME, 5, &queue, move |name: String| {
        let controller = controller.clone();
        async move { controller.sync(&name).await }
    });
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Partial>,
}

impl Controller {
    async fn sync(&self, name: &str) -> Result<Outcome, SyncError> {
        if self.namespaces.get(&Key::new("", name)).is_none() {
            return Ok(Outcome::Done);
        }
        let path = Request::new("/api/v1/namespaces").get(name, &Default::default());
        let namespace: Value = match self.client.request(path.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if is_gone(&error) => return Ok(Outcome::Done),
            answer => answer?,
        };
        let finalizers = namespace.pointer("/spec/finalizers").and_then(Value::as_array);
        if namespace["metadata"]["deletionTimestamp"].is_null() || finalizers.is_none_or(Vec::is_empty) {
            return Ok(Outcome::Done);
        }
        // From here on what goes is a reason to look again.
        self.going.lock().insert(name.to_owned());
        let found = self.empty(name).await;
        let namespace = self.report(namespace, &found).await?;
        if !found.failures.is_empty() {
            return Err(SyncError::Other(found.failures.join(", ")));
        }
        if let Some(error) = found.discovery {
            return Err(SyncError::Other(error));
        }
        if !found.remaining.is_empty() {
            return Ok(Outcome::After(LOOK_AGAIN));
        }
        self.finalize(namespace).await?;
        Ok(Outcome::Done)
    }

    /// Deletes what there is, and says what is left.
    async fn empty(&self, namespace: &str) -> Found {
        let discovered = self.inventory.found();
        let mut found = Found { discovery: discovered.error, ..Found::default() };
        let deletable: Vec<_> = discovered
            .resources
            .values()
            .filter(|resource| resource.namespaced && resource.can(verbs::DELETE) && resource.can(verbs::LIST))
            .collect();
        if deletable.is_empty() && found.discovery.is_none() {
            found.discovery = Some("no resources have been discovered yet".to_owned());
        }
        let (pods, others): (Vec<_>, Vec<_>) =
            deletable.into_iter().partition(|resource| resource.group.is_empty() && resource.plural == "pods");
        for resources in [pods, others] {
            for resource in resources {
                if let Err(error) = self.empty_of(resource, namespace, &mut found).await {
                    found.failures.push(error.to_string());
                }
            }
            if !found.remaining.is_empty() {
                break;
            }
        }
        found
    }

    async fn empty_of(&self, resource: &Resource, namespace: &str, found: &mut Found) -> Result<(), SyncError> {
        let there = self.list(resource, namespace).await?;
        if there.is_empty() {
            return Ok(());
        }
        let request = Request::new(resource.path(namespace));
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        if resource.can(verbs::DELETE_COLLECTION) {
            let request = request.delete_collection(&params, &ListParams::default());
            self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await?;
        } else {
            for object in &there {
                let request = request.delete(&object.metadata.name, &params).map_err(kube::Error::BuildRequest)?;
                match self.client.request::<Value>(request).await {
                    Err(error) if !is_gone(&error) => return Err(error.into()),
                    _ => {}
                }
            }
        }
        let left = self.list(resource, namespace).await?;
        if left.is_empty() {
            return Ok(());
        }
        found.remaining.insert(format!("{}.{}", resource.plural, resource.group), left.len());
        let mut finalizers: BTreeMap<&String, usize> = BTreeMap::new();
        left.iter()
            .flat_map(|object| &object.metadata.finalizers)
            .for_each(|one| *finalizers.entry(one).or_default() += 1);
        for (finalizer, count) in finalizers {
            *found.finalizers.entry(finalizer.clone()).or_default() += count;
        }
        if left.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
            let api = format!("{}/{}, Resource={}", resource.group, resource.version, resource.plural);
            return Err(SyncError::Other(format!(
                "unexpected items still remain in namespace: {namespace} for gvr: {api}"
            )));
        }
        Ok(())
    }

    async fn list(&self, resource: &Resource, namespace: &str) -> Result<Vec<Partial>, SyncError> {
        let request = Request::new(resource.path(namespace)).list_metadata(&ListParams::default());
        match self.client.request::<List>(request.map_err(kube::Error::BuildRequest)?).await {
            // The resource went meanwhile, or is not served yet.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => Ok(Vec::new()),
            answer => Ok(answer?.items),
        }
    }

    /// Writes phase and conditions where they differ.
    async fn report(&self, mut namespace: Value, found: &Found) -> Result<Value, SyncError> {
        let current = namespace.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let conditions = plan::conditions(&current, found, self.clock.now());
        if conditions.is_none() && namespace["status"]["phase"] == "Terminating" {
            return Ok(namespace);
        }
        namespace["status"] = json!({"phase": "Terminating", "conditions": conditions.unwrap_or(current)});
        let name = namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.put(&name, "status", &namespace).await.map(|answer| answer.unwrap_or(namespace))
    }

    /// Takes this controller's finalizer away.
    async fn finalize(&self, mut namespace: Value) -> Result<(), SyncError> {
        if let Some(finalizers) = namespace.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|finalizer| finalizer != "kubernetes");
        }
        let name = namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.put(&name, "finalize", &namespace).await.map(|_| ())
    }

    /// Replaces a subresource; `None` when the namespace is gone.
    async fn put(&self, name: &str, subresource: &'static str, namespace: &Value) -> Result<Option<Value>, SyncError> {
        let body = serde_json::to_vec(namespace).map_err(kube::Error::SerdeError)?;
        let request = Request::new("/api/v1/namespaces");
        let request = request.replace_subresource(subresource, name, &Default::default(), body);
        match self.client.request(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if is_gone(&error) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    }
}
