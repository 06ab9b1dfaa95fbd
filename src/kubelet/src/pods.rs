//! All pods of this node: one worker each.
//!
//! A worker is made when both sides have spoken: the API server says what is wanted, and the runtime what is there.
//! What the runtime has and nobody wants is removed, once the API server has listed all.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use component_base::Tasks;
use cri::{labels, v1};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    context::Context,
    pod::{
        observed::Observed,
        operations::remove_pod,
        traits::PodExt,
        worker::{Mailbox, News, Snapshot, Worker},
    },
    watching::Patience,
};

/// All pods of this node.
#[derive(Clone)]
pub struct Pods {
    context: Arc<Context>,
    tasks: Tasks,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    workers: HashMap<String, Handle>,
    /// What the runtime has of pods that nobody has asked for yet.
    unclaimed: HashMap<String, Observed>,
    /// Pods that wait until the runtime has spoken.
    waiting: HashMap<String, Arc<Pod>>,
    runtime_listed: bool,
    api_listed: bool,
}

struct Handle {
    mailbox: Arc<Mailbox>,
    snapshot: watch::Receiver<Snapshot>,
}

impl Pods {
    /// None yet.
    pub fn new(context: Arc<Context>, tasks: Tasks) -> Self {
        Self { context, tasks, state: Arc::default() }
    }

    /// Follows the pods that the API server has for this node, for ever.
    pub async fn follow(self) {
        let api: Api<Pod> = Api::all(self.context.config.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.context.config.node_name));
        let mut events = watcher(api, config).backoff(Patience::default()).boxed();
        let mut listing: HashSet<String> = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    listing.insert(pod.uid().to_owned());
                    self.wanted(pod);
                }
                Ok(watcher::Event::InitDone) => self.all_listed(&listing),
                Ok(watcher::Event::Apply(pod)) => self.wanted(pod),
                Ok(watcher::Event::Delete(pod)) => self.unwanted(pod.uid()),
                Err(error) => tracing::warn!(%error, "pods cannot be watched"),
            }
        }
    }

    fn wanted(&self, pod: Pod) {
        let pod = Arc::new(pod);
        let mut state = self.state.lock();
        if let Some(worker) = state.workers.get(pod.uid()) {
            worker.mailbox.pod(pod);
        } else if state.runtime_listed {
            let observed = state.unclaimed.remove(pod.uid()).unwrap_or_default();
            self.employ(&mut state, pod, observed);
        } else {
            state.waiting.insert(pod.uid().to_owned(), pod);
        }
    }

    fn employ(&self, state: &mut State, pod: Arc<Pod>, observed: Observed) {
        let uid = pod.uid().to_owned();
        let mailbox = Arc::new(Mailbox::default());
        let worker = Worker::new(self.context.clone(), pod, observed, mailbox.clone());
        state.workers.insert(uid.clone(), Handle { mailbox, snapshot: worker.snapshot() });
        let workers = self.state.clone();
        self.tasks.spawn("pod-worker", async move {
            worker.run().await;
            workers.lock().workers.remove(&uid);
        });
    }

    fn unwanted(&self, uid: &str) {
        let mut state = self.state.lock();
        state.waiting.remove(uid);
        if let Some(worker) = state.workers.get(uid) {
            worker.mailbox.gone();
        }
    }

    fn all_listed(&self, listing: &HashSet<String>) {
        let mut state = self.state.lock();
        state.api_listed = true;
        state.waiting.retain(|uid, _| listing.contains(uid));
        for (uid, worker) in &state.workers {
            if !listing.contains(uid) {
                worker.mailbox.gone();
            }
        }
        self.remove_unclaimed(&mut state);
    }

    /// The runtime was (re)connected and has this.
    pub fn runtime_listed(&self, mut list: HashMap<String, Observed>) {
        let mut state = self.state.lock();
        for (uid, worker) in &state.workers {
            worker.mailbox.news(News::Listed(Box::new(list.remove(uid).unwrap_or_default())));
        }
        state.runtime_listed = true;
        state.unclaimed = list;
        for (uid, pod) in std::mem::take(&mut state.waiting) {
            let observed = state.unclaimed.remove(&uid).unwrap_or_default();
            self.employ(&mut state, pod, observed);
        }
        self.remove_unclaimed(&mut state);
    }

    /// Something happened to a container.
    pub fn event(&self, event: v1::ContainerEventResponse) {
        let of_sandbox = event.pod_sandbox_status.as_ref().and_then(|sandbox| sandbox.metadata.as_ref());
        let of_container = || {
            let labels = event.containers_statuses.iter().map(|status| &status.labels);
            labels.filter_map(|all| all.get(labels::POD_UID)).next()
        };
        let Some(uid) = of_sandbox.map(|metadata| &metadata.uid).or_else(of_container).cloned() else { return };
        if let Some(worker) = self.state.lock().workers.get(&uid) {
            worker.mailbox.news(News::Event(Box::new(event)));
        }
    }

    /// Removes what nobody wants, in the runtime and on disk.
    fn remove_unclaimed(&self, state: &mut State) {
        if !state.api_listed || !state.runtime_listed {
            return;
        }
        for uid in std::mem::take(&mut state.unclaimed).into_keys() {
            let context = self.context.clone();
            self.tasks.spawn("orphan", async move {
                tracing::info!(uid, "removing a pod that the API server does not have");
                if let Err(status) = remove_pod(&context, &uid, None).await {
                    tracing::warn!(%status, uid, "an unwanted pod cannot be removed");
                }
            });
        }
        let known: HashSet<String> = state.workers.keys().cloned().collect();
        let folder = self.context.config.root_dir.join("pods");
        self.tasks.spawn("orphaned-folders", async move {
            let swept = tokio::task::spawn_blocking(move || sweep(&folder, &known)).await;
            if let Ok(Err(error)) = swept {
                tracing::debug!(%error, "leftover folders cannot be removed");
            }
        });
    }

    /// Every pod as it is.
    pub fn all(&self) -> Vec<Snapshot> {
        self.state.lock().workers.values().map(|worker| worker.snapshot.borrow().clone()).collect()
    }

    /// The pod of that name, as it is and will be.
    pub fn find(&self, namespace: &str, name: &str) -> Option<watch::Receiver<Snapshot>> {
        let state = self.state.lock();
        let matching = state.workers.values().filter(|worker| {
            let snapshot = worker.snapshot.borrow();
            snapshot.pod.namespace() == namespace && snapshot.pod.name() == name
        });
        // An old pod of that name may still be ending.
        matching
            .max_by_key(|worker| worker.snapshot.borrow().pod.metadata.creation_timestamp.clone())
            .map(|worker| worker.snapshot.clone())
    }

    /// How many pods have a worker.
    pub fn len(&self) -> usize {
        self.state.lock().workers.len()
    }
}

/// Removes the folders of pods that are not `known`: `<uid>` and `<namespace>_<name>_<uid>`.
fn sweep(folder: &std::path::Path, known: &HashSet<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let uid = name.rsplit('_').next().unwrap_or(&name);
        if !known.contains(uid) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
