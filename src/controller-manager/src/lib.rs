//! The controllers: one folder each, wiring and a pure plan.
//!
//! A controller is a client of the API under an identity of its own. It reads the shared caches ([`framework::Informers`]),
//! is woken by keys in a work queue ([`framework::Queue`]), decides in a pure function (`plan.rs`) and writes through
//! [`framework::Objects`], whose answers enter the caches at once: no decision is ever made on a cache that is older than
//! the controller's own writes, so nothing is created twice. Nothing makes progress by a timer; time is only waited for where
//! the API speaks of time (deadlines, schedules, back-off).

mod bootstrapsigner;
mod bootstraptoken;
mod certificates;
mod clusterroleaggregation;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod ephemeralvolume;
pub mod framework;
mod garbagecollector;
mod hash;
mod history;
mod inventory;
mod job;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod nodes;
mod persistentvolume;
mod podautoscaler;
mod podgc;
pub mod pods;
mod preconditions;
mod pvcprotection;
mod pvprotection;
mod replicaset;
mod resourceclaim;
mod resourcequota;
mod revisions;
mod rootcacertpublisher;
mod serviceaccount;
mod serviceaccounttoken;
mod servicecidr;
mod statefulset;
mod tainteviction;
mod ttl;
mod ttlafterfinished;
mod vacprotection;

use std::sync::Arc;

use component_base::{SharedClock, SharedEntropy, Tasks};

use crate::framework::{Clients, Context};
pub use crate::{certificates::CertificateSigner, nodeipam::PodRange};

/// What the controllers need.
#[derive(Clone)]
pub struct Config {
    /// How they see and change the cluster.
    pub clients: Clients,
    /// What time it is.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// The authority of the API server's certificate, in PEM: what pods find in `kube-root-ca.crt`.
    pub root_ca: String,
    /// The addresses of all pods, of which each node gets a part; `None` where somebody else gives them out.
    pub pod_range: Option<PodRange>,
    /// Signs what certificate requests ask for; `None` where somebody else does.
    pub signer: Option<Arc<dyn CertificateSigner>>,
}

/// Starts all controllers; they run until `tasks` stops.
pub async fn run(config: Config, tasks: &Tasks) {
    let (pod_range, signer) = (config.pod_range.clone(), config.signer.clone());
    let context = Context::new(config, tasks);
    replicaset::start(&context);
    deployment::start(&context);
    statefulset::start(&context);
    daemonset::start(&context);
    job::start(&context);
    cronjob::start(&context);
    serviceaccount::start(&context);
    rootcacertpublisher::start(&context);
    endpoints::start(&context);
    endpointslice::start(&context);
    endpointslicemirroring::start(&context);
    nodelifecycle::start(&context);
    tainteviction::start(&context);
    let inventory = inventory::Inventory::start(&context);
    garbagecollector::start(&context, &inventory);
    namespace::start(&context, &inventory);
    bootstraptoken::start(&context);
    bootstrapsigner::start(&context);
    serviceaccounttoken::start(&context);
    persistentvolume::start(&context);
    ephemeralvolume::start(&context);
    pvcprotection::start(&context);
    pvprotection::start(&context);
    clusterroleaggregation::start(&context);
    ttl::start(&context);
    resourcequota::start(&context, &inventory);
    podgc::start(&context);
    ttlafterfinished::start(&context);
    disruption::start(&context, &inventory);
    podautoscaler::start(&context, &inventory);
    resourceclaim::start(&context);
    servicecidr::start(&context);
    vacprotection::start(&context);
    if let Some(range) = pod_range {
        nodeipam::start(&context, range);
    }
    if let Some(signer) = signer {
        certificates::start(&context, signer);
    }
}
