//! ConfigMaps and Secrets, each watched by its name as long as a pod of this node refers to it.
//!
//! A kubelet may read only what its pods refer to, so there is no informer of all: each object has a watch of its own,
//! shared by the pods that name it, and ended with the last of them. Pods are woken when an object changes.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Weak},
};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{pod::objects::Lookup, watching::Patience};

/// What is called when an object changed.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The watched objects of one kind.
pub struct Sources<K> {
    client: Client,
    entries: Arc<Mutex<HashMap<Key, Weak<Entry<K>>>>>,
}

type Key = (String, String);

struct Entry<K> {
    state: watch::Sender<Option<Lookup<K>>>,
    wakes: Mutex<HashMap<usize, Wake>>,
    /// Ends with the entry.
    watching: Mutex<Option<tokio::task::AbortHandle>>,
}

impl<K> Drop for Entry<K> {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.get_mut().take() {
            watching.abort();
        }
    }
}

/// A pod's interest in one object. Dropping it ends the interest.
pub struct Reference<K> {
    entry: Arc<Entry<K>>,
    id: usize,
}

impl<K> Drop for Reference<K> {
    fn drop(&mut self) {
        self.entry.wakes.lock().remove(&self.id);
    }
}

impl<K> Reference<K> {
    /// The object, once the API server has said whether there is one.
    pub async fn get(&self) -> Lookup<K> {
        let mut state = self.entry.state.subscribe();
        match state.wait_for(Option::is_some).await {
            Ok(known) => known.clone().unwrap_or(Lookup::Absent),
            // The sender is in the entry, which `self` holds.
            Err(_closed) => Lookup::Failed("the watch ended".to_owned()),
        }
    }
}

impl<K> Clone for Sources<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), entries: self.entries.clone() }
    }
}

impl<K> Sources<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// No object is watched yet.
    pub fn new(client: Client) -> Self {
        Self { client, entries: Arc::default() }
    }

    /// Watches an object from now on, and calls `wake` whenever it changes.
    pub fn refer(&self, namespace: &str, name: &str, wake: Wake) -> Reference<K> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut entries = self.entries.lock();
        let entry = match entries.get(&key).and_then(Weak::upgrade) {
            Some(entry) => entry,
            None => {
                if entries.len() > 64 && entries.len().is_power_of_two() {
                    entries.retain(|_, entry| entry.strong_count() > 0);
                }
                let entry = Arc::new(Entry {
                    state: watch::Sender::new(None),
                    wakes: Mutex::default(),
                    watching: Mutex::default(),
                });
                let api = Api::namespaced(self.client.clone(), namespace);
                let task = tokio::spawn(follow(api, name.to_owned(), Arc::downgrade(&entry)));
                *entry.watching.lock() = Some(task.abort_handle());
                entries.insert(key, Arc::downgrade(&entry));
                entry
            }
        };
        drop(entries);
        // The address of its own allocation tells a wake from the others.
        let id = Arc::as_ptr(&wake).cast::<()>() as usize;
        entry.wakes.lock().insert(id, wake);
        Reference { entry, id }
    }
}

async fn follow<K>(api: Api<K>, name: String, entry: Weak<Entry<K>>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(api, config).backoff(Patience::default()).boxed();
    let mut seen = false;
    while let Some(event) = events.next().await {
        let state = match event {
            Ok(watcher::Event::Init) => {
                seen = false;
                continue;
            }
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                seen = true;
                Lookup::Found(Arc::new(object))
            }
            Ok(watcher::Event::InitDone) if seen => continue,
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => Lookup::Absent,
            Err(error) => {
                let Some(entry) = entry.upgrade() else { return };
                tracing::debug!(%error, name, "an object cannot be watched");
                // What was seen once stays good; what was never seen is told as it is.
                if matches!(*entry.state.borrow(), Some(Lookup::Found(_) | Lookup::Absent)) {
                    continue;
                }
                Lookup::Failed(error.to_string())
            }
        };
        let Some(entry) = entry.upgrade() else { return };
        let changed = entry.state.send_if_modified(move |known| {
            let same = match (&known, &state) {
                (Some(Lookup::Found(old)), Lookup::Found(new)) => {
                    old.meta().resource_version.is_some() && old.meta().resource_version == new.meta().resource_version
                }
                (Some(Lookup::Absent), Lookup::Absent) => true,
                (Some(Lookup::Failed(old)), Lookup::Failed(new)) => old == new,
                _ => false,
            };
            *known = Some(state);
            !same
        });
        if changed {
            let wakes: Vec<Wake> = entry.wakes.lock().values().cloned().collect();
            for wake in wakes {
                wake();
            }
        }
    }
}
