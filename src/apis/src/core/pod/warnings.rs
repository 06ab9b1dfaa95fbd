//! What a pod or a template may say and had better not.

use std::collections::HashMap;

use apimachinery::{field::Path, gotext, names};
use serde_json::Value;

use super::{
    affinity::{PREFERRED, REQUIRED},
    resources::quantity,
};
use crate::{
    ip,
    json::{field, has, int, list, some, text},
};

/// Volumes that are no longer there, and what is said of them.
const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
/// Labels of nodes that have other names now.
const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];
/// Annotations that nothing reads any more.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("seccomp.security.alpha.kubernetes.io/pod", "non-functional in v1.27+; use the \"seccompProfile\" field instead"),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Warnings about a pod.
pub(crate) fn pod_warnings(pod: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if old.is_none() {
        let name = text(field(pod, "metadata"), "name");
        let problems = names::is_dns1123_label(name);
        if !name.is_empty() && !problems.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                problems.join(" ")
            ));
        }
    }
    spec_warnings(&Path::root(), pod, warnings);
}

/// The warning about a workload whose name becomes part of its pods' names.
pub(crate) fn names_warning(object: &Value, warnings: &mut Vec<String>) {
    let name = text(field(object, "metadata"), "name");
    let problems = names::is_dns1123_label(name);
    if !problems.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
}

/// Warnings about the spec and the metadata of the pod or template at `path`.
pub(crate) fn spec_warnings(path: &Path, pod: &Value, warnings: &mut Vec<String>) {
    let spec = field(pod, "spec");
    let annotations = field(field(pod, "metadata"), "annotations");
    let spec_path = path.child("spec");
    for (key, _) in spec.get("nodeSelector").and_then(Value::as_object).into_iter().flatten() {
        old_label(&spec_path.child("nodeSelector").key(key), key, warnings);
    }
    affinity_warnings(&spec_path.child("affinity"), field(spec, "affinity"), warnings);
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = spec_path.child("topologySpreadConstraints").index(index);
        old_label(&path.child("topologyKey"), text(constraint, "topologyKey"), warnings);
        null_selector(&path, constraint, warnings);
    }
    for (key, why) in OLD_ANNOTATIONS.iter().filter(|(key, _)| has(annotations, key)) {
        warnings.push(format!("{}: {why}", path.child("metadata").child("annotations").key(key)));
    }
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = spec_path.child("volumes").index(index);
        for (_, word, why) in OLD_VOLUMES.iter().filter(|(name, _, _)| has(volume, name)) {
            warnings.push(format!("{}: {why}", path.child(word)));
        }
        for source in list(field(volume, "projected"), "sources") {
            if source.as_object().is_none_or(|source| source.values().all(Value::is_null)) {
                let name = gotext::quote(text(volume, "name"));
                warnings.push(format!("volume {name} (Projected) has no sources provided"));
            }
        }
    }
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = spec_path.child("hostAliases").index(index).child("ip");
        let address = text(alias, "ip");
        if list(spec, "hostAliases")[..index].iter().any(|other| text(other, "ip") == address) {
            warnings.push(format!("{path}: duplicate ip {}", gotext::quote(address)));
        }
        ip::warn(&path, address, warnings);
    }
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        let path = spec_path.child("imagePullSecrets").index(index).child("name");
        let name = text(secret, "name");
        if name.is_empty() {
            warnings.push(format!("{path}: invalid empty name \"\""));
        } else if list(spec, "imagePullSecrets")[..index].iter().any(|other| text(other, "name") == name) {
            warnings.push(format!("{path}: duplicate name {}", gotext::quote(name)));
        }
    }
    for name in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, name).iter().enumerate() {
            container_warnings(&spec_path.child(name).index(index), container, warnings);
        }
    }
    amount_warnings(&spec_path.child("overhead"), field(spec, "overhead"), warnings);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = spec_path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    for (index, server) in list(field(spec, "dnsConfig"), "nameservers").iter().enumerate() {
        let path = spec_path.child("dnsConfig").child("nameservers").index(index);
        ip::warn(&path, server.as_str().unwrap_or_default(), warnings);
    }
}

fn old_label(path: &Path, key: &str, warnings: &mut Vec<String>) {
    if let Some((_, why)) = OLD_LABELS.iter().find(|(old, _)| *old == key) {
        warnings.push(format!("{path}: {why}"));
    }
}

fn null_selector(path: &Path, term: &Value, warnings: &mut Vec<String>) {
    if !has(term, "labelSelector") {
        warnings.push(format!("{}: a null labelSelector results in matching no pod", path.child("labelSelector")));
    }
}

fn affinity_warnings(path: &Path, affinity: &Value, warnings: &mut Vec<String>) {
    let node = field(affinity, "nodeAffinity");
    let node_path = path.child("nodeAffinity");
    let terms = |path: Path, term: &Value, warnings: &mut Vec<String>| {
        for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
            let path = path.child("matchExpressions").index(index).child("key");
            old_label(&path, text(expression, "key"), warnings);
        }
    };
    for (index, term) in list(field(node, REQUIRED), "nodeSelectorTerms").iter().enumerate() {
        terms(node_path.child(REQUIRED).child("nodeSelectorTerms").index(index), term, warnings);
    }
    for (index, term) in list(node, PREFERRED).iter().enumerate() {
        terms(node_path.child(PREFERRED).index(index).child("preference"), field(term, "preference"), warnings);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = field(affinity, kind);
        for (index, term) in list(pods, REQUIRED).iter().enumerate() {
            null_selector(&path.child(kind).child(REQUIRED).index(index), term, warnings);
        }
        for (index, term) in list(pods, PREFERRED).iter().enumerate() {
            let path = path.child(kind).child(PREFERRED).index(index).child("podAffinityTerm");
            null_selector(&path, field(term, "podAffinityTerm"), warnings);
        }
    }
}

fn container_warnings(path: &Path, container: &Value, warnings: &mut Vec<String>) {
    let mut seen: HashMap<&str, bool> = HashMap::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let refers = value.contains(&format!("$({name})"));
        if seen.contains_key(name) && !refers {
            let path = path.child("env").index(index);
            let name = gotext::quote(name);
            warnings
                .push(format!("{path}: hides previous definition of {name}, which may be dropped when using apply"));
        }
        seen.insert(name, refers);
    }
    for kind in ["limits", "requests"] {
        amount_warnings(&path.child("resources").child(kind), field(field(container, "resources"), kind), warnings);
    }
    port_warnings(&path.child("ports"), list(container, "ports"), warnings);
}

/// Bytes come whole.
fn amount_warnings(path: &Path, amounts: &Value, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let Some(amount) = some(amounts, name).and_then(quantity) else { continue };
        if amount.milli_value() % 1000 != 0 {
            let (path, shown) = (path.key(name), gotext::quote(&amount.canonical()));
            warnings.push(format!("{path}: fractional byte value {shown} is invalid, must be an integer"));
        }
    }
}

fn port_warnings(path: &Path, ports: &[Value], warnings: &mut Vec<String>) {
    for (index, port) in ports.iter().enumerate() {
        let at = path.index(index);
        let [number, host] = ["containerPort", "hostPort"].map(|name| int(port, name).unwrap_or_default());
        let [protocol, address, name] = ["protocol", "hostIP", "name"].map(|name| text(port, name));
        let same = |other: &&Value| {
            int(other, "containerPort").unwrap_or_default() == number && text(other, "protocol") == protocol
        };
        let conflicts =
            |other: &Value| int(other, "hostPort").unwrap_or_default() == host && text(other, "hostIP") == address;
        if let Some((before, other)) = ports[..index].iter().enumerate().find(|(_, other)| same(other)) {
            let before = path.index(before);
            if conflicts(other) {
                warnings.push(format!("{at}: duplicate port definition with {before}"));
            } else if host == 0 || int(other, "hostPort").unwrap_or_default() == 0 {
                warnings.push(format!("{at}: overlapping port definition with {before}"));
            }
        }
        if host == 0 && !address.is_empty() {
            warnings.push(format!(
                "{at}: hostIP set without hostPort: {{Name:{name} HostPort:{host} ContainerPort:{number} Protocol:{protocol} HostIP:{address}}}"
            ));
        }
    }
}
