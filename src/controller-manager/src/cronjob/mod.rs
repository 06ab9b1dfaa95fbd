//! CronJobs: Jobs on a schedule.

mod plan;
mod schedule;

use std::sync::Arc;

use component_base::SharedClock;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::ObjectReference,
};
use kube::api::PropagationPolicy;

use self::plan::Plan;
use crate::framework::{
    Context, Key, Objects, Outcome, Queue, Recorder, SyncError, controller_of, is_conflict, is_terminating_namespace,
    message_of, reference, spawn_workers, wake_controller,
};

/// Under which name it speaks.
const CONTROLLER: &str = "cronjob-controller";
/// So many are worked on at a time.
const WORKERS: usize = 2;

struct Controller {
    crons: Objects<CronJob>,
    jobs: Objects<Job>,
    recorder: Recorder,
    queue: Queue<Key>,
    clock: SharedClock,
}

/// Starts the controller.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(CONTROLLER);
    let (crons, jobs) = (context.informers.of::<CronJob>(), context.informers.of::<Job>());
    let queue = Queue::new(context.clock.clone());
    let own = queue.clone();
    crons.on_change(move |change| own.add(Key::of(&**change.object())));
    let controlled = queue.clone();
    jobs.on_change(move |change| wake_controller::<CronJob, _>(&controlled, change));
    let controller = Arc::new(Controller {
        crons: Objects::new(client.clone(), crons, context.clock.clone()),
        jobs: Objects::new(client, jobs, context.clock.clone()),
        recorder,
        queue: queue.clone(),
        clock: context.clock.clone(),
    });
    spawn_workers(context, CONTROLLER, WORKERS, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(key).await }
    });
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<Outcome, SyncError> {
        let Some(cron) = self.crons.cache().get(&key) else { return Ok(Outcome::Done) };
        let jobs = self.jobs.cache().controlled_by(cron.metadata.uid.as_deref().unwrap_or_default());
        let mut plan = plan::plan(&cron, &jobs, self.clock.now());
        for told in &plan.events {
            self.recorder.event(&*cron, told.severity, told.reason, told.message.clone());
        }
        let done = self.carry_out(&cron, &mut plan).await;
        if cron.status.as_ref() != Some(&plan.status) {
            let told = CronJob { status: Some(plan.status), ..CronJob::clone(&cron) };
            self.crons.replace_status(&told).await?;
        }
        if let Some(time) = plan.again_at {
            self.queue.add_at(key, time);
        }
        done.map(|()| Outcome::Done)
    }

    async fn carry_out(&self, cron: &CronJob, plan: &mut Plan) -> Result<(), SyncError> {
        for job in std::mem::take(&mut plan.replace) {
            self.delete(cron, &job).await?;
            plan.deleted(&job);
        }
        if let Some((job, scheduled)) = plan.start.take()
            && let Some(started) = self.create(cron, &job).await?
        {
            plan.started(started, scheduled);
        }
        for job in std::mem::take(&mut plan.forget) {
            self.delete(cron, &job).await?;
            plan.deleted(&job);
        }
        Ok(())
    }

    /// Starts a Job; nothing comes back when none can be.
    async fn create(&self, cron: &CronJob, job: &Job) -> Result<Option<ObjectReference>, SyncError> {
        let key = Key::of(job);
        match self.jobs.create(&key.namespace, job).await {
            Ok(job) => {
                self.recorder.normal(cron, "SuccessfulCreate", format!("Created job {}", key.name));
                Ok(Some(reference(&job)))
            }
            Err(error) if is_conflict(&error) => {
                // Started before this process died, and not written down.
                let there = self.jobs.get(&key).await?;
                let own = controller_of(&there).is_some_and(|owner| Some(&owner.uid) == cron.metadata.uid.as_ref());
                if own { Ok(Some(reference(&there))) } else { Err(error.into()) }
            }
            Err(error) if is_terminating_namespace(&error) => Ok(None),
            Err(error) => {
                self.recorder.warning(cron, "FailedCreate", format!("Error creating job: {}", message_of(&error)));
                Err(error.into())
            }
        }
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> Result<(), SyncError> {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        match self.jobs.delete_as(job, PropagationPolicy::Background).await {
            Ok(()) => {
                self.recorder.normal(cron, "SuccessfulDelete", format!("Deleted job {name}"));
                Ok(())
            }
            Err(error) => {
                self.recorder.warning(cron, "FailedDelete", format!("Deleted job: {}", message_of(&error)));
                Err(error.into())
            }
        }
    }
}
