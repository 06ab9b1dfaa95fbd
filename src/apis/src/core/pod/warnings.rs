//! What a pod or a template may say and had better not.

use std::collections::{HashMap, HashSet};

use apimachinery::{field::Path, gotext, names};
use serde_json::Value;

use super::{
    affinity::{PREFERRED, REQUIRED},
    resources::quantity,
};
use crate::{
    ip,
    json::{entries, field, has, int, list, some, text},
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
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
/// Annotations that nothing reads any more.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Resources that are bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

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

/// Warnings about the spec and the metadata of the pod or, where `path` is not the root, of the template at `path`.
pub(crate) fn spec_warnings(path: &Path, pod: &Value, warnings: &mut Vec<String>) {
    let spec = field(pod, "spec");
    let annotations = field(field(pod, "metadata"), "annotations");
    let annotations_path = path.child("metadata").child("annotations");
    let is_template = !path.as_str().is_empty();
    let path = &path.child("spec");
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some(why) = old_label(key) {
            warnings.push(format!("{}: {why}", path.child("nodeSelector").key(key)));
        }
    }
    node_affinity_warnings(&path.child("affinity").child("nodeAffinity"), field(spec, "affinity"), warnings);
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = text(constraint, "topologyKey");
        if let Some(why) = old_label(key) {
            warnings.push(format!("{}: {key} is {why}", path.child("topologyKey")));
        }
        null_selector(&path, constraint, warnings);
    }
    for (key, why) in OLD_ANNOTATIONS.iter().filter(|(key, _)| has(annotations, key)) {
        warnings.push(format!("{}: {why}", annotations_path.key(key)));
    }
    volume_warnings(&path.child("volumes"), list(spec, "volumes"), warnings);
    let aliases = list(spec, "hostAliases");
    for (index, address) in duplicates(aliases, "ip") {
        let path = path.child("hostAliases").index(index).child("ip");
        warnings.push(format!("{path}: duplicate ip {}", gotext::quote(address)));
    }
    let secrets = list(spec, "imagePullSecrets");
    let secret_path = |index| path.child("imagePullSecrets").index(index).child("name");
    for (index, name) in duplicates(secrets, "name") {
        warnings.push(format!("{}: duplicate name {}", secret_path(index), gotext::quote(name)));
    }
    for (index, _) in secrets.iter().enumerate().filter(|(_, secret)| text(secret, "name").is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", secret_path(index)));
    }
    for name in BYTES {
        amount_warning(&path.child("overhead"), field(spec, "overhead"), name, warnings);
    }
    let profiles = Profiles { annotations, path: &annotations_path, pod: field(spec, "securityContext"), is_template };
    profiles.warn_of_pod(warnings);
    let containers: Vec<_> = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|name| {
            let path = path.child(name);
            list(spec, name).iter().enumerate().map(move |(index, container)| (path.index(index), container))
        })
        .collect();
    for (path, container) in &containers {
        profiles.warn_of_container(container, warnings);
        container_warnings(path, container, warnings);
    }
    port_warnings(&containers, warnings);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity_warnings(&path.child("affinity"), field(spec, "affinity"), warnings);
    for (index, server) in list(field(spec, "dnsConfig"), "nameservers").iter().enumerate() {
        let path = path.child("dnsConfig").child("nameservers").index(index);
        ip::warn(&path, server.as_str().unwrap_or_default(), warnings);
    }
    for (index, alias) in aliases.iter().enumerate() {
        ip::warn(&path.child("hostAliases").index(index).child("ip"), text(alias, "ip"), warnings);
    }
}

/// Items of a list whose text `name` an earlier one has.
fn duplicates<'a>(items: &'a [Value], name: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let mut seen = HashSet::new();
    items.iter().map(move |item| text(item, name)).enumerate().filter(move |(_, value)| !seen.insert(*value))
}

fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(old, _)| *old == key).map(|(_, why)| *why)
}

fn null_selector(path: &Path, term: &Value, warnings: &mut Vec<String>) {
    if !has(term, "labelSelector") {
        warnings.push(format!("{}: a null labelSelector results in matching no pod", path.child("labelSelector")));
    }
}

fn node_affinity_warnings(path: &Path, affinity: &Value, warnings: &mut Vec<String>) {
    let node = field(affinity, "nodeAffinity");
    for (index, term) in list(field(node, REQUIRED), "nodeSelectorTerms").iter().enumerate() {
        node_term_warnings(&path.child(REQUIRED).child("nodeSelectorTerms").index(index), term, false, warnings);
    }
    for (index, term) in list(node, PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(index).child("preference");
        node_term_warnings(&path, field(term, "preference"), true, warnings);
    }
}

fn node_term_warnings(path: &Path, term: &Value, with_values: bool, warnings: &mut Vec<String>) {
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let key = text(expression, "key");
        if let Some(why) = old_label(key) {
            warnings.push(format!("{}: {key} is {why}", path.child("key")));
        }
        for (index, value) in list(expression, "values").iter().enumerate().filter(|_| with_values) {
            let value = value.as_str().unwrap_or_default();
            for why in names::is_label_value(value) {
                warnings.push(format!("{}: {value} is invalid, {why}", path.child("values").index(index)));
            }
        }
    }
}

fn pod_affinity_warnings(path: &Path, affinity: &Value, warnings: &mut Vec<String>) {
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

fn volume_warnings(path: &Path, volumes: &[Value], warnings: &mut Vec<String>) {
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        for (_, word, why) in OLD_VOLUMES.iter().filter(|(name, _, _)| has(volume, name)) {
            warnings.push(format!("{}: {why}", path.child(word)));
        }
        let claim = field(field(field(volume, "ephemeral"), "volumeClaimTemplate"), "spec");
        let claim_path = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
        claim_warnings(&claim_path, claim, warnings);
    }
    for volume in volumes {
        for source in list(field(volume, "projected"), "sources") {
            if source.as_object().is_none_or(|source| source.values().all(Value::is_null)) {
                let name = gotext::quote(text(volume, "name"));
                warnings.push(format!("volume {name} (Projected) has no sources provided"));
            }
        }
    }
}

/// Warnings about the spec of a claim: bytes come whole.
pub(crate) fn claim_warnings(path: &Path, spec: &Value, warnings: &mut Vec<String>) {
    let resources = field(spec, "resources");
    for kind in ["requests", "limits"] {
        amount_warning(&path.child("resources").child(kind), field(resources, kind), "storage", warnings);
    }
}

/// What is said of profiles in annotations that have no fields beside them.
struct Profiles<'a> {
    annotations: &'a Value,
    path: &'a Path,
    /// The pod's security context.
    pod: &'a Value,
    is_template: bool,
}

impl Profiles<'_> {
    const SECCOMP: &'static str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    const APP_ARMOR: &'static str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

    fn warn_of_pod(&self, warnings: &mut Vec<String>) {
        let key = "seccomp.security.alpha.kubernetes.io/pod";
        if !has(self.pod, "seccompProfile") && has(self.annotations, key) {
            warnings.push(format!("{}: {}", self.path.key(key), Self::SECCOMP));
        }
    }

    fn warn_of_container(&self, container: &Value, warnings: &mut Vec<String>) {
        if self.annotations.is_null() {
            return;
        }
        let (context, name) = (field(container, "securityContext"), text(container, "name"));
        let mut warn = |prefix: &str, why: &str| {
            let key = format!("{prefix}{name}");
            if has(self.annotations, &key) {
                warnings.push(format!("{}: {why}", self.path.key(&key)));
            }
        };
        if !has(context, "seccompProfile") {
            warn("container.seccomp.security.alpha.kubernetes.io/", Self::SECCOMP);
        }
        if self.is_template && !has(self.pod, "appArmorProfile") && !has(context, "appArmorProfile") {
            warn("container.apparmor.security.beta.kubernetes.io/", Self::APP_ARMOR);
        }
    }
}

fn container_warnings(path: &Path, container: &Value, warnings: &mut Vec<String>) {
    let resources = field(container, "resources");
    for name in BYTES {
        for kind in ["limits", "requests"] {
            amount_warning(&path.child("resources").child(kind), field(resources, kind), name, warnings);
        }
    }
    let variables = list(container, "env");
    for (index, name) in duplicates(variables, "name") {
        let variable = &variables[index];
        let (value, reference) = (text(variable, "value"), format!("$({name})"));
        // A value that adds to the one before is meant.
        if has(variable, "valueFrom") || value == reference || !value.contains(&reference) {
            let (path, name) = (path.child("env").index(index), gotext::quote(name));
            warnings
                .push(format!("{path}: hides previous definition of {name}, which may be dropped when using apply"));
        }
    }
}

/// Bytes come whole.
fn amount_warning(path: &Path, amounts: &Value, name: &str, warnings: &mut Vec<String>) {
    let amount = some(amounts, name).and_then(quantity).filter(|amount| amount.milli_value() % 1000 != 0);
    if let Some(amount) = amount {
        let (path, shown) = (path.key(name), gotext::quote(&amount.canonical()));
        warnings.push(format!("{path}: fractional byte value {shown} is invalid, must be an integer"));
    }
}

/// Ports that stand in each other's way, of all containers.
fn port_warnings(containers: &[(Path, &Value)], warnings: &mut Vec<String>) {
    let mut seen: HashMap<(i64, &str), Vec<(Path, &Value)>> = HashMap::new();
    for (path, container) in containers {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let path = path.child("ports").index(index);
            let number = |port, name| int(port, name).unwrap_or_default();
            let [own, host] = ["containerPort", "hostPort"].map(|name| number(port, name));
            let [protocol, address, name] = ["protocol", "hostIP", "name"].map(|name| text(port, name));
            if host == 0 && !address.is_empty() {
                warnings.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{name} HostPort:{host} ContainerPort:{own} \
                     Protocol:{protocol} HostIP:{address}}}"
                ));
            }
            let others = seen.entry((own, protocol)).or_default();
            for (before, other) in others.iter() {
                let (other_host, other_address) = (number(other, "hostPort"), text(other, "hostIP"));
                let how = if address == other_address && host == other_host {
                    "duplicate"
                } else if host == 0 || other_host == 0 {
                    "overlapping"
                } else if host == other_host && address.is_empty() != other_address.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{path}: {how} port definition with {before}"));
            }
            others.push((path, port));
        }
    }
}
