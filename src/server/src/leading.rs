//! What runs where the leader is: controllers, scheduler, and what one server does for all.
//!
//! Whatever they write is refused as soon as this server does not lead any more in the term that they were started in, so
//! that two of them never act at once. There are no leases to renew.

use std::{net::SocketAddr, sync::Arc};

use apiserver::ApiServer;
use auth::{ClusterCa, UserInfo};
use component_base::{SharedClock, Tasks};
use controller_manager::{CertificateSigner, PodRange, framework::Clients};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use raft::RaftStore;
use serde_json::json;

use crate::{Config, Network, nth_address};

/// The ConfigMap in `kube-public` by which nodes know the cluster.
const FACTS: &str = "coracle-cluster";
/// Which address of the Services' range is the name server's.
const DNS_ADDRESS: u32 = 10;

/// Runs the controllers whenever this server leads, until `tasks` stop.
pub async fn lead(api: ApiServer, store: RaftStore, config: Config, ca: Arc<ClusterCa>, tasks: Tasks) {
    let stopping = tasks.stopping();
    let mut leadership = store.leadership();
    loop {
        let term = tokio::select! {
            term = leadership.wait_for(Option::is_some) => term.ok().and_then(|term| *term),
            () = stopping.cancelled() => None,
        };
        let Some(term) = term else { return };
        tracing::info!(term, "this server leads");
        let own = Tasks::new();
        let fenced = api.writing_to(store.fenced(term));
        fenced.keep_house(&own);
        own.spawn("advertise", advertise(fenced.clone(), store.clone()));
        own.spawn("facts", tell_facts(fenced.clone(), config.network.clone()));
        start(&fenced, &config, &ca, &own).await;
        tokio::select! {
            // An error means that the store is closed.
            _ = leadership.wait_for(|now| *now != Some(term)) => tracing::info!(term, "this server does not lead any more"),
            () = stopping.cancelled() => {}
        }
        own.drain().await;
    }
}

/// Keeps the Service `kubernetes` pointed at the members.
async fn advertise(api: ApiServer, store: RaftStore) {
    let mut changes = store.membership();
    loop {
        let members = changes.borrow_and_update().clone();
        let addresses: Vec<SocketAddr> =
            members.iter().filter_map(|member| member.server.api_address.parse().ok()).collect();
        if let Err(error) = api.advertise(&addresses).await {
            tracing::warn!(%error, "the Service kubernetes cannot be brought up to date now");
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Tells nodes what they need to know of the cluster, in a ConfigMap that whoever joins may read.
async fn tell_facts(api: ApiServer, network: Network) {
    let admin = UserInfo {
        name: "system:apiserver".to_owned(),
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        ..UserInfo::default()
    };
    let client = kube::Client::new(api.client_for(admin), "default");
    let Ok(dns) = nth_address(&network.service_cidr, DNS_ADDRESS) else { return };
    let facts = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FACTS, "namespace": "kube-public"},
        "data": {"clusterDNS": dns.to_string(), "clusterDomain": network.domain, "clusterCIDR": network.cluster_cidr},
    });
    let maps = Api::<ConfigMap>::namespaced(client, "kube-public");
    if let Err(error) = maps.patch(FACTS, &PatchParams::apply("coracle").force(), &Patch::Apply(facts)).await {
        tracing::warn!(%error, "the ConfigMap kube-public/{FACTS} cannot be written");
    }
}

/// Controllers and scheduler, as clients of this process's API server.
async fn start(api: &ApiServer, config: &Config, ca: &Arc<ClusterCa>, tasks: &Tasks) {
    let entry = api.clone();
    let as_user = move |name: String, groups: Vec<String>| {
        kube::Client::new(entry.client_for(UserInfo { name, groups, ..UserInfo::default() }), "default")
    };
    let authenticated = vec!["system:authenticated".to_owned()];
    let client = as_user("system:kube-scheduler".to_owned(), authenticated);
    let controllers = controller_manager::Config {
        clients: Clients::new(move |identity| as_user(identity.name, identity.groups)),
        clock: config.clock.clone(),
        entropy: config.entropy.clone(),
        root_ca: ca.certificate_pem().to_owned(),
        pod_range: Some(PodRange {
            cluster_cidr: config.network.cluster_cidr.clone(),
            node_bits: config.network.node_mask,
        }),
        signer: Some(Arc::new(Signer { ca: ca.clone(), clock: config.clock.clone() })),
    };
    controller_manager::run(controllers, tasks).await;
    scheduler::run(scheduler::Config { client }, tasks).await;
}

/// The cluster's authority, as the certificate controllers use it.
struct Signer {
    ca: Arc<ClusterCa>,
    clock: SharedClock,
}

impl CertificateSigner for Signer {
    fn sign(&self, request: &str, usages: &[String], seconds: Option<i64>) -> Result<String, String> {
        self.ca.sign_request(request, usages, seconds, self.clock.now()).map_err(|error| error.to_string())
    }
}
