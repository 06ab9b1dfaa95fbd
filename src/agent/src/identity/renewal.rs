//! Certificates are renewed before they end, without a restart.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use component_base::SharedClock;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};

use super::{
    Identity,
    pair::Pair,
    request::{self, Wanted},
};

/// The longest sleep: a machine that slept, or a clock that was set, is noticed within it.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// The pause after a failure: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Names of every machine, which are no node's own.
const NOBODYS: [&str; 1] = ["localhost"];

/// Renews the certificate by which the API server knows the node, for ever.
pub(super) async fn client(identity: Arc<Identity>) {
    let path = identity.files.client();
    let mut pair = read(&path);
    let mut pause = FIRST_PAUSE;
    loop {
        let at = pair.as_ref().map_or(Timestamp::MIN, |pair| pair.renew_at(identity.chance()));
        until(&identity.clock, at).await;
        match request::certificate(identity.client(), &identity.node_name, &Wanted::Client).await {
            Ok(new) => {
                keep(&new, &path);
                match identity.own.set(new.pem(), new.pem()) {
                    Ok(()) => identity.pool.renew(),
                    Err(error) => tracing::error!(%error, "the renewed certificate cannot be used"),
                }
                tracing::info!(ends = %new.ends(), "the node's client certificate is renewed");
                pair = Some(new);
                pause = FIRST_PAUSE;
            }
            Err(error) => {
                tracing::warn!(%error, "the node's client certificate cannot be renewed; it is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Gets and renews the certificate that the kubelet serves with, for ever: also when the node's addresses change.
pub(super) async fn serving(identity: Arc<Identity>) {
    let path = identity.files.serving();
    let mut pair = read(&path);
    if let Some(kept) = &pair {
        serve(&identity, kept);
    }
    let own = watcher::Config::default().fields(&format!("metadata.name={}", identity.node_name));
    let mut events = watcher(Api::<Node>::all(identity.client()), own).default_backoff().boxed();
    let mut hosts = BTreeSet::new();
    let mut pause = FIRST_PAUSE;
    let mut not_before = Timestamp::MIN;
    loop {
        let fits = pair.as_ref().is_some_and(|pair| *pair.hosts() == hosts);
        let due = match &pair {
            Some(pair) if fits => pair.renew_at(identity.chance()),
            _ => not_before,
        };
        tokio::select! {
            Some(event) = events.next() => match event {
                Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => hosts = hosts_of(&node),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the own node cannot be watched; it is tried again"),
            },
            () = until(&identity.clock, due.max(not_before)), if !hosts.is_empty() => {
                let wanted = Wanted::Serving(hosts.iter().cloned().collect());
                match request::certificate(identity.client(), &identity.node_name, &wanted).await {
                    Ok(new) => {
                        keep(&new, &path);
                        serve(&identity, &new);
                        tracing::info!(ends = %new.ends(), ?hosts, "the kubelet has a serving certificate");
                        pair = Some(new);
                        pause = FIRST_PAUSE;
                        not_before = Timestamp::MIN;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no serving certificate; it is asked for again");
                        not_before = identity.clock.now().checked_add(pause).unwrap_or(Timestamp::MAX);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }
}

impl Identity {
    /// A number between 0 and 1.
    fn chance(&self) -> f64 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}

fn serve(identity: &Identity, pair: &Pair) {
    if let Err(error) = identity.serving.set(pair.pem().as_bytes(), pair.pem().as_bytes()) {
        tracing::error!(%error, "the kubelet's serving certificate cannot be used");
    }
}

/// What is kept; what cannot be read is as good as nothing, and is asked for anew.
fn read(path: &std::path::Path) -> Option<Pair> {
    Pair::read(path).inspect_err(|error| tracing::warn!(%error, "a certificate is asked for anew")).ok().flatten()
}

fn keep(pair: &Pair, path: &std::path::Path) {
    if let Err(error) = pair.write(path) {
        tracing::error!(%error, "a certificate cannot be kept: a restart would ask for another");
    }
}

/// Under which names and addresses a node is reached.
fn hosts_of(node: &Node) -> BTreeSet<String> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let hosts = addresses.iter().map(|address| address.address.clone());
    hosts.filter(|host| !NOBODYS.contains(&host.as_str())).collect()
}

/// Returns when the clock shows `at`, or later.
async fn until(clock: &SharedClock, at: Timestamp) {
    while let Ok(left) = Duration::try_from(at.duration_since(clock.now()))
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}
