//! The Endpoints controller: keeps the Endpoints of every Service that selects pods.

pub mod plan;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::ResourceExt;

use self::plan::Action;
use crate::framework::{
    Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, is_gone, spawn_workers,
};

const NAME: &str = "endpoint-controller";

struct Controller {
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Objects<Endpoints>,
    recorder: Recorder,
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (services, pods, endpoints) =
        (context.informers.of::<Service>(), context.informers.of::<Pod>(), context.informers.of::<Endpoints>());
    let queue = Queue::new(context.clock.clone());
    wake_by_service(&services, &queue);
    wake_by_pod(&pods, &services, &queue);
    let of_service = queue.clone();
    endpoints.on_change(move |change| {
        if change.new.is_none() {
            of_service.add(Key::of(&**change.object()));
        }
    });
    // What belonged to a Service that went while nobody looked.
    let (leftovers, informers, all) = (queue.clone(), context.informers.clone(), endpoints.clone());
    context.tasks.spawn(NAME, async move {
        informers.synced().await;
        let elections = |endpoints: &Endpoints| endpoints.annotations().contains_key(plan::LEADER);
        all.list().iter().filter(|endpoints| !elections(endpoints)).for_each(|one| leftovers.add(Key::of(&**one)));
    });
    let endpoints = Objects::new(client, endpoints, context.clock.clone());
    let controller = std::sync::Arc::new(Controller { services, pods, endpoints, recorder });
    spawn_workers(context, NAME, 5, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

/// Every change of a Service is a reason to look.
pub(crate) fn wake_by_service(services: &Informer<Service>, queue: &Queue<Key>) {
    let queue = queue.clone();
    services.on_change(move |change| queue.add(Key::of(&**change.object())));
}

/// A change of a pod that an endpoint shows is a reason to look at the Services that select it, or did.
pub(crate) fn wake_by_pod(pods: &Informer<Pod>, services: &Informer<Service>, queue: &Queue<Key>) {
    let (services, queue) = (services.clone(), queue.clone());
    pods.on_change(move |Change { old, new }| {
        if let (Some(old), Some(new)) = (old, new)
            && plan::looks_the_same(old, new)
        {
            return;
        }
        let Some(namespace) = old.as_ref().or(new.as_ref()).and_then(|pod| pod.namespace()) else { return };
        for service in services.in_namespace(&namespace) {
            if old.iter().chain(new).any(|pod| plan::selects(&service, pod)) {
                queue.add(Key::of(&*service));
            }
        }
    });
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let current = self.endpoints.cache().get(key);
        let Some(service) = self.services.get(key) else {
            // Endpoints go with their Service, whoever made them.
            if let Some(current) = current {
                self.endpoints.delete(&*current).await?;
            }
            return Ok(Outcome::Done);
        };
        if !plan::is_managed(&service) {
            return Ok(Outcome::Done);
        }
        let pods = self.pods.in_namespace(&key.namespace);
        let selected = pods.iter().map(|pod| &**pod).filter(|pod| plan::selects(&service, pod));
        let action = plan::plan(&service, selected, current.as_deref());
        let (done, reason, words) = match &action {
            None => return Ok(Outcome::Done),
            Some(Action::Create(endpoints)) => {
                let made = self.endpoints.create(&key.namespace, endpoints).await;
                (made, "FailedToCreateEndpoint", format!("Failed to create endpoint for service {key}"))
            }
            Some(Action::Update(endpoints)) => {
                let made = self.endpoints.replace(endpoints).await;
                (made, "FailedToUpdateEndpoint", format!("Failed to update endpoint {key}"))
            }
        };
        match done {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if is_gone(&error) || is_terminating(&error) => Ok(Outcome::Done),
            Err(error) => {
                if let Some(Action::Create(endpoints) | Action::Update(endpoints)) = &action {
                    self.recorder.warning(endpoints, reason, format!("{words}: {error}"));
                }
                Err(error.into())
            }
        }
    }
}

/// Whether the API server takes no new objects because the namespace is going.
pub(crate) fn is_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("because it is being terminated"))
}
