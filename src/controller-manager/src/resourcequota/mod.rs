//! The resource quota controller: counts anew what a namespace uses where the API server cannot, that is when something goes.
//!
//! Admission charges what is made, in the transaction that makes it. Here everything is read past the caches, the quota first:
//! a charge that comes between is a conflict, and the count begins again.

pub mod plan;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use component_base::SharedClock;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Service};
use kube::{Client, Resource, ResourceExt, api::ListParams, core::Request};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    framework::{Context, Key, Outcome, Queue, SyncError, is_gone, spawn_workers},
    inventory::{Inventory, Told},
    pods,
};

const NAME: &str = "resourcequota-controller";
const PAGE: u32 = 500;
/// Admission charges by the limits in the status. What was made while they were not yet there, or not yet seen, is counted soon after.
const SETTLED: Duration = Duration::from_secs(1);
/// All is counted again that often, as kube-controller-manager does.
const PERIOD: Duration = Duration::from_secs(300);

struct Controller {
    client: Client,
    inventory: Inventory,
    clock: SharedClock,
}

/// Starts it.
pub fn start(context: &Context, inventory: &Inventory) {
    let (client, _) = context.identity(NAME);
    let quotas = context.informers.of::<ResourceQuota>();
    let queue: Queue<Key> = Queue::new(context.clock.clone());
    let of_quota = queue.clone();
    quotas.on_change(move |change| {
        let hard = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        if let Some(new) = &change.new
            && change.old.as_ref().is_none_or(|old| hard(old) != hard(new))
        {
            of_quota.add(Key::of(&**new));
        }
    });
    let (all, queued) = (quotas.clone(), queue.clone());
    let look = move |namespace: &str, wanted: &dyn Fn(&str) -> bool| {
        for quota in all.in_namespace(namespace) {
            let limits = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten());
            if limits.into_iter().any(|(limit, _)| wanted(limit)) {
                queued.add(Key::of(&*quota));
            }
        }
    };
    let of_gone = look.clone();
    inventory.on_change(move |told| {
        if let Told::Gone(resource, meta) = told {
            let about = (resource.group.as_str(), resource.plural.as_str());
            of_gone(&meta.namespace, &|limit| plan::resource_of(limit) == Some(about));
        }
    });
    let of_pod = look.clone();
    context.informers.of::<Pod>().on_change(move |change| {
        // Its limits may have been changed, and one that has ended uses nothing any more.
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && (pods::is_finished(old) != pods::is_finished(new) || old.metadata.generation != new.metadata.generation)
        {
            let about = |limit: &str| plan::resource_of(limit) == Some(("", "pods"));
            of_pod(&new.namespace().unwrap_or_default(), &about);
        }
    });
    context.informers.of::<Service>().on_change(move |change| {
        let takes = |service: &Service| service.spec.as_ref().map(|spec| (spec.type_.clone(), spec.ports.clone()));
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && takes(old) != takes(new)
        {
            look(&new.namespace().unwrap_or_default(), &|limit| plan::resource_of(limit) == Some(("", "services")));
        }
    });
    let controller = Arc::new(Controller { client, inventory: inventory.clone(), clock: context.clock.clone() });
    spawn_workers(context, NAME, 2, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(default)]
    r#continue: String,
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let at = Request::new(ResourceQuota::url_path(&(), Some(&key.namespace)));
        // The controller's role lets it list, and not get.
        let named = kube::api::ListParams::default().fields(&format!("metadata.name={}", key.name));
        let listed: List = self.client.request(at.list(&named).map_err(kube::Error::BuildRequest)?).await?;
        let Some(mut quota) = listed.items.into_iter().next() else { return Ok(Outcome::Done) };
        let hard = quota.pointer("/spec/hard").and_then(Value::as_object);
        let limits: Vec<String> = hard.into_iter().flatten().map(|(limit, _)| limit.clone()).collect();
        let mut objects = BTreeMap::new();
        for (group, plural) in limits.iter().filter_map(|limit| plan::resource_of(limit)) {
            if let Entry::Vacant(unknown) = objects.entry((group.to_owned(), plural.to_owned())) {
                unknown.insert(self.list(group, plural, &key.namespace).await?);
            }
        }
        let Some(status) = plan::plan(&quota, &objects, self.clock.now()) else { return Ok(Outcome::After(PERIOD)) };
        let enforced = quota.pointer("/status/hard") == status.get("hard");
        quota["status"] = status;
        let body = serde_json::to_vec(&quota).map_err(kube::Error::SerdeError)?;
        let request = at.replace_subresource("status", &key.name, &Default::default(), body);
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(error) if !is_gone(&error) => Err(error.into()),
            _ => Ok(Outcome::After(if enforced { PERIOD } else { SETTLED })),
        }
    }

    /// All objects of a resource in a namespace: whole where more than their number counts.
    async fn list(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Value>, SyncError> {
        let found = self.inventory.found();
        let resource = found.resources.values().find(|resource| resource.group == group && resource.plural == plural);
        let Some(resource) = resource else { return Ok(Vec::new()) };
        let whole = group.is_empty() && matches!(plural, "pods" | "services" | "persistentvolumeclaims");
        let request = Request::new(resource.path(namespace));
        let mut params = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = if whole { request.list(&params) } else { request.list_metadata(&params) };
            let page: List = self.client.request(page.map_err(kube::Error::BuildRequest)?).await?;
            objects.extend(page.items);
            if page.metadata.r#continue.is_empty() {
                return Ok(objects);
            }
            params = params.continue_token(&page.metadata.r#continue);
        }
    }
}
