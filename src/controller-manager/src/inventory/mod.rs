//! The metadata of all objects of all resources, for who works on objects whatever they are: the garbage collector, the
//! deletion of namespaces, quotas by count.
//!
//! Nothing is kept here but what is served: each change is handed on, decoded to the few fields that matter.

mod watch;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::{
    Client, Discovery,
    discovery::{Scope, verbs},
};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::sync::{Notify, watch as signal};
use tokio_util::sync::CancellationToken;

use crate::framework::Context;

/// The pause after a failed discovery.
const PAUSE: Duration = Duration::from_secs(1);

/// A resource that is served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Its group; empty for the core.
    pub group: String,
    /// The version to speak.
    pub version: String,
    /// The kind of its objects.
    pub kind: String,
    /// Its name in paths.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Resource {
    /// Whether it has a verb.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|one| one == verb)
    }

    /// Where its objects are, of one namespace or of all.
    pub fn path(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path + "/" + &self.plural
    }

    /// Group and version as objects say it.
    pub fn api_version(&self) -> String {
        apimachinery::kinds::api_version(&self.group, &self.version)
    }

    /// Events are neither owned nor missed.
    fn is_watched(&self) -> bool {
        self.plural != "events" && [verbs::LIST, verbs::WATCH, verbs::DELETE].iter().all(|verb| self.can(verb))
    }
}

/// What is kept of an object.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The namespace, or nothing.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// The version it was read at.
    pub resource_version: String,
    /// Since when it is being deleted.
    pub deletion_timestamp: Option<String>,
    /// What has to be done before it may go.
    pub finalizers: Vec<String>,
    /// Its owners.
    pub owner_references: Vec<Owner>,
}

/// A reference to an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Group and version of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether its deletion in the foreground waits for the object.
    pub block_owner_deletion: bool,
}

/// An object of any kind, as far as it is read here.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Partial {
    /// Its metadata.
    #[serde(default)]
    pub metadata: Meta,
}

/// What is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// An object is there, new or changed.
    Seen(Arc<Resource>, Meta),
    /// An object is gone.
    Gone(Arc<Resource>, Meta),
    /// These are all there are, by uid.
    Listed(Arc<Resource>, HashSet<String>),
}

type Handler = Arc<dyn Fn(&Told) + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Inventory(Arc<Shared>);

struct Shared {
    client: Client,
    handlers: RwLock<Vec<Handler>>,
    found: RwLock<Found>,
    /// By group and name: the watches that run.
    running: Mutex<HashMap<(String, String), CancellationToken>>,
    /// The kinds of which the first list has not come; `None` before the first discovery.
    pending: signal::Sender<Option<usize>>,
    rediscover: Notify,
}

/// What discovery said last.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// By group and kind.
    pub resources: Arc<BTreeMap<(String, String), Arc<Resource>>>,
    /// Why it said less than there is.
    pub error: Option<String>,
}

impl Inventory {
    /// Begins to look; `context`'s garbage collector may list and watch everything.
    pub fn start(context: &Context) -> Self {
        let inventory = Self(Arc::new(Shared {
            client: context.identity("generic-garbage-collector").0,
            handlers: RwLock::default(),
            found: RwLock::default(),
            running: Mutex::default(),
            pending: signal::channel(None).0,
            rediscover: Notify::new(),
        }));
        let (running, tasks) = (inventory.clone(), context.tasks.clone());
        context.tasks.spawn("inventory", async move {
            loop {
                let wait = running.0.rediscover.notified();
                match running.discover().await {
                    Ok(()) => {
                        running.follow(&tasks);
                        wait.await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "discovery failed; trying again");
                        running.0.found.write().error = Some(error.to_string());
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
        inventory
    }

    /// Calls `handler` with all that is told from now on; it must be quick.
    pub fn on_change(&self, handler: impl Fn(&Told) + Send + Sync + 'static) {
        self.0.handlers.write().push(Arc::new(handler));
    }

    /// What is served.
    pub fn found(&self) -> Found {
        self.0.found.read().clone()
    }

    /// The resource of a kind, whatever the version.
    pub fn of_kind(&self, group: &str, kind: &str) -> Option<Arc<Resource>> {
        self.0.found.read().resources.get(&(group.to_owned(), kind.to_owned())).cloned()
    }

    /// Waits until all kinds have been listed once.
    pub async fn synced(&self) {
        // The sender is in the same allocation.
        let _ = self.0.pending.subscribe().wait_for(|pending| *pending == Some(0)).await;
    }

    async fn discover(&self) -> kube::Result<()> {
        let discovery = Discovery::new(self.0.client.clone()).run_aggregated().await?;
        let mut resources = BTreeMap::new();
        for (resource, capabilities) in discovery.groups().flat_map(kube::discovery::ApiGroup::resources_by_stability) {
            let resource = Resource {
                group: resource.group,
                version: resource.version,
                kind: resource.kind,
                plural: resource.plural,
                namespaced: capabilities.scope == Scope::Namespaced,
                verbs: capabilities.operations,
            };
            resources.insert((resource.group.clone(), resource.kind.clone()), Arc::new(resource));
        }
        *self.0.found.write() = Found { resources: Arc::new(resources), error: None };
        Ok(())
    }

    /// A watch for each resource that has none, and none for what is not served any more.
    fn follow(&self, tasks: &component_base::Tasks) {
        let found = self.found();
        let watched: HashMap<_, _> = found
            .resources
            .values()
            .filter(|resource| resource.is_watched())
            .map(|resource| ((resource.group.clone(), resource.plural.clone()), resource))
            .collect();
        let mut running = self.0.running.lock();
        running.retain(|key, stop| {
            let stays = watched.contains_key(key);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let new: Vec<_> = watched.into_iter().filter(|(key, _)| !running.contains_key(key)).collect();
        self.0.pending.send_modify(|pending| *pending = Some(pending.unwrap_or_default() + new.len()));
        for (key, resource) in new {
            let stop = CancellationToken::new();
            running.insert(key, stop.clone());
            let (inventory, resource) = (self.clone(), resource.clone());
            tasks.spawn("inventory", async move {
                let mut first = true;
                let watched = watch::run(&inventory.0.client, &resource, |told| {
                    let listed = matches!(told, Told::Listed(..));
                    inventory.tell(&told);
                    if listed && std::mem::take(&mut first) {
                        inventory.one_less();
                    }
                });
                tokio::select! {
                    () = watched => {}
                    () = stop.cancelled() => {}
                }
                inventory.tell(&Told::Listed(resource, HashSet::new()));
                if first {
                    inventory.one_less();
                }
            });
        }
    }

    fn one_less(&self) {
        self.0.pending.send_modify(|pending| *pending = pending.map(|pending| pending.saturating_sub(1)));
    }

    fn tell(&self, told: &Told) {
        if let Told::Seen(resource, _) | Told::Gone(resource, _) = told
            && matches!(resource.plural.as_str(), "customresourcedefinitions" | "apiservices")
        {
            self.0.rediscover.notify_one();
        }
        let handlers = self.0.handlers.read().clone();
        handlers.iter().for_each(|handler| handler(told));
    }
}
