//! The token cleaner: removes bootstrap and join tokens whose time is over.

pub mod plan;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use crate::{
    framework::{Context, Outcome, Queue, is_conflict, is_gone, spawn_workers},
    preconditions::only,
};

const NAME: &str = "token-cleaner";
const NAMESPACE: &str = "kube-system";

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let secrets = Api::<Secret>::namespaced(client, NAMESPACE);
    let queue: Queue<String> = Queue::new(context.clock.clone());
    for kind in plan::TYPES {
        let (told, watched) = (queue.clone(), secrets.clone());
        let typed = watcher::Config::default().fields(&format!("type={kind}"));
        context.tasks.spawn(NAME, async move {
            let mut events = std::pin::pin!(watcher::watcher(watched, typed).default_backoff());
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(secret) | Event::InitApply(secret)) => told.add(secret.name_any()),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, kind, "watch of tokens failed; it is resumed"),
                }
            }
        });
    }
    let (clock, again) = (context.clock.clone(), queue.clone());
    spawn_workers(context, NAME, 1, &queue, move |name: String| {
        let (secrets, clock, again) = (secrets.clone(), clock.clone(), again.clone());
        async move {
            let Some(secret) = secrets.get_opt(&name).await? else { return Ok(Outcome::Done) };
            match plan::expiry(&secret) {
                Some(at) if at > clock.now() => again.add_at(name, at),
                None if !plan::malformed(&secret) => {}
                _ => match secrets.delete(&name, &only(&secret)).await {
                    Err(error) if !is_gone(&error) && !is_conflict(&error) => return Err(error.into()),
                    _ => {}
                },
            }
            Ok(Outcome::Done)
        }
    });
}
