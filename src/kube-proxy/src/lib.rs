//! The service proxy: every Service's addresses answer, and a connection reaches a ready endpoint.
//!
//! Three ideas, a file each: [`rules`] says, as a pure function, what each address of a Service leads to;
//! `table` keeps Services and EndpointSlices as the API server tells of them; `listener` accepts at one address,
//! chooses an endpoint for each connection, and hands the connection to the runtime or splices it. A connection
//! that arrives while no endpoint is ready but one is starting is held until it is (the activator's half of
//! `kube-proxy`), within [`Config::hold`].

mod affinity;
mod forward;
mod listener;
pub mod rules;
mod table;
mod udp;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use component_base::Tasks;
use cri::handoff::HandoffClient;
use futures::{StreamExt, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio_util::sync::CancellationToken;

use crate::{
    forward::Forwarder,
    listener::Listeners,
    table::{Change, Table},
};

/// What the proxy of one node needs to know.
#[derive(Clone)]
pub struct Config {
    /// How it sees Services and EndpointSlices.
    pub client: Client,
    /// This node's name; endpoints here are local.
    pub node_name: String,
    /// Where node ports are served.
    pub node_ip: IpAddr,
    /// The runtime's hand-off socket; without one every connection is spliced.
    pub handoff_socket: Option<PathBuf>,
    /// How long a connection waits for a first ready endpoint.
    pub hold: Duration,
}

/// Runs the proxy until `tasks` stops.
pub async fn run(config: Config, tasks: &Tasks) {
    let stop = tasks.stopping();
    tasks.spawn_graceful("kube-proxy", async move { follow(config, stop).await });
}

/// Follows Services and EndpointSlices, and brings the listeners in line with each change.
async fn follow(config: Config, stop: CancellationToken) {
    let services = watcher(Api::<Service>::all(config.client.clone()), watcher::Config::default())
        .default_backoff()
        .map(|event| event.map(Change::Service));
    let slices = watcher(Api::<EndpointSlice>::all(config.client.clone()), watcher::Config::default())
        .default_backoff()
        .map(|event| event.map(Change::Slice));
    let mut changes = stream::select(services.boxed(), slices.boxed());
    let handoff = config.handoff_socket.map(HandoffClient::new);
    let mut listeners = Listeners::new(Forwarder::new(handoff), config.hold);
    let mut table = Table::default();
    let mut served: HashMap<String, HashSet<(rules::Protocol, SocketAddr)>> = HashMap::new();
    let mut refused = false;
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => break,
            // A listener that could not bind is tried again; only a failure waits for this.
            () = tokio::time::sleep(Duration::from_secs(2)), if refused => None,
            change = changes.next() => match change {
                Some(Ok(change)) => Some(change),
                Some(Err(error)) => {
                    tracing::warn!(%error, "watch of services or endpoint slices failed; it is resumed");
                    continue;
                }
                None => break,
            },
        };
        match change {
            Some(change) => {
                for name in table.apply(change) {
                    let rules = table.rules(&name, &config.node_name, config.node_ip);
                    let now: HashSet<_> = rules.iter().map(|rule| (rule.protocol, rule.address)).collect();
                    for gone in served.remove(&name).unwrap_or_default().difference(&now) {
                        listeners.remove(gone);
                    }
                    rules.into_iter().for_each(|rule| listeners.set(rule));
                    if !now.is_empty() {
                        served.insert(name, now);
                    }
                }
            }
            None => listeners.retry(),
        }
        refused = listeners.any_refused();
    }
    listeners.close();
}
