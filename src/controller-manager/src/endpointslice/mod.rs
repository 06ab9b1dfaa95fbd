//! The EndpointSlice controller: keeps the slices of every Service that selects pods.

pub mod plan;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt;

use crate::{
    endpoints::{self, is_terminating, plan::is_managed, plan::selects},
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, is_conflict, is_gone,
        spawn_workers,
    },
};

const NAME: &str = "endpointslice-controller";
/// The index of slices by the namespace and name of their Service.
pub(crate) const BY_SERVICE: &str = "service";
const ZONE: &str = "topology.kubernetes.io/zone";

struct Controller {
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Objects<EndpointSlice>,
    recorder: Recorder,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (services, pods) = (context.informers.of::<Service>(), context.informers.of::<Pod>());
    let (nodes, slices) = (context.informers.of::<Node>(), context.informers.of::<EndpointSlice>());
    index_by_service(&slices);
    let queue = Queue::new(context.clock.clone());
    endpoints::wake_by_service(&services, &queue);
    endpoints::wake_by_pod(&pods, &services, &queue);
    wake_by_slice(&slices, plan::CONTROLLER, &queue);
    wake_by_node(&nodes, &services, &queue);
    let slices = Objects::new(client, slices, context.clock.clone());
    let controller = Arc::new(Controller { services, pods, nodes, slices, recorder });
    spawn_workers(context, NAME, 5, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

/// Lets slices be found by their Service.
pub(crate) fn index_by_service(slices: &Informer<EndpointSlice>) {
    slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
}

/// The Service of a slice.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    Some(Key::new(slice.namespace()?, slice.labels().get(plan::SERVICE_NAME)?.as_str()))
}

/// A change that somebody made to a slice of `manager` is a reason to look at its Service.
pub(crate) fn wake_by_slice(slices: &Informer<EndpointSlice>, manager: &'static str, queue: &Queue<Key>) {
    let queue = queue.clone();
    slices.on_change(move |Change { old, new }| {
        for slice in old.iter().chain(new) {
            if slice.labels().get(plan::MANAGED_BY).is_some_and(|by| by == manager)
                && let Some(key) = service_of(slice)
            {
                queue.add(key);
            }
        }
    });
}

fn zone_of(node: &Node) -> Option<String> {
    node.labels().get(ZONE).filter(|zone| !zone.is_empty()).cloned()
}

/// A node that is new, or in another zone, may be on every Service's slices.
fn wake_by_node(nodes: &Informer<Node>, services: &Informer<Service>, queue: &Queue<Key>) {
    let (services, queue) = (services.clone(), queue.clone());
    nodes.on_change(move |Change { old, new }| {
        let same = matches!((old, new), (Some(old), Some(new)) if zone_of(old) == zone_of(new));
        if !same {
            services.list().iter().for_each(|service| queue.add(Key::of(&**service)));
        }
    });
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        // The slices of a Service that is gone are the garbage collector's.
        let Some(service) = self.services.get(key).filter(|service| is_managed(service)) else {
            return Ok(Outcome::Done);
        };
        let pods = self.pods.in_namespace(&key.namespace);
        let pods: Vec<_> = pods.into_iter().filter(|pod| selects(&service, pod)).collect();
        let mine =
            |slice: &Arc<EndpointSlice>| slice.labels().get(plan::MANAGED_BY).is_some_and(|by| by == plan::CONTROLLER);
        let slices = self.slices.cache().by_index(BY_SERVICE, &key.to_string());
        let slices: Vec<_> = slices.into_iter().filter(mine).collect();
        let zone = |node: &str| self.nodes.get(&Key::new("", node)).map(|node| zone_of(&node));
        let plan = plan::plan(&service, &pods, &slices, zone);
        match apply(&self.slices, &key.namespace, &plan).await {
            Err(error) if !is_conflict(&error) => {
                let words = format!("Error updating Endpoint Slices for Service {key}: {error}");
                self.recorder.warning(&*service, "FailedToUpdateEndpointSlices", words);
                Err(error.into())
            }
            done => Ok(done.map(|()| Outcome::Done)?),
        }
    }
}

/// Carries a plan out.
pub(crate) async fn apply(slices: &Objects<EndpointSlice>, namespace: &str, plan: &plan::Plan) -> kube::Result<()> {
    for slice in &plan.create {
        match slices.create(namespace, slice).await {
            Err(error) if is_terminating(&error) || is_gone(&error) => return Ok(()),
            made => made?,
        };
    }
    for slice in &plan.update {
        slices.replace(slice).await?;
    }
    for slice in &plan.delete {
        slices.delete(slice).await?;
    }
    Ok(())
}
