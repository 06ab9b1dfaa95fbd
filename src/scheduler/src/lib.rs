//! The scheduler: finds a node for each pod that has none.
//!
//! [`queue`] says whose turn it is, [`framework`] decides as a pure function of the [`cache`], [`binding`] tells the API
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

use std::{collections::HashSet, sync::Arc, time::Instant};

use component_base::Tasks;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
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
    pod::PodInfo,
    queue::Queue,
};

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
enum Told {
    Pod(Event<Pod>),
    Node(Event<Node>),
    Namespace(Event<Namespace>),
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
        let mut events = stream::select_all([
            pods.map(told(Told::Pod)).boxed(),
            nodes.map(told(Told::Node)).boxed(),
            namespaces.map(told(Told::Namespace)).boxed(),
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
            let wake = self.queue.next_wake();
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
            Decision::Node(node) => {
                self.cache.place(&node, pod.clone());
                self.binder.bind(pod.clone(), node);
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
            Told::Failed(error) => tracing::warn!(%error, "watch failed; it is resumed"),
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
        let pod = Arc::new(pod);
        match pod.node_name() {
            Some(node) => {
                self.queue.remove(&pod.uid);
                let node = node.to_owned();
                self.cache.place(&node, pod);
            }
            None if pod.terminating() => self.queue.remove(&pod.uid),
            None if is_ours(&pod) => self.queue.put(pod, Instant::now()),
            None => {}
        }
    }

    fn drop_pod(&mut self, uid: &str) {
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
