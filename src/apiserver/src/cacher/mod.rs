//! The watch cache: every resource's objects as bytes, kept current by one watch of the store.
//!
//! ```text
//! store ── one range at start, then one watch of everything ──► dispatch ──► ResourceCache of each resource
//!                                                                            │ objects  (lists, gets)
//!                                                                            └ history  (watches)
//! ```
//!
//! A batch of the store holds all events of one revision, so all resources advance together, and `revision` says how far.
//! A reader that must see what was committed before it asked waits for that ([`Cacher::fresh`]).

mod entry;
mod fields;
mod reader;
mod resource;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use component_base::{SharedClock, Tasks};
use futures::StreamExt;
use storage::{EventKind, KeyRange, RangeRequest, SharedStore, StoreError, WatchRequest};
use tokio::sync::watch;

pub use self::{
    entry::Entry,
    fields::{is_selectable, unsupported},
    reader::CacheReader,
    resource::{Change, Cursor, ResourceCache, Scope, TooOld},
};
use crate::keys;

/// How long a reader waits for the cache to catch up with the store.
const CATCH_UP: Duration = Duration::from_secs(3);

/// The cache did not reach a revision in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// The revision that was waited for.
    pub wanted: u64,
    /// How far the cache is.
    pub current: u64,
}

/// Why the cache cannot be said to be fresh.
#[derive(Debug, thiserror::Error)]
pub enum NotFresh {
    /// It has not caught up.
    #[error("the watch cache is at {} of {}", .0.current, .0.wanted)]
    Behind(Behind),
    /// The store does not say what it should hold.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Behind> for NotFresh {
    fn from(behind: Behind) -> Self {
        Self::Behind(behind)
    }
}

/// The watch cache of all resources.
pub struct Cacher {
    store: SharedStore,
    clock: SharedClock,
    resources: ArcSwap<Caches>,
    revision: watch::Sender<u64>,
}

/// Caches by group and plural name.
type Caches = HashMap<String, HashMap<String, Arc<ResourceCache>>>;

/// Where definitions of custom resources lie: each brings a cache with it.
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

impl std::fmt::Debug for Cacher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cacher").field("revision", &*self.revision.borrow()).finish_non_exhaustive()
    }
}

impl Cacher {
    /// Loads `resources` (group and plural name of each) and keeps them current until `tasks` stop.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: SharedStore,
        clock: SharedClock,
        tasks: &Tasks,
        resources: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Arc<Self>, StoreError> {
        let mut groups = Caches::new();
        for (group, resource) in resources {
            let cache = Arc::new(ResourceCache::new(&group, &resource));
            groups.entry(group).or_default().insert(resource, cache);
        }
        let resources = ArcSwap::from_pointee(groups);
        let cacher = Arc::new(Self { store, clock, resources, revision: watch::Sender::new(0) });
        let revision = cacher.load().await?;
        let dispatcher = cacher.clone();
        tasks.spawn("watch cache", async move { dispatcher.dispatch(revision).await });
        Ok(cacher)
    }

    /// The cache of one resource.
    pub fn resource(&self, group: &str, resource: &str) -> Option<Arc<ResourceCache>> {
        self.resources.load().get(group)?.get(resource).cloned()
    }

    /// All caches.
    pub fn resources(&self) -> Vec<Arc<ResourceCache>> {
        self.resources.load().values().flat_map(HashMap::values).cloned().collect()
    }

    /// Makes the cache of the resource that a stored definition brings, once and for good; what happened to the resource
    /// before `revision` is not remembered.
    fn define(&self, definition: &[u8], revision: u64) {
        let Ok(definition) = serde_json::from_slice::<serde_json::Value>(definition) else { return };
        let text = |pointer: &str| definition.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
        let (Some(group), Some(plural)) = (text("/spec/group"), text("/spec/names/plural")) else { return };
        if self.resource(&group, &plural).is_some() {
            return;
        }
        let cache = Arc::new(ResourceCache::new(&group, &plural));
        cache.load(Vec::new(), revision);
        self.resources.rcu(|caches| {
            let mut caches = Caches::clone(caches);
            caches.entry(group.clone()).or_default().entry(plural.clone()).or_insert_with(|| cache.clone());
            caches
        });
    }

    /// The store behind it.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// How far the cache is.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Waits until the cache holds everything that was acknowledged before the call, by whichever server.
    ///
    /// # Errors
    /// When it does not come about, or nobody can say now what was acknowledged.
    pub async fn fresh(&self) -> Result<u64, NotFresh> {
        let committed = self.store.current_revision().await?;
        Ok(self.reach(committed).await?)
    }

    /// Waits until the cache holds everything up to `revision`.
    ///
    /// # Errors
    /// When it does not come about.
    pub async fn reach(&self, revision: u64) -> Result<u64, Behind> {
        let current = self.revision();
        if current >= revision {
            return Ok(current);
        }
        let mut progress = self.revision.subscribe();
        let reached = tokio::time::timeout(CATCH_UP, progress.wait_for(|current| *current >= revision)).await;
        match reached {
            Ok(Ok(current)) => Ok(*current),
            _ => Err(Behind { wanted: revision, current: self.revision() }),
        }
    }

    /// Told whenever the cache advances.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    async fn load(&self) -> Result<u64, StoreError> {
        let range = KeyRange::prefix(keys::ROOT);
        let answer = self.store.range(RangeRequest::new(range)).await?;
        let definitions = keys::prefix(DEFINITIONS.0, DEFINITIONS.1);
        for kv in answer.kvs.iter().filter(|kv| kv.key.starts_with(definitions.as_bytes())) {
            self.define(&kv.value, answer.revision);
        }
        let mut loaded: HashMap<(String, String), Vec<Entry>> = HashMap::new();
        for kv in &answer.kvs {
            let Some((cache, key)) = self.find(&kv.key) else { continue };
            if let Some(entry) = read(&cache, key, kv.value.clone(), kv.mod_revision) {
                loaded.entry((cache.group.clone(), cache.resource.clone())).or_default().push(entry);
            }
        }
        for cache in self.resources() {
            let entries = loaded.remove(&(cache.group.clone(), cache.resource.clone())).unwrap_or_default();
            cache.load(entries, answer.revision);
        }
        self.revision.send_replace(answer.revision);
        Ok(answer.revision)
    }

    /// Follows the store for ever; after a gap in its watch, compares and goes on.
    async fn dispatch(&self, mut revision: u64) {
        loop {
            if let Err(error) = self.follow(&mut revision).await {
                tracing::warn!(%error, revision, "the store's watch broke off; comparing with the store");
            }
            loop {
                match self.compare().await {
                    Ok(current) => {
                        revision = current;
                        break;
                    }
                    Err(error) => {
                        tracing::error!(%error, "the store cannot be read");
                        // Nobody waits on this path: the store itself is unavailable.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        }
    }

    async fn follow(&self, revision: &mut u64) -> Result<(), StoreError> {
        let mut batches =
            self.store.watch(WatchRequest { range: KeyRange::all(), start_revision: Some(*revision + 1) })?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            if batch.revision < *revision {
                continue;
            }
            let now = self.clock.now();
            for event in batch.events.iter() {
                let Some((cache, key)) = self.find(&event.kv.key) else { continue };
                match event.kind {
                    EventKind::Put => {
                        // Before the definition is seen: whoever sees it may write such a resource at once.
                        if (cache.group.as_str(), cache.resource.as_str()) == DEFINITIONS {
                            self.define(&event.kv.value, batch.revision);
                        }
                        if let Some(entry) = read(&cache, key, event.kv.value.clone(), event.kv.mod_revision) {
                            cache.put(entry, now);
                        }
                    }
                    EventKind::Delete => cache.delete(key, event.kv.mod_revision, now),
                }
            }
            *revision = batch.revision;
            self.revision.send_replace(batch.revision);
        }
        Ok(())
    }

    /// Brings the cache to the store's present state by events that a watcher can follow.
    async fn compare(&self) -> Result<u64, StoreError> {
        let range = KeyRange::prefix(keys::ROOT);
        let answer = self.store.range(RangeRequest::new(range)).await?;
        let now = self.clock.now();
        let mut there: HashMap<(String, String), HashMap<&str, u64>> = HashMap::new();
        let definitions = keys::prefix(DEFINITIONS.0, DEFINITIONS.1);
        for kv in answer.kvs.iter().filter(|kv| kv.key.starts_with(definitions.as_bytes())) {
            self.define(&kv.value, answer.revision);
        }
        let mut changed = Vec::new();
        for kv in &answer.kvs {
            let Some((cache, key)) = self.find(&kv.key) else { continue };
            there.entry((cache.group.clone(), cache.resource.clone())).or_default().insert(key, kv.mod_revision);
            if cache.get(key).is_none_or(|entry| entry.revision < kv.mod_revision)
                && let Some(entry) = read(&cache, key, kv.value.clone(), kv.mod_revision)
            {
                changed.push((cache, entry));
            }
        }
        changed.sort_by_key(|(_, entry)| entry.revision);
        for (cache, entry) in changed {
            cache.put(entry, now);
        }
        for cache in self.resources() {
            let present = there.remove(&(cache.group.clone(), cache.resource.clone())).unwrap_or_default();
            for (key, _) in cache.keys() {
                if !present.contains_key(key.as_str()) {
                    cache.delete(&key, answer.revision, now);
                }
            }
        }
        self.revision.send_replace(answer.revision);
        Ok(answer.revision)
    }

    fn find<'a>(&self, key: &'a [u8]) -> Option<(Arc<ResourceCache>, &'a str)> {
        let (group, resource, key) = keys::split(key)?;
        Some((self.resource(group, resource)?, key))
    }
}

fn read(cache: &ResourceCache, key: &str, value: Bytes, revision: u64) -> Option<Entry> {
    match Entry::read(&cache.group, &cache.resource, key.to_owned(), value, revision) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(resource = cache.resource, key, revision, %error, "a stored object cannot be read");
            None
        }
    }
}
