//! The Services of the cluster, for the environment variables that name them.

use std::{collections::HashMap, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::watching::Patience;

type Key = (String, String);

/// The Services as last seen.
#[derive(Clone)]
pub struct Services {
    known: Arc<RwLock<HashMap<Key, Arc<Service>>>>,
    synced: watch::Sender<bool>,
}

impl Default for Services {
    fn default() -> Self {
        Self { known: Arc::default(), synced: watch::Sender::new(false) }
    }
}

impl Services {
    /// The Services of `namespace` and the API server's own, once all are known.
    pub async fn seen_from(&self, namespace: &str) -> Vec<Arc<Service>> {
        // The sender is in `self`: it cannot be gone.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
        let own = |key: &Key| key.0 == namespace || (key.0 == "default" && key.1 == "kubernetes");
        self.known.read().iter().filter(|(key, _)| own(key)).map(|(_, service)| service.clone()).collect()
    }

    /// Keeps them up to date until it is dropped.
    pub async fn follow(self, client: Client) {
        let api: Api<Service> = Api::all(client);
        let mut events = watcher(api, watcher::Config::default()).backoff(Patience::default()).boxed();
        let mut listing = HashMap::new();
        let key = |service: &Service| (service.namespace().unwrap_or_default(), service.name_any());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listing = HashMap::new(),
                Ok(watcher::Event::InitApply(service)) => {
                    listing.insert(key(&service), Arc::new(service));
                }
                Ok(watcher::Event::InitDone) => {
                    *self.known.write() = std::mem::take(&mut listing);
                    self.synced.send_replace(true);
                }
                Ok(watcher::Event::Apply(service)) => {
                    self.known.write().insert(key(&service), Arc::new(service));
                }
                Ok(watcher::Event::Delete(service)) => {
                    self.known.write().remove(&key(&service));
                }
                Err(error) => tracing::debug!(%error, "services cannot be watched"),
            }
        }
    }
}
