//! Cluster DNS: names of Services and pods as the "DNS-Based Service Discovery" specification of Kubernetes gives
//! them; all other names are asked of the node's own resolvers.
//!
//! [`zone`] answers from what the API server last told of Services and EndpointSlices; `server` is the wire.

mod server;
pub mod zone;

use std::net::SocketAddr;

use component_base::Tasks;
use futures::StreamExt;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, reflector, watcher},
};

pub use server::DnsError;
use zone::Zone;

/// What the name server of one node needs to know.
#[derive(Clone)]
pub struct Config {
    /// How it sees Services and EndpointSlices.
    pub client: Client,
    /// Where it answers, UDP and TCP.
    pub listen: SocketAddr,
    /// The cluster's domain, usually `cluster.local`.
    pub domain: String,
    /// Who is asked for names outside the cluster's domain, in order.
    pub upstream: Vec<SocketAddr>,
}

/// Serves DNS until `tasks` stops.
///
/// # Errors
/// When the domain is no name or the address cannot be bound.
pub async fn run(config: Config, tasks: &Tasks) -> Result<(), DnsError> {
    let (services, services_writer) = reflector::store();
    let (slices, slices_writer) = reflector::store();
    let zone = Zone::new(&config.domain, services, slices)?;
    let server = server::Server::bind(config.listen, zone, config.upstream).await?;
    let services = watcher(Api::<Service>::all(config.client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(services_writer);
    let slices = watcher(Api::<EndpointSlice>::all(config.client), watcher::Config::default())
        .default_backoff()
        .reflect(slices_writer);
    tasks.spawn("dns-services", services.for_each(|event| async { note(event.err()) }));
    tasks.spawn("dns-endpoints", slices.for_each(|event| async { note(event.err()) }));
    tasks.spawn("dns", server.serve());
    Ok(())
}

/// A watch that fails is resumed by itself; the log says that answers may be old meanwhile.
fn note(error: Option<watcher::Error>) {
    if let Some(error) = error {
        tracing::warn!(%error, "watch failed; answers stay as last known until it is resumed");
    }
}
