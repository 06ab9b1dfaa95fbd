//! What a client may leave out of a pod.

use apimachinery::quantity::Quantity;
use serde_json::{Map, Value, json};

use super::resources::{is_huge_page, requests_of_containers};
use crate::json::{
    default, default_int, default_text, each, entries, field, flag, has, map, object_at, set, some, text, with,
};

const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

/// Fills in a pod's own spec, or that of a template.
pub(crate) fn spec_defaults(spec: &mut Value) {
    account_names(spec);
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    if flag(spec, "hostNetwork") {
        for name in ["containers", "initContainers"] {
            each(spec, name, host_ports);
        }
    }
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", 30);
    default_text(spec, "schedulerName", "default-scheduler");
    for name in LISTS {
        each(spec, name, container_defaults);
    }
    each(spec, "volumes", volume_defaults);
    with(spec, "overhead", round_amounts);
    with(spec, "resources", resources_defaults);
}

/// The account has two names on the wire, of which the older one follows the newer.
fn account_names(spec: &mut Value) {
    let (name, old) = (text(spec, "serviceAccountName"), text(spec, "serviceAccount"));
    let name = if name.is_empty() { old } else { name }.to_owned();
    if !name.is_empty() {
        set(spec, "serviceAccount", name.as_str());
        set(spec, "serviceAccountName", name);
    }
}

/// Fills in what only a pod has, and no template: requests are what is allowed, where nothing less is asked for.
pub(crate) fn pod_defaults(spec: &mut Value) {
    for name in ["containers", "initContainers"] {
        each(spec, name, |container| with(container, "resources", requests_from_limits));
    }
    pod_requests(spec);
}

/// Fills in a pod's status.
pub(crate) fn status_defaults(status: &mut Value) {
    for name in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        each(status, name, |container| with(container, "allocatedResources", round_amounts));
    }
}

fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = map(resources, "limits").cloned() else { return };
    if let Some(requests) = object_at(resources, "requests") {
        for (name, value) in limits {
            default(requests, &name, value);
        }
    }
}

/// A whole pod that may use something asks for it: for what its containers do or, where they say nothing, for all that it may use.
fn pod_requests(spec: &mut Value) {
    let Some(resources) = some(spec, "resources") else { return };
    if !has(resources, "limits") && !has(resources, "requests") {
        return;
    }
    let supported = |name: &str| matches!(name, "cpu" | "memory") || is_huge_page(name);
    let sums = requests_of_containers(spec).into_iter().filter(|(name, _)| supported(name));
    let mut requests: Map<String, Value> = sums.map(|(name, sum)| (name, sum.canonical().into())).collect();
    for (name, limit) in entries(resources, "limits").filter(|(name, _)| supported(name)) {
        if !requests.contains_key(name) {
            requests.insert(name.clone(), limit.clone());
        }
    }
    with(spec, "resources", |resources| {
        if let Some(own) = object_at(resources, "requests") {
            for (name, value) in requests {
                default(own, &name, value);
            }
        }
    });
}

fn host_ports(container: &mut Value) {
    each(container, "ports", |port| {
        let number = field(port, "containerPort").as_i64().unwrap_or_default();
        if number != 0 {
            default_int(port, "hostPort", number);
        }
    });
}

fn container_defaults(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    default_text(container, "imagePullPolicy", policy);
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    with(container, "resources", resources_defaults);
    each(container, "ports", |port| default_text(port, "protocol", "TCP"));
    for name in super::probe::PROBES {
        with(container, name, probe_defaults);
    }
    with(container, "lifecycle", |lifecycle| {
        for name in ["postStart", "preStop"] {
            with(lifecycle, name, |handler| with(handler, "httpGet", http_defaults));
        }
    });
    each(container, "env", |variable| {
        with(variable, "valueFrom", |source| {
            with(source, "fieldRef", field_defaults);
            with(source, "fileKeyRef", |file| default(file, "optional", false));
        });
    });
}

/// Images that change are pulled each time: those whose tag is `latest`, also by default.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    let latest = match tag {
        Some(tag) => tag == "latest",
        None => digest.is_none() && is_image_name(name),
    };
    if latest { "Always" } else { "IfNotPresent" }
}

/// Whether an image's name can be read at all; one that cannot has no tag, not even by default.
fn is_image_name(name: &str) -> bool {
    let mut parts = name.split('/');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let is_host = !rest.is_empty() && (first.contains(['.', ':']) || first == "localhost");
    let component = |part: &str| {
        let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes.iter().all(|c| alphanumeric(*c) || matches!(c, b'.' | b'_' | b'-'))
    };
    let host =
        |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b':' | b'[' | b']'));
    (if is_host { host(first) } else { component(first) }) && rest.iter().all(|part| component(part))
}

fn probe_defaults(probe: &mut Value) {
    let numbers = [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)];
    for (name, value) in numbers {
        default_int(probe, name, value);
    }
    with(probe, "httpGet", http_defaults);
    with(probe, "grpc", |grpc| default(grpc, "service", ""));
}

fn http_defaults(get: &mut Value) {
    default_text(get, "path", "/");
    default_text(get, "scheme", "HTTP");
}

fn field_defaults(reference: &mut Value) {
    default_text(reference, "apiVersion", "v1");
}

fn resources_defaults(resources: &mut Value) {
    for name in ["limits", "requests"] {
        with(resources, name, round_amounts);
    }
}

/// Nothing is counted in less than thousandths.
pub(crate) fn round_amounts(amounts: &mut Value) {
    for value in amounts.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        if let Ok(mut amount) = Quantity::from_json(value)
            && !amount.round_up(-3)
        {
            *value = amount.canonical().into();
        }
    }
}

fn volume_defaults(volume: &mut Value) {
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        with(volume, source, |source| default(source, "defaultMode", 0o644));
    }
    with(volume, "downwardAPI", |source| each(source, "items", |file| with(file, "fieldRef", field_defaults)));
    with(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            with(source, "serviceAccountToken", |token| default(token, "expirationSeconds", 3600));
            with(source, "podCertificate", |certificate| default(certificate, "maxExpirationSeconds", 86400));
            with(source, "downwardAPI", |downward| {
                each(downward, "items", |file| with(file, "fieldRef", field_defaults));
            });
        });
    });
    plugin_defaults(volume);
    with(volume, "image", |image| {
        let policy = pull_policy(text(image, "reference"));
        default_text(image, "pullPolicy", policy);
    });
    with(volume, "ephemeral", |ephemeral| {
        with(ephemeral, "volumeClaimTemplate", |template| with(template, "spec", claim_defaults));
    });
    let empty =
        volume.as_object().is_some_and(|fields| fields.iter().all(|(name, value)| name == "name" || value.is_null()));
    if empty {
        default(volume, "emptyDir", json!({}));
    }
}

/// Fills in the claim of a template.
pub(crate) fn claim_defaults(spec: &mut Value) {
    default(spec, "volumeMode", "Filesystem");
    with(spec, "resources", resources_defaults);
}

/// Fills in volumes of storage systems, of pods and of PersistentVolumes.
pub(crate) fn plugin_defaults(volume: &mut Value) {
    with(volume, "hostPath", |path| default(path, "type", ""));
    with(volume, "iscsi", |iscsi| default_text(iscsi, "iscsiInterface", "default"));
    with(volume, "rbd", |rbd| {
        for (name, value) in [("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")] {
            default_text(rbd, name, value);
        }
    });
    with(volume, "azureDisk", |disk| {
        default(disk, "cachingMode", "ReadWrite");
        default(disk, "kind", "Shared");
        default(disk, "fsType", "ext4");
        default(disk, "readOnly", false);
    });
    with(volume, "scaleIO", |scale| {
        default_text(scale, "storageMode", "ThinProvisioned");
        default_text(scale, "fsType", "xfs");
    });
}
