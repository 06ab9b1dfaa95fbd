//! Kinds of the core group.

pub(crate) mod claim_spec;
pub(crate) mod config_map;
mod endpoints;
pub(crate) mod event;
mod limit_range;
mod namespace;
mod node;
pub(crate) mod persistent_volume;
mod persistent_volume_claim;
pub(crate) mod pod;
pub(crate) mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
pub(crate) mod service;
mod service_account;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Pod" => &pod::Pod,
        "PodTemplate" => &pod_template::PodTemplate,
        "ReplicationController" => &replication_controller::ReplicationController,
        "LimitRange" => &limit_range::LimitRange,
        "ResourceQuota" => &resource_quota::ResourceQuota,
        "Namespace" => &namespace::Namespace,
        "Node" => &node::Node,
        "Service" => &service::Service,
        "ServiceAccount" => &service_account::ServiceAccount,
        "ConfigMap" => &config_map::ConfigMap,
        "Secret" => &secret::Secret,
        "Endpoints" => &endpoints::Endpoints,
        "Event" => &event::CORE,
        "PersistentVolume" => &persistent_volume::PersistentVolume,
        "PersistentVolumeClaim" => &persistent_volume_claim::PersistentVolumeClaim,
        _ => return None,
    })
}
