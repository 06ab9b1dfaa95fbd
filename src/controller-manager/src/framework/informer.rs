//! Shared caches: one watch a kind and process, each object decoded once, read by all controllers.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::Debug,
    sync::Arc,
};

use component_base::Tasks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use super::store::Change;
use super::{
    reflector,
    store::{CONTROLLER, Key, NAMESPACE, ORPHAN, Store},
    trim,
};

/// The informers of this process.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    tasks: Tasks,
    started: Arc<Mutex<HashMap<TypeId, Started>>>,
}

struct Started {
    informer: Box<dyn Any + Send + Sync>,
    synced: watch::Receiver<bool>,
}

impl Informers {
    /// None yet; `client` lists and watches.
    pub fn new(client: Client, tasks: Tasks) -> Self {
        Self { client, tasks, started: Arc::default() }
    }

    /// The informer of a kind; the first who asks starts its watch.
    pub fn of<K>(&self) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let mut started = self.started.lock();
        if let Some(started) = started.get(&TypeId::of::<K>()) {
            return started.informer.downcast_ref::<Informer<K>>().expect("kept under its own type").clone();
        }
        let informer = Informer::new();
        let source = reflector::Source::of::<K>();
        self.tasks.spawn("informer", reflector::run(self.client.clone(), source, informer.clone()));
        let kept = Started { informer: Box::new(informer.clone()), synced: informer.0.synced.subscribe() };
        started.insert(TypeId::of::<K>(), kept);
        informer
    }

    /// Waits until every informer that was asked for knows its objects.
    pub async fn synced(&self) {
        let waiting: Vec<_> = self.started.lock().values().map(|started| started.synced.clone()).collect();
        for mut synced in waiting {
            // The sender lives in the informer, which the map keeps.
            let _ = synced.wait_for(|synced| *synced).await;
        }
    }
}

type Handler<K> = Arc<dyn Fn(&Change<K>) + Send + Sync>;

struct Shared<K> {
    store: RwLock<Store<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

/// The cache of one kind, and who is told of its changes. Objects in it are trimmed (see `trim`): never write one back whole,
/// patch it.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Resource + Clone + Send + Sync + 'static> Informer<K> {
    /// An empty one that nobody fills yet; for [`Informers`], and for tests that fill it by hand.
    pub fn new() -> Self {
        let (store, handlers) = (RwLock::new(Store::new()), RwLock::default());
        Self(Arc::new(Shared { store, handlers, synced: watch::channel(false).0 }))
    }

    /// Calls `handler` with every change from now on, and with what is there as new. It must be quick: it puts keys into
    /// queues. Changes may reach it out of order, so it must only take them for a reason to look.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let handler: Handler<K> = Arc::new(handler);
        // Registered first: what changes meanwhile is told twice rather than never.
        self.0.handlers.write().push(handler.clone());
        for object in self.list() {
            handler(&Change { old: None, new: Some(object) });
        }
    }

    /// Adds an index by the values that `by` finds in an object, unless one of that name is there.
    pub fn add_index(&self, name: &'static str, by: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        self.0.store.write().add_index(name, Box::new(by));
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.store.read().get(key)
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.store.read().all()
    }

    /// The objects of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.by_index(NAMESPACE, namespace)
    }

    /// The objects whose controlling owner has this uid, by name.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.by_index(CONTROLLER, uid)
    }

    /// What an owner with this uid may claim: what it controls, and what nobody controls in its namespace.
    pub fn claimable(&self, namespace: &str, uid: &str) -> Vec<Arc<K>> {
        let store = self.0.store.read();
        let mut objects = store.by_index(CONTROLLER, uid);
        objects.extend(store.by_index(ORPHAN, namespace));
        objects
    }

    /// The objects that an index has under `value`, by namespace and name.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        self.0.store.read().by_index(index, value)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.store.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list has come.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Takes in the answer to an own create, update or patch, so that the next look sees it.
    pub fn written(&self, mut object: K) {
        trim::trim(&mut object);
        self.tell(|store| store.written(object));
    }

    /// Takes in that an own deletion was accepted: the object counts as terminating from here on.
    pub fn deleting(&self, key: &Key, uid: &str, now: Time) {
        self.tell(|store| store.deleting(key, uid, now));
    }

    pub(super) fn applied(&self, mut object: K) {
        trim::trim(&mut object);
        self.tell(|store| store.applied(object));
    }

    pub(super) fn deleted(&self, object: &K) {
        self.tell(|store| store.deleted(object));
    }

    pub(super) fn bookmark(&self, version: u64) {
        self.0.store.write().bookmark(version);
    }

    pub(super) fn replaced(&self, mut objects: Vec<K>, version: u64) {
        objects.iter_mut().for_each(trim::trim);
        self.tell(|store| store.replaced(objects, version));
        self.0.synced.send_replace(true);
    }

    fn tell<C: IntoIterator<Item = Change<K>>>(&self, change: impl FnOnce(&mut Store<K>) -> C) {
        let changes = change(&mut self.0.store.write());
        let handlers = self.0.handlers.read().clone();
        for change in changes {
            handlers.iter().for_each(|handler| handler(&change));
        }
    }
}

impl<K: Resource + Clone + Send + Sync + 'static> Default for Informer<K> {
    fn default() -> Self {
        Self::new()
    }
}
