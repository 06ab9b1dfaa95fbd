//! The scheduler: finds a node for each pod that has none.
//!
//! [`queue`] says whose turn it is, [`framework`] decides as a pure function of the [`cache`], `binding` tells the API
//! server. The loop below only brings them together: every event of a pod or node is taken in before the next turn,
//! and a decision counts in the cache at once, before the API server has confirmed it.

mod binding;
pub mod cache;
pub mod framework;
mod labels;
pub mod plugins;
pub mod pod;
mod preemption;
pub mod queue;
mod resources;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use component_base::Tasks;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    policy::v1::PodDisruptionBudget,
    resource::v1::ResourceClaim,
    storage::v1::{CSINode, StorageClass},
};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::sync::mpsc;

use crate::{
    binding::{Binder, Outcome},
    cache::Cache,
    framework::Decision,
    plugins::dynamic_resources,
    pod::PodInfo,
    queue::Queue,
};

/// How long a pod's volumes may take to be bound before another node is tried.
const VOLUMES_BOUND_WITHIN: Duration = Duration::from_secs(600);
/// The pods that this scheduler is for.
const SCHEDULER_NAME: &str = "default-scheduler";

/// What the scheduler needs to know.
#[derive(Clone)]
pub struct Config {
    /// How it sees and changes the cluster, as `system:kube-scheduler`.
    pub client: Client,
}

/// Runs the scheduler until `tasks` stops.
pub async fn run(config: Config, tasks: &Tasks) {
    tasks.spawn("scheduler", async move { Scheduler::new(config.client).run().await });
}

/// What the loop is told.
#[expect(clippy::large_enum_variant, reason = "one at a time, and most are pods")]
enum Told {
    Pod(Event<Pod>),
    Node(Event<Node>),
    Namespace(Event<Namespace>),
    Claim(Event<PersistentVolumeClaim>),
    Volume(Event<PersistentVolume>),
    Class(Event<StorageClass>),
    CsiNode(Event<CSINode>),
    Budget(Event<PodDisruptionBudget>),
    DeviceClaim(Event<ResourceClaim>),
    Failed(watcher::Error),
}

struct Scheduler {
    client: Client,
    binder: Binder,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    cache: Cache,
    queue: Queue,
    turn: usize,
    // Names that a relist has not mentioned when it is done are gone.
    unseen_pods: HashSet<String>,
    unseen_nodes: HashSet<String>,
    known_pods: HashSet<String>,
    /// Pods whose node is decided and whose volumes are being bound, by uid; until when they may be.
    waiting: HashMap<String, (Arc<PodInfo>, String, Instant)>,
    /// Pods that wait for their claims of devices to be made, by uid.
    held: HashMap<String, Arc<PodInfo>>,
}

impl Scheduler {
    fn new(client: Client) -> Self {
        let (sender, outcomes) = mpsc::unbounded_channel();
        Self {
            binder: Binder::new(client.clone(), sender),
            client,
            outcomes,
            cache: Cache::default(),
            queue: Queue::default(),
            turn: 0,
            unseen_pods: HashSet::new(),
            unseen_nodes: HashSet::new(),
            known_pods: HashSet::new(),
            waiting: HashMap::new(),
            held: HashMap::new(),
        }
    }

    async fn run(mut self) {
        fn told<K>(kind: fn(Event<K>) -> Told) -> impl Fn(Result<Event<K>, watcher::Error>) -> Told {
            move |event| event.map_or_else(Told::Failed, kind)
        }
        let everything = watcher::Config::default;
        let pods = watcher::watcher(Api::<Pod>::all(self.client.clone()), everything()).default_backoff();
        let nodes = watcher::watcher(Api::<Node>::all(self.client.clone()), everything()).default_backoff();
        let namespaces = watcher::watcher(Api::<Namespace>::all(self.client.clone()), everything()).default_backoff();
        let claims =
            watcher::watcher(Api::<PersistentVolumeClaim>::all(self.client.clone()), everything()).default_backoff();
        let volumes =
            watcher::watcher(Api::<PersistentVolume>::all(self.client.clone()), everything()).default_backoff();
        let classes = watcher::watcher(Api::<StorageClass>::all(self.client.clone()), everything()).default_backoff();
        let csi_nodes = watcher::watcher(Api::<CSINode>::all(self.client.clone()), everything()).default_backoff();
        let budgets =
            watcher::watcher(Api::<PodDisruptionBudget>::all(self.client.clone()), everything()).default_backoff();
        let devices = watcher::watcher(Api::<ResourceClaim>::all(self.client.clone()), everything()).default_backoff();
        let mut events = stream::select_all([
            pods.map(told(Told::Pod)).boxed(),
            nodes.map(told(Told::Node)).boxed(),
            namespaces.map(told(Told::Namespace)).boxed(),
            claims.map(told(Told::Claim)).boxed(),
            volumes.map(told(Told::Volume)).boxed(),
            classes.map(told(Told::Class)).boxed(),
            csi_nodes.map(told(Told::CsiNode)).boxed(),
            budgets.map(told(Told::Budget)).boxed(),
            devices.map(told(Told::DeviceClaim)).boxed(),
        ]);
        loop {
            // All that is known already counts before anyone's turn.
            while let Some(Some(event)) = events.next().now_or_never() {
                self.take_in(event);
            }
            while let Ok(outcome) = self.outcomes.try_recv() {
                self.settle(&outcome);
            }
            if let Some(pod) = self.queue.pop(Instant::now()) {
                self.schedule(&pod);
                tokio::task::yield_now().await;
                continue;
            }
            self.give_up_waiting(Instant::now());
            let wake = self.queue.next_wake().into_iter().chain(self.waiting.values().map(|(.., until)| *until)).min();
            tokio::select! {
                Some(event) = events.next() => self.take_in(event),
                Some(outcome) = self.outcomes.recv() => self.settle(&outcome),
                () = until(wake) => {}
            }
        }
    }

    fn schedule(&mut self, pod: &Arc<PodInfo>) {
        self.turn = self.turn.wrapping_add(1);
        match framework::decide(pod, &self.cache, self.turn) {
            Decision::Node { node, volumes } => {
                self.cache.place(&node, pod.clone());
                if volumes.is_empty() {
                    self.binder.bind(pod.clone(), node);
                } else {
                    self.binder.prepare_volumes(pod.clone(), node.clone(), &volumes, &self.cache.volumes);
                    self.waiting.insert(pod.uid.clone(), (pod.clone(), node, Instant::now() + VOLUMES_BOUND_WITHIN));
                }
            }
            Decision::Nowhere(message) => {
                self.queue.failed(&pod.uid, false, Instant::now());
                self.binder.report_unschedulable(pod.clone(), message, None);
            }
            Decision::Preempt { node, victims, message } => {
                self.queue.failed(&pod.uid, false, Instant::now());
                let leaving = self.cache.node(&node).into_iter().flat_map(|node| node.pods.values());
                let leaving: Vec<_> = leaving.filter(|other| victims.contains(&other.uid)).cloned().collect();
                self.binder.preempt(pod.clone(), leaving);
                self.binder.report_unschedulable(pod.clone(), message, Some(node));
            }
        }
    }

    /// What the API server made of a binding.
    fn settle(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Bound { uid } => self.queue.remove(uid),
            Outcome::Failed { uid } => {
                self.waiting.remove(uid);
                self.cache.forget(uid);
                self.queue.failed(uid, true, Instant::now());
            }
        }
    }

    fn take_in(&mut self, told: Told) {
        match told {
            Told::Pod(event) => self.take_in_pod(event),
            Told::Node(event) => self.take_in_node(event),
            Told::Namespace(Event::Apply(namespace) | Event::InitApply(namespace)) => {
                self.cache.set_namespace(&namespace);
            }
            Told::Namespace(Event::Delete(namespace)) => self.cache.remove_namespace(&namespace.name_any()),
            Told::Namespace(Event::Init | Event::InitDone) => {}
            Told::Claim(event) => {
                let key = |claim: &PersistentVolumeClaim| (claim.namespace().unwrap_or_default(), claim.name_any());
                take(&mut self.cache.volumes.claims, event, key);
                self.bind_waiting();
                self.queue.something_changed(Instant::now());
            }
            Told::Volume(event) => {
                match event {
                    Event::Init => self.cache.volumes.volumes.clear(),
                    Event::InitApply(volume) | Event::Apply(volume) => {
                        self.cache.volumes.volumes.insert(volume.name_any(), volume);
                    }
                    Event::Delete(volume) => drop(self.cache.volumes.volumes.remove(&volume.name_any())),
                    Event::InitDone => {}
                }
                self.queue.something_changed(Instant::now());
            }
            Told::Class(event) => {
                take(&mut self.cache.volumes.classes, event, ResourceExt::name_any);
                self.queue.something_changed(Instant::now());
            }
            Told::CsiNode(event) => {
                take(&mut self.cache.volumes.csi_nodes, event, ResourceExt::name_any);
                self.queue.something_changed(Instant::now());
            }
            Told::Budget(event) => {
                let key = |budget: &PodDisruptionBudget| (budget.namespace().unwrap_or_default(), budget.name_any());
                take(&mut self.cache.budgets, event, key);
            }
            Told::DeviceClaim(event) => {
                let key = |claim: &ResourceClaim| (claim.namespace().unwrap_or_default(), claim.name_any());
                take(&mut self.cache.claims, event, key);
                let claims = &self.cache.claims;
                let ready = self.held.extract_if(|_, pod| dynamic_resources::are_there(pod, claims));
                for (_, pod) in ready.collect::<Vec<_>>() {
                    self.queue.put(pod, Instant::now());
                }
                self.queue.something_changed(Instant::now());
            }
            Told::Failed(error) => tracing::warn!(%error, "watch failed; it is resumed"),
        }
    }

    /// Binds the pods whose volumes are bound by now.
    fn bind_waiting(&mut self) {
        let volumes = &self.cache.volumes;
        let ready: Vec<String> =
            self.waiting.iter().filter(|(_, (pod, ..))| volumes.all_bound(pod)).map(|(uid, _)| uid.clone()).collect();
        for uid in ready {
            if let Some((pod, node, _)) = self.waiting.remove(&uid) {
                self.binder.bind(pod, node);
            }
        }
    }

    /// Tries those anew whose volumes took too long.
    fn give_up_waiting(&mut self, now: Instant) {
        let late: Vec<String> =
            self.waiting.iter().filter(|(_, (.., until))| *until <= now).map(|(uid, _)| uid.clone()).collect();
        for uid in late {
            self.waiting.remove(&uid);
            self.cache.forget(&uid);
            self.queue.failed(&uid, true, now);
        }
    }

    fn take_in_pod(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.unseen_pods.clone_from(&self.known_pods),
            Event::InitApply(pod) | Event::Apply(pod) => self.set_pod(PodInfo::new(Arc::new(pod))),
            Event::Delete(pod) => self.drop_pod(&pod.uid().unwrap_or_default()),
            Event::InitDone => std::mem::take(&mut self.unseen_pods).iter().for_each(|uid| self.drop_pod(uid)),
        }
    }

    fn set_pod(&mut self, pod: PodInfo) {
        self.unseen_pods.remove(&pod.uid);
        if pod.ended() {
            self.drop_pod(&pod.uid);
            return;
        }
        self.known_pods.insert(pod.uid.clone());
        self.held.remove(&pod.uid);
        let pod = Arc::new(pod);
        match pod.node_name() {
            Some(node) => {
                self.queue.remove(&pod.uid);
                let node = node.to_owned();
                self.cache.place(&node, pod);
            }
            None if pod.terminating() => self.queue.remove(&pod.uid),
            None if is_ours(&pod) && !dynamic_resources::are_there(&pod, &self.cache.claims) => {
                self.held.insert(pod.uid.clone(), pod);
            }
            None if is_ours(&pod) => self.queue.put(pod, Instant::now()),
            None => {}
        }
    }

    fn drop_pod(&mut self, uid: &str) {
        self.waiting.remove(uid);
        self.held.remove(uid);
        self.known_pods.remove(uid);
        self.queue.remove(uid);
        if self.cache.forget(uid) {
            self.queue.something_changed(Instant::now());
        }
    }

    fn take_in_node(&mut self, event: Event<Node>) {
        let changed = match event {
            Event::Init => {
                self.unseen_nodes = self.cache.nodes().map(|node| node.name.clone()).collect();
                false
            }
            Event::InitApply(node) | Event::Apply(node) => {
                self.unseen_nodes.remove(&node.name_any());
                self.cache.set_node(&node)
            }
            Event::Delete(node) => {
                self.cache.remove_node(&node.name_any());
                true
            }
            Event::InitDone => {
                let gone = std::mem::take(&mut self.unseen_nodes);
                gone.iter().for_each(|name| self.cache.remove_node(name));
                !gone.is_empty()
            }
        };
        if changed {
            self.queue.something_changed(Instant::now());
        }
    }
}

/// Takes an event into what is known of a kind.
fn take<Key: std::hash::Hash + Eq, Kind>(
    known: &mut HashMap<Key, Kind>,
    event: Event<Kind>,
    key: impl Fn(&Kind) -> Key,
) {
    match event {
        Event::Init => known.clear(),
        Event::InitApply(object) | Event::Apply(object) => drop(known.insert(key(&object), object)),
        Event::Delete(object) => drop(known.remove(&key(&object))),
        Event::InitDone => {}
    }
}

/// Whether this scheduler places `pod`, and may already.
fn is_ours(pod: &PodInfo) -> bool {
    let Some(spec) = &pod.pod.spec else { return false };
    spec.scheduler_name.as_deref().unwrap_or(SCHEDULER_NAME) == SCHEDULER_NAME
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
}

/// Waits for `time`, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
