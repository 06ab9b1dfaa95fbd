//! The bootstrap signer: signs what `kube-public/cluster-info` says with each bootstrap token that is for that, so that who has a
//! token can tell the cluster from another before trusting its authority.

pub mod plan;

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt,
    api::PostParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use parking_lot::Mutex;

use crate::framework::{Context, Outcome, Queue, SyncError, is_gone, spawn_workers};

const NAME: &str = "bootstrap-signer";
const INFO: (&str, &str) = ("kube-public", "cluster-info");
const TOKENS: &str = "kube-system";

/// What there is to sign, and what signs.
#[derive(Default)]
struct Seen {
    secrets: BTreeMap<String, Secret>,
    info: Option<ConfigMap>,
    synced: (bool, bool),
}

/// Starts it.
pub fn start(context: &Context) {
    let (client, _) = context.identity(NAME);
    let infos = Api::<ConfigMap>::namespaced(client.clone(), INFO.0);
    let secrets = Api::<Secret>::namespaced(client, TOKENS);
    let queue: Queue<()> = Queue::new(context.clock.clone());
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let (told, known, watched) = (queue.clone(), seen.clone(), infos.clone());
    context.tasks.spawn(NAME, async move {
        let named = watcher::Config::default().fields(&format!("metadata.name={}", INFO.1));
        let mut events = std::pin::pin!(watcher::watcher(watched, named).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(info) | Event::InitApply(info)) => known.lock().info = Some(info),
                Ok(Event::Init | Event::Delete(_)) => known.lock().info = None,
                Ok(Event::InitDone) => known.lock().synced.0 = true,
                Err(error) => tracing::debug!(%error, "watch of the cluster's information failed; it is resumed"),
            }
            told.add(());
        }
    });
    let (told, known) = (queue.clone(), seen.clone());
    context.tasks.spawn(NAME, async move {
        let typed = watcher::Config::default().fields(&format!("type={}", plan::TYPE));
        let mut events = std::pin::pin!(watcher::watcher(secrets, typed).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(secret) | Event::InitApply(secret)) => {
                    known.lock().secrets.insert(secret.name_any(), secret);
                }
                Ok(Event::Delete(secret)) => drop(known.lock().secrets.remove(&secret.name_any())),
                Ok(Event::Init) => known.lock().secrets.clear(),
                Ok(Event::InitDone) => known.lock().synced.1 = true,
                Err(error) => tracing::debug!(%error, "watch of bootstrap tokens failed; it is resumed"),
            }
            told.add(());
        }
    });
    let (clock, again) = (context.clock.clone(), queue.clone());
    spawn_workers(context, NAME, 1, &queue, move |()| {
        let (infos, seen, clock, again) = (infos.clone(), seen.clone(), clock.clone(), again.clone());
        async move {
            let (info, data) = {
                let seen = seen.lock();
                let Some(info) = seen.info.clone().filter(|_| seen.synced == (true, true)) else {
                    return Ok(Outcome::Done);
                };
                let now = clock.now();
                let tokens: Vec<_> = seen.secrets.values().filter_map(|secret| plan::token(secret, now)).collect();
                if let Some(next) = tokens.iter().filter_map(|token| token.expiry).min() {
                    again.add_at((), next);
                }
                let data = plan::signed(&info, &tokens);
                (info, data)
            };
            let Some(data) = data else { return Ok(Outcome::Done) };
            let changed = ConfigMap { data: Some(data), ..info };
            match infos.replace(INFO.1, &PostParams::default(), &changed).await {
                Err(error) if !is_gone(&error) => Err(SyncError::from(error)),
                _ => Ok(Outcome::Done),
            }
        }
    });
}
