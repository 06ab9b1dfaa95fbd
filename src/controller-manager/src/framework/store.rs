//! The objects of one kind as last heard of, and their indexes. Pure: what is told goes in, what changed comes out.
//!
//! Two sources tell: the watch, in the order of resource versions, and the answers to this process's own writes, which
//! may come sooner. An answer counts only when the watch has not passed it yet: otherwise the watch has told the same, or
//! of something later such as its deletion.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::refs::controller_of;

/// Namespace and name of an object; the namespace of a cluster-scoped one is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace, or nothing.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of what is called so.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// What changed of one object: `old` is missing when it is new, `new` when it is gone.
#[derive(Debug, Clone)]
pub struct Change<K> {
    /// As it was.
    pub old: Option<Arc<K>>,
    /// As it is.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The object as it is, or as it last was.
    pub fn object(&self) -> &Arc<K> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has a before or an after")
    }
}

/// The values under which an index finds an object.
pub(super) type IndexBy<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    by: IndexBy<K>,
    entries: HashMap<String, BTreeMap<Key, Arc<K>>>,
}

impl<K> Index<K> {
    fn add(&mut self, key: &Key, object: &Arc<K>) {
        for value in (self.by)(object) {
            self.entries.entry(value).or_default().insert(key.clone(), object.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.by)(object) {
            if let Some(objects) = self.entries.get_mut(&value) {
                objects.remove(key);
                if objects.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

/// See the module.
pub(super) struct Store<K> {
    objects: HashMap<Key, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
    /// How far the watch has told.
    seen: u64,
    /// What this process has had deleted, by uid, and when, until the watch says so.
    deleting: HashMap<String, Time>,
}

/// The index of namespaces.
pub(super) const NAMESPACE: &str = "namespace";
/// The index of the uids of controlling owners.
pub(super) const CONTROLLER: &str = "controller";
/// The index of the namespaces of objects that nobody controls.
pub(super) const ORPHAN: &str = "orphan";

impl<K: Resource + Clone> Store<K> {
    pub(super) fn new() -> Self {
        let mut store = Self { objects: HashMap::new(), indexes: HashMap::new(), seen: 0, deleting: HashMap::new() };
        store.add_index(NAMESPACE, Box::new(|object| object.meta().namespace.iter().cloned().collect()));
        let controller = |object: &K| controller_of(object).map(|owner| owner.uid.clone()).into_iter().collect();
        store.add_index(CONTROLLER, Box::new(controller));
        let orphan = |object: &K| match controller_of(object) {
            Some(_) => Vec::new(),
            None => object.meta().namespace.iter().cloned().collect(),
        };
        store.add_index(ORPHAN, Box::new(orphan));
        store
    }

    /// Adds an index, unless one of that name is there.
    pub(super) fn add_index(&mut self, name: &'static str, by: IndexBy<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { by, entries: HashMap::new() };
        self.objects.iter().for_each(|(key, object)| index.add(key, object));
        self.indexes.insert(name, index);
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    /// By name order of their keys.
    pub(super) fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let entries = self.indexes.get(index).and_then(|index| index.entries.get(value));
        entries.map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The watch tells that an object is there.
    pub(super) fn applied(&mut self, object: K) -> Option<Change<K>> {
        self.seen = self.seen.max(version(&object));
        self.put(object)
    }

    /// The watch tells that an object is gone.
    pub(super) fn deleted(&mut self, object: &K) -> Option<Change<K>> {
        self.seen = self.seen.max(version(object));
        object.meta().uid.as_ref().map(|uid| self.deleting.remove(uid));
        let key = Key::of(object);
        // A later object of the same name that this process has made already stays.
        let there = self.objects.get(&key)?;
        if version(&**there) > version(object) {
            return None;
        }
        self.take(&key)
    }

    /// The watch tells how far it is.
    pub(super) fn bookmark(&mut self, version: u64) {
        self.seen = self.seen.max(version);
    }

    /// A list tells all that was there at `version`.
    pub(super) fn replaced(&mut self, objects: Vec<K>, version_of_list: u64) -> Vec<Change<K>> {
        self.seen = self.seen.max(version_of_list);
        let listed: std::collections::HashSet<Key> = objects.iter().map(Key::of).collect();
        let gone: Vec<Key> = self
            .objects
            .iter()
            .filter(|(key, object)| !listed.contains(key) && version(&***object) <= version_of_list)
            .map(|(key, _)| key.clone())
            .collect();
        let mut changes: Vec<_> = gone.iter().filter_map(|key| self.take(key)).collect();
        changes.extend(objects.into_iter().filter_map(|object| self.put(object)));
        let alive: std::collections::HashSet<&str> =
            self.objects.values().filter_map(|object| object.meta().uid.as_deref()).collect();
        self.deleting.retain(|uid, _| alive.contains(uid.as_str()));
        changes
    }

    /// The answer to an own write.
    pub(super) fn written(&mut self, object: K) -> Option<Change<K>> {
        if version(&object) <= self.seen { None } else { self.put(object) }
    }

    /// The answer to an own deletion at `now`: it counts as terminating from here on.
    pub(super) fn deleting(&mut self, key: &Key, uid: &str, now: Time) -> Option<Change<K>> {
        let there = self.objects.get(key).filter(|object| object.meta().uid.as_deref() == Some(uid))?;
        if there.meta().deletion_timestamp.is_some() {
            return None;
        }
        self.deleting.insert(uid.to_owned(), now);
        let mut object = K::clone(there);
        self.mark(&mut object);
        self.exchange(key.clone(), object)
    }

    /// Gives an object the time at which this process has had it deleted, which the watch has not told yet.
    fn mark(&mut self, object: &mut K) {
        let meta = object.meta_mut();
        let Some(uid) = &meta.uid else { return };
        if meta.deletion_timestamp.is_some() {
            self.deleting.remove(uid);
        } else if let Some(time) = self.deleting.get(uid) {
            meta.deletion_timestamp = Some(time.clone());
        }
    }

    fn put(&mut self, mut object: K) -> Option<Change<K>> {
        let key = Key::of(&object);
        let known = self.objects.get(&key).map(|known| version(&**known));
        if known.is_some_and(|known| known >= version(&object)) {
            return None;
        }
        self.mark(&mut object);
        self.exchange(key, object)
    }

    fn exchange(&mut self, key: Key, object: K) -> Option<Change<K>> {
        let object = Arc::new(object);
        let old = self.objects.insert(key.clone(), object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.add(&key, &object);
        }
        Some(Change { old, new: Some(object) })
    }

    fn take(&mut self, key: &Key) -> Option<Change<K>> {
        let old = self.objects.remove(key)?;
        self.indexes.values_mut().for_each(|index| index.remove(key, &old));
        Some(Change { old: Some(old), new: None })
    }
}

/// The store's revision at which an object was written; 0 when it says none.
pub(super) fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
