//! Jobs: pods that run to their end, as often as is wanted.

mod accounting;
mod backoff;
mod indexes;
mod plan;
mod pod;
mod policy;

use std::{collections::HashMap, sync::Arc, time::Duration};

use apimachinery::selectors::LabelSelector;
use component_base::SharedClock;
use futures::future::join_all;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus},
    core::v1::Pod,
};
use parking_lot::Mutex;
use serde_json::json;

use self::{
    backoff::Failures,
    plan::{Done, PodsPlan, Progress},
};
use crate::{
    framework::{
        Change, Context, Informer, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, is_gone,
        is_terminating_namespace, message_of, now, parse_selector, slow_start, spawn_workers, wake_owner_or_claimants,
    },
    pods,
};

/// Under which name it speaks.
const CONTROLLER: &str = "job-controller";
/// So many are worked on at a time.
const WORKERS: usize = 5;
/// So long pods that run beside others are waited for, when one of them changes; kube-controller-manager waits a second.
const BATCH: Duration = Duration::from_millis(100);
/// Who else may run a Job says so in its `managedBy`.
const MANAGER: &str = "kubernetes.io/job-controller";

struct Controller {
    jobs: Objects<Job>,
    pods: Objects<Pod>,
    recorder: Recorder,
    queue: Queue<Key>,
    clock: SharedClock,
    failures: Mutex<HashMap<Key, Failures>>,
}

/// Starts the controller.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(CONTROLLER);
    let (jobs, pods) = (context.informers.of::<Job>(), context.informers.of::<Pod>());
    let (queue, orphans) = (Queue::new(context.clock.clone()), Queue::new(context.clock.clone()));
    let (own, left, of) = (queue.clone(), orphans.clone(), pods.clone());
    jobs.on_change(move |change| {
        own.add(Key::of(&**change.object()));
        if change.new.is_none() {
            let uid = change.object().metadata.uid.as_deref().unwrap_or_default();
            of.controlled_by(uid).iter().filter(|pod| pod::is_tracked(pod)).for_each(|pod| left.add(Key::of(&**pod)));
        }
    });
    let (claimed, left, of) = (queue.clone(), orphans.clone(), jobs.clone());
    pods.on_change(move |change| {
        match one_of_many(&of, change) {
            Some(key) => claimed.add_after(key, BATCH),
            None => wake_owner_or_claimants(&claimed, &of, change, selector),
        }
        if of.is_synced() {
            wake_orphan(&left, &of, change);
        }
    });
    let controller = Arc::new(Controller {
        jobs: Objects::new(client.clone(), jobs, context.clock.clone()),
        pods: Objects::new(client, pods, context.clock.clone()),
        recorder,
        queue: queue.clone(),
        clock: context.clock.clone(),
        failures: Mutex::default(),
    });
    let releasing = controller.clone();
    spawn_workers(context, CONTROLLER, WORKERS, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
    // What was told before the Jobs were known is looked at once they are.
    let (first, informers) = (releasing.clone(), context.informers.clone());
    let looking = orphans.clone();
    context.tasks.spawn(CONTROLLER, async move {
        informers.synced().await;
        for pod in first.pods.cache().list() {
            wake_orphan(&looking, first.jobs.cache(), &Change { old: None, new: Some(pod) });
        }
    });
    spawn_workers(context, CONTROLLER, 1, &orphans, move |key| {
        let controller = releasing.clone();
        async move { controller.release_orphan(&key).await }
    });
}

fn selector(job: &Job) -> Result<LabelSelector, SyncError> {
    parse_selector(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()))
}

/// The Job of which a changed pod is one of several that run: what happens to them at the same time is counted in one go.
fn one_of_many(jobs: &Informer<Job>, change: &Change<Pod>) -> Option<Key> {
    let (old, new) = (change.old.as_ref()?, change.new.as_ref()?);
    let owner = controller_of(&**new).filter(|owner| owner.kind == "Job")?;
    controller_of(&**old)?;
    let key = Key::new(new.metadata.namespace.as_deref().unwrap_or_default(), owner.name.as_str());
    let active = jobs.get(&key)?.status.as_ref()?.active.unwrap_or_default();
    (active > 1).then_some(key)
}

/// A pod that waits to be counted by a Job that is gone waits for ever, unless somebody lets it go.
fn wake_orphan(orphans: &Queue<Key>, jobs: &Informer<Job>, change: &Change<Pod>) {
    if let Some(pod) = change.new.as_ref().filter(|pod| is_orphan(jobs, pod)) {
        orphans.add(Key::of(&**pod));
    }
}

fn is_orphan(jobs: &Informer<Job>, pod: &Pod) -> bool {
    if !pod::is_tracked(pod) {
        return false;
    }
    let Some(owner) = controller_of(pod) else { return true };
    let key = Key::new(pod.metadata.namespace.as_deref().unwrap_or_default(), owner.name.as_str());
    owner.kind == "Job" && jobs.get(&key).is_none_or(|job| job.metadata.uid.as_ref() != Some(&owner.uid))
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Outcome, SyncError> {
        let Some(job) = self.jobs.cache().get(&key).filter(|job| !plan::is_finished(job)) else {
            self.failures.lock().remove(&key);
            return Ok(Outcome::Done);
        };
        let managed_by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if managed_by.is_some_and(|manager| manager != MANAGER) {
            return Ok(Outcome::Done);
        }
        let selector = selector(&job)?;
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let candidates = self.pods.cache().claimable(&key.namespace, uid);
        let pods = self.pods.claim_with(&self.jobs, &*job, &selector, candidates, Some(pod::FINALIZER)).await?;
        let known = self.failures.lock().get(&key).copied().unwrap_or_default();
        let progress = Progress::new(&job, &pods, &known, now(&self.clock));
        let todo = progress.pods_plan();
        let after = todo.after;
        let (done, failure) = self.carry_out(&job, todo).await;
        let books = accounting::books(&progress, done, failure.is_none());
        let told = self.tell(&job, books.status.clone()).await?;
        match books.suspended {
            Some(true) => self.recorder.normal(&*job, "Suspended", "Job suspended"),
            Some(false) => self.recorder.normal(&*job, "Resumed", "Job resumed"),
            None => {}
        }
        let released = self.release(&books.release).await;
        self.failures.lock().insert(key.clone(), progress.failures);
        let mut tracked = accounting::tracked(&pods);
        released.iter().for_each(|pod| {
            tracked.remove(pod::uid(pod));
        });
        let (status, over) = accounting::settle(&books, &tracked, &progress.now);
        self.tell(&told, status).await?;
        if over && let Some(ending) = &books.ending {
            if ending.success {
                self.recorder.normal(&*job, "Completed", "Job completed");
            } else {
                self.recorder.warning(&*job, reason(&ending.reason), ending.message.clone());
            }
        }
        if let Some(deadline) = progress.deadline().filter(|_| !over) {
            self.queue.add_at(key.clone(), deadline);
        }
        if released.len() < books.release.len() {
            return Err(SyncError::Other(format!("not all pods of job {key} could be counted")));
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(after.and_then(|after| Duration::try_from(after).ok()).into()),
        }
    }

    async fn carry_out(&self, job: &Job, todo: PodsPlan) -> (Done, Option<kube::Error>) {
        let PodsPlan { end, remove, create, .. } = todo;
        let mut done = Done::default();
        let mut failure = None;
        let counted = end.iter().map(|pod| (pod, false));
        let deletions = counted.chain(remove.iter().map(|pod| (pod, true)));
        let deletions = join_all(deletions.map(|(pod, uncounted)| self.delete(job, pod, uncounted)));
        for (pod, result) in end.iter().chain(&remove).zip(deletions.await) {
            match result {
                Ok(()) => {
                    done.deleted += 1;
                    done.deleted_ready += i32::from(pods::is_ready(pod));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let (created, not_created) = slow_start(create.len(), |at| self.create(job, namespace, &create[at])).await;
        done.created = plan::number(created.len());
        (done, failure.or(not_created))
    }

    async fn create(&self, job: &Job, namespace: &str, pod: &Pod) -> kube::Result<()> {
        match self.pods.create(namespace, pod).await {
            Ok(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                self.recorder.normal(job, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) => {
                if !is_terminating_namespace(&error) {
                    self.recorder.warning(job, "FailedCreate", format!("Error creating: {}", message_of(&error)));
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, job: &Job, pod: &Pod, uncounted: bool) -> kube::Result<()> {
        if uncounted && pod::is_tracked(pod) {
            self.let_go(pod).await?;
        }
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let deleted = self.pods.delete(pod).await;
        match &deleted {
            Ok(()) => self.recorder.normal(job, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(error) => {
                self.recorder.warning(job, "FailedDelete", format!("Error deleting: {}", message_of(error)));
            }
        }
        deleted
    }

    /// Takes the finalizers off; the pods of which they are off come back.
    async fn release<'a>(&self, pods: &'a [Arc<Pod>]) -> Vec<&'a Arc<Pod>> {
        let results = join_all(pods.iter().map(|pod| self.let_go(pod))).await;
        let released = pods.iter().zip(results).filter_map(|(pod, result)| match result {
            Ok(()) => Some(pod),
            Err(error) => {
                tracing::warn!(%error, pod = %Key::of(&**pod), "cannot take the finalizer off");
                None
            }
        });
        released.collect()
    }

    /// Takes the finalizer off one pod.
    async fn let_go(&self, pod: &Pod) -> kube::Result<()> {
        let patch =
            json!({"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [pod::FINALIZER]}});
        match self.pods.patch_strategic(&Key::of(pod), &patch).await {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn release_orphan(&self, key: &Key) -> Result<Outcome, SyncError> {
        if let Some(pod) = self.pods.cache().get(key).filter(|pod| is_orphan(self.jobs.cache(), pod)) {
            self.let_go(&pod).await?;
        }
        Ok(Outcome::Done)
    }

    /// Writes a status, if it is news; the Job as it then is comes back.
    async fn tell(&self, job: &Job, status: JobStatus) -> Result<Job, SyncError> {
        if job.status.as_ref() == Some(&status) {
            return Ok(job.clone());
        }
        let told = Job { status: Some(status), ..job.clone() };
        Ok(self.jobs.replace_status(&told).await?)
    }
}

/// The reasons for which a Job fails, which events have as fixed words.
fn reason(reason: &str) -> &'static str {
    match reason {
        "BackoffLimitExceeded" => "BackoffLimitExceeded",
        "DeadlineExceeded" => "DeadlineExceeded",
        "PodFailurePolicy" => "PodFailurePolicy",
        "FailedIndexes" => "FailedIndexes",
        "MaxFailedIndexesExceeded" => "MaxFailedIndexesExceeded",
        _ => "Failed",
    }
}
