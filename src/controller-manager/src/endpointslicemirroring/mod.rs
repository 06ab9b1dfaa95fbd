//! The mirroring controller: shows Endpoints that were made by hand as slices, since slices are what proxies read.

pub mod plan;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;

use crate::{
    endpoints,
    endpointslice::{self, BY_SERVICE, plan::MANAGED_BY},
    framework::{Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, spawn_workers},
};

const NAME: &str = "endpointslicemirroring-controller";

struct Controller {
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Objects<EndpointSlice>,
    recorder: Recorder,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (services, endpoints) = (context.informers.of::<Service>(), context.informers.of::<Endpoints>());
    let slices = context.informers.of::<EndpointSlice>();
    endpointslice::index_by_service(&slices);
    let queue = Queue::new(context.clock.clone());
    endpoints::wake_by_service(&services, &queue);
    let of_endpoints = queue.clone();
    endpoints.on_change(move |change| of_endpoints.add(Key::of(&**change.object())));
    endpointslice::wake_by_slice(&slices, plan::CONTROLLER, &queue);
    let slices = Objects::new(client, slices, context.clock.clone());
    let controller = Arc::new(Controller { services, endpoints, slices, recorder });
    spawn_workers(context, NAME, 2, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let (service, endpoints) = (self.services.get(key), self.endpoints.get(key));
        let mine = |slice: &Arc<EndpointSlice>| slice.labels().get(MANAGED_BY).is_some_and(|by| by == plan::CONTROLLER);
        let slices: Vec<_> = self.slices.cache().by_index(BY_SERVICE, &key.to_string());
        let slices: Vec<_> = slices.into_iter().filter(mine).collect();
        let mirrored = plan::plan(service.as_deref(), endpoints.as_deref(), &slices);
        if mirrored.plan.is_empty() {
            return Ok(Outcome::Done);
        }
        if let Some(endpoints) = endpoints {
            if mirrored.invalid > 0 {
                let words =
                    format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", mirrored.invalid);
                self.recorder.warning(&*endpoints, "InvalidIPAddress", words);
            }
            if mirrored.skipped > 0 {
                let words = format!(
                    "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                    plan::MAX_ADDRESSES,
                    mirrored.skipped
                );
                self.recorder.warning(&*endpoints, "TooManyAddressesToMirror", words);
            }
        }
        endpointslice::apply(&self.slices, &key.namespace, &mirrored.plan).await?;
        Ok(Outcome::Done)
    }
}
