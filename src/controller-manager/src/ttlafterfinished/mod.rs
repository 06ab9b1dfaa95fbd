//! The TTL-after-finished controller: deletes Jobs a while after they have ended, where they ask for it.

pub mod plan;

use k8s_openapi::api::batch::v1::Job;
use kube::api::PropagationPolicy;

use crate::framework::{Context, Key, Objects, Outcome, Queue, is_gone, spawn_workers};

const NAME: &str = "ttl-after-finished-controller";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let jobs = context.informers.of::<Job>();
    let queue = Queue::new(context.clock.clone());
    let ended = queue.clone();
    jobs.on_change(move |change| {
        if let Some(job) = &change.new
            && let Some(at) = plan::expiry(job)
        {
            ended.add_at(Key::of(&**job), at);
        }
    });
    let (jobs, clock, again) =
        (Objects::new(client, jobs, context.clock.clone()), context.clock.clone(), queue.clone());
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (jobs, clock, again) = (jobs.clone(), clock.clone(), again.clone());
        async move {
            // As it is now: its time may have been changed, or it may be another of that name.
            let job = match jobs.get(&key).await {
                Err(error) if is_gone(&error) => return Ok(Outcome::Done),
                answer => answer?,
            };
            match plan::expiry(&job) {
                Some(at) if at <= clock.now() => jobs.delete_as(&job, PropagationPolicy::Foreground).await?,
                Some(at) => again.add_at(key, at),
                None => {}
            }
            Ok(Outcome::Done)
        }
    });
}
