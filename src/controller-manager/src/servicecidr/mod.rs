//! The ServiceCIDR controller: says that a range of Service addresses is ready, and keeps one that is deleted until no address needs it.

pub mod plan;

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::ResourceExt;
use serde_json::json;

use self::plan::Step;
use crate::framework::{Change, Context, Key, Objects, Outcome, Queue, SyncError, is_gone, spawn_workers};

const NAME: &str = "service-cidrs-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long a range that is not needed stays nevertheless: every API server has heard by then that it gives out no more addresses.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// Starts it.
pub fn start(context: &Context) {
    let (client, recorder) = context.identity(NAME);
    let (ranges, addresses) = (context.informers.of::<ServiceCIDR>(), context.informers.of::<IPAddress>());
    let queue = Queue::new(context.clock.clone());
    let (changed, all) = (queue.clone(), ranges.clone());
    ranges.on_change(move |change| {
        changed.add(Key::of(&**change.object()));
        // One that holds the same addresses may be what the end of another waits for.
        let going = all.list().into_iter().filter(|range| range.metadata.deletion_timestamp.is_some());
        going.for_each(|range| changed.add(Key::of(&*range)));
    });
    let (freed, all) = (queue.clone(), ranges.clone());
    addresses.on_change(move |Change { new, .. }| {
        if new.is_none() {
            let going = all.list().into_iter().filter(|range| range.metadata.deletion_timestamp.is_some());
            going.for_each(|range| freed.add(Key::of(&*range)));
        }
    });
    let ranges = Objects::new(client, ranges, context.clock.clone());
    let clock = context.clock.clone();
    spawn_workers(context, NAME, 1, &queue, move |key: Key| {
        let (ranges, addresses, recorder, clock) = (ranges.clone(), addresses.clone(), recorder.clone(), clock.clone());
        async move {
            let Some(range) = ranges.cache().get(&key) else { return Ok(Outcome::Done) };
            let now = clock.now();
            let (others, used) = (ranges.cache().list(), addresses.list());
            match plan::plan(&range, &others, used.iter().filter_map(|address| address.metadata.name.as_deref())) {
                Step::Keep => ready(&ranges, &key, &range, now).await,
                Step::Wait => {
                    let message = plan::STILL_USED;
                    recorder.warning(&*range, "KubernetesServiceCIDRNotReady", message);
                    condition(&ranges, &key, &range, "False", "Terminating", message, now).await
                }
                Step::Release => {
                    let since = range.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
                    let over = since.saturating_add(GRACE).unwrap_or(now);
                    if over > now {
                        return Ok(Outcome::After(Duration::try_from(over.duration_since(now)).unwrap_or_default()));
                    }
                    let rest: Vec<_> = range.finalizers().iter().filter(|one| *one != FINALIZER).collect();
                    if rest.len() == range.finalizers().len() {
                        return Ok(Outcome::Done);
                    }
                    let meta = json!({"resourceVersion": range.metadata.resource_version, "finalizers": rest});
                    told(ranges.patch(&key, &json!({"metadata": meta})).await)
                }
            }
        }
    });

    async fn ready(
        ranges: &Objects<ServiceCIDR>,
        key: &Key,
        range: &ServiceCIDR,
        now: jiff::Timestamp,
    ) -> Result<Outcome, SyncError> {
        if !range.finalizers().iter().any(|one| one == FINALIZER) {
            let finalizers: Vec<_> = range.finalizers().iter().map(String::as_str).chain([FINALIZER]).collect();
            let meta = json!({"resourceVersion": range.metadata.resource_version, "finalizers": finalizers});
            told(ranges.patch(key, &json!({"metadata": meta})).await)?;
        }
        condition(ranges, key, range, "True", "", "Kubernetes Service CIDR is ready", now).await
    }
}

/// Writes the `Ready` condition unless it says so.
async fn condition(
    ranges: &Objects<ServiceCIDR>,
    key: &Key,
    range: &ServiceCIDR,
    status: &str,
    reason: &str,
    message: &str,
    now: jiff::Timestamp,
) -> Result<Outcome, SyncError> {
    match plan::conditions(range, status, reason, message, now) {
        Some(conditions) => told(ranges.patch_status(key, &json!({"status": {"conditions": conditions}})).await),
        None => Ok(Outcome::Done),
    }
}

fn told<T>(answer: kube::Result<T>) -> Result<Outcome, SyncError> {
    match answer {
        Err(error) if !is_gone(&error) => Err(error.into()),
        _ => Ok(Outcome::Done),
    }
}
