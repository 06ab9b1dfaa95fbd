//! What of an object no controller reads, and the caches therefore do not keep.

use std::any::Any;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use kube::Resource;

/// Drops it.
pub(super) fn trim<K: Resource + 'static>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(pod) = (object as &mut dyn Any).downcast_mut::<Pod>() {
        trim_pod(pod);
    }
    // The images that a node has are most of it.
    if let Some(status) = (object as &mut dyn Any).downcast_mut::<Node>().and_then(|node| node.status.as_mut()) {
        status.images = None;
    }
}

/// A pod keeps its metadata, status, resources, ports, scheduling and those volumes that are claims.
fn trim_pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    containers.for_each(trim_container);
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
        volumes.shrink_to_fit();
    }
    spec.ephemeral_containers = None;
    spec.security_context = None;
    spec.dns_config = None;
    spec.host_aliases = None;
    spec.containers.shrink_to_fit();
}

fn trim_container(container: &mut Container) {
    container.args = None;
    container.command = None;
    container.env = None;
    container.env_from = None;
    container.lifecycle = None;
    container.liveness_probe = None;
    container.readiness_probe = None;
    container.startup_probe = None;
    container.security_context = None;
    container.volume_mounts = None;
    container.volume_devices = None;
    container.termination_message_path = None;
    container.termination_message_policy = None;
    container.working_dir = None;
}
