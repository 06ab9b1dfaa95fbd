//! Updates of a pod's status, which its kubelet and the scheduler send.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use super::annotations;
use crate::{
    checks, ip,
    json::{each, field, has, int, keep, list, set, some, take, text, with},
};

/// Conditions of Kubernetes' own.
const SYSTEM_CONDITIONS: &[&str] =
    &["PodScheduled", "Ready", "Initialized", "ContainersReady", "PodReadyToStartContainers", "DisruptionTarget"];

/// Statuses of a pod's containers, by kind.
const STATUSES: &[&str] = &["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];

/// Keeps what a status update cannot change, and makes the two forms of a pod's addresses agree.
pub(crate) fn prepare(new: &mut Value, old: &Value) {
    if let (Some(_), Some(metadata)) = (old.get("metadata"), new.get_mut("metadata")) {
        // Old kubelets send owners that they have not understood.
        keep(metadata, field(old, "metadata"), "ownerReferences");
        // Nor does a status end a pod.
        keep(metadata, field(old, "metadata"), "deletionTimestamp");
    }
    let quality = text(field(old, "status"), "qosClass").to_owned();
    with(new, "status", |status| {
        if text(status, "qosClass").is_empty() && !quality.is_empty() {
            set(status, "qosClass", quality);
        }
        agree_on_addresses(status);
        // How a volume is, is not told yet.
        for name in STATUSES {
            each(status, name, |container| {
                each(container, "volumeMounts", |mount| take(mount, "volumeStatus"));
            });
        }
        if !has(field(old, "status"), "nodeAllocatableResourceClaimStatuses") {
            take(status, "nodeAllocatableResourceClaimStatuses");
        }
    });
}

/// Where the one address differs from the first of all, it is the one that holds, as old kubelets know no other.
fn agree_on_addresses(status: &mut Value) {
    let one = text(status, "podIP").to_owned();
    let first = list(status, "podIPs").first().map(|address| text(address, "ip").to_owned());
    match first {
        None if one.is_empty() => {}
        Some(first) if one.is_empty() => set(status, "podIP", first),
        Some(first) if first == one => {}
        _ => set(status, "podIPs", json!([{"ip": one}])),
    }
}

/// Checks an update of the status.
pub(crate) fn check_update(errors: &mut ErrorList, new: &Value, old: &Value) {
    annotations::check_update(errors, new, old);
    let path = Path::new("status");
    let (spec, old_spec) = (field(new, "spec"), field(old, "spec"));
    let (status, old_status) = (field(new, "status"), field(old, "status"));
    check_conditions(errors, &path.child("conditions"), list(status, "conditions"));
    if text(spec, "nodeName") != text(old_spec, "nodeName") {
        errors.push(FieldError::forbidden(&path.child("nodeName"), "may not be changed directly"));
    }
    let nominated = text(status, "nominatedNodeName");
    if nominated != text(old_status, "nominatedNodeName") && !nominated.is_empty() {
        checks::dns_subdomain(errors, &path.child("nominatedNodeName"), nominated);
    }
    checks::immutable_text(errors, &path.child("qosClass"), status, old_status, "qosClass");
    for name in STATUSES {
        check_transition(errors, &path.child(name), list(status, name), list(old_status, name), old_spec, name);
    }
    check_claims(errors, &path.child("resourceClaimStatuses"), status, spec);
    check_extended_claim(errors, &path.child("extendedResourceClaimStatus"), status, spec);
    check_addresses(errors, &path.child("podIPs"), list(status, "podIPs"), list(old_status, "podIPs"), false);
    let host_path = path.child("hostIPs");
    let host = list(status, "hostIPs");
    if let Some(first) = host.first().filter(|first| text(first, "ip") != text(status, "hostIP")) {
        let path = host_path.index(0).child("ip");
        errors.push(FieldError::invalid(&path, text(first, "ip"), "must be equal to `hostIP`"));
    }
    check_addresses(errors, &host_path, host, list(old_status, "hostIPs"), true);
    for name in STATUSES {
        check_users(errors, &path.child(name), list(status, name), spec);
    }
    for (name, of) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        check_devices(errors, &path.child(name), list(status, name), list(spec, of));
    }
    for (index, container) in list(status, STATUSES[2]).iter().enumerate() {
        if !list(container, "allocatedResourcesStatus").is_empty() {
            let path = path.child(STATUSES[2]).index(index).child("allocatedResourcesStatus");
            errors.push(FieldError::forbidden(&path, "must not be specified in container status"));
        }
    }
}

fn check_conditions(errors: &mut ErrorList, path: &Path, conditions: &[Value]) {
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        checks::non_negative(errors, &path.child("observedGeneration"), int(condition, "observedGeneration"));
        let kind = text(condition, "type");
        if !SYSTEM_CONDITIONS.contains(&kind) {
            checks::label_name(errors, &path.child("Type"), kind);
        }
    }
}

/// A container that has ended for good does not run again.
fn check_transition(errors: &mut ErrorList, path: &Path, new: &[Value], old: &[Value], spec: &Value, list_name: &str) {
    let policy = text(spec, "restartPolicy");
    if policy == "Always" && list_name == "containerStatuses" || list_name == "ephemeralContainerStatuses" {
        return;
    }
    let spec_list = if list_name == "containerStatuses" { "containers" } else { "initContainers" };
    for (index, before) in old.iter().enumerate() {
        let name = text(before, "name");
        let Some(ended) = some(field(before, "state"), "terminated") else { continue };
        let failed = int(ended, "exitCode").unwrap_or_default() != 0;
        let container = list(spec, spec_list).iter().find(|container| text(container, "name") == name);
        let own = container.map_or("", |container| text(container, "restartPolicy"));
        let rules = container.is_some_and(|container| !list(container, "restartPolicyRules").is_empty());
        let again = match own {
            "Always" => true,
            "OnFailure" => failed,
            "Never" => rules,
            _ if list_name == "initContainerStatuses" => failed && policy != "Never",
            _ => rules || (failed && policy == "OnFailure"),
        };
        if again {
            continue;
        }
        for after in new.iter().filter(|after| text(after, "name") == name) {
            if !has(field(after, "state"), "terminated") {
                let why = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(&path.index(index).child("state"), why));
            }
        }
    }
}

fn check_claims(errors: &mut ErrorList, path: &Path, status: &Value, spec: &Value) {
    let mut seen = HashSet::new();
    for (index, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let path = path.index(index).child("name");
        let name = text(claim, "name");
        if !list(spec, "resourceClaims").iter().any(|claim| text(claim, "name") == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, why));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(object) = some(claim, "resourceClaimName").and_then(Value::as_str) {
            checks::dns_subdomain(errors, &path, object);
        }
    }
}

fn check_extended_claim(errors: &mut ErrorList, path: &Path, status: &Value, spec: &Value) {
    let Some(claim) = some(status, "extendedResourceClaimStatus") else { return };
    let mappings = list(claim, "requestMappings");
    let mappings_path = path.child("requestMappings");
    if mappings.is_empty() {
        errors.push(FieldError::required(&mappings_path, "at least one request mapping is required"));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let name = text(mapping, "containerName");
        let mut all = ["initContainers", "containers"].into_iter().flat_map(|name| list(spec, name));
        if !all.any(|container| text(container, "name") == name) {
            let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
            errors.push(FieldError::invalid(&mappings_path.index(index).child("containerName"), name, why));
        }
        checks::dns_label(errors, &path.child("requestName"), text(mapping, "requestName"));
    }
    let name = text(claim, "resourceClaimName");
    if checks::required(errors, &path.child("resourceClaimName"), name) {
        checks::invalid(errors, &path.child("resourceClaimName"), name, names::is_dns1123_subdomain(name));
    }
}

/// Addresses: one of each family at most, and none twice.
fn check_addresses(errors: &mut ErrorList, path: &Path, addresses: &[Value], stored: &[Value], of_host: bool) {
    let stored: Vec<_> = stored.iter().map(|address| text(address, "ip")).collect();
    for (index, address) in addresses.iter().enumerate() {
        ip::check_legacy(errors, &path.index(index), text(address, "ip"), &stored);
    }
    if addresses.len() < 2 {
        return;
    }
    let duplicates = |errors: &mut ErrorList| {
        let mut seen = HashSet::new();
        for (index, address) in addresses.iter().enumerate() {
            let ip = text(address, "ip");
            if !seen.insert(ip) {
                errors.push(FieldError::duplicate(&path.index(index), json!({"IP": ip})));
            }
        }
    };
    if of_host {
        duplicates(errors);
    }
    let six = addresses.iter().filter(|address| ip::is_v6(text(address, "ip"))).count();
    if six != 1 || addresses.len() > 2 {
        let shown: Vec<_> = addresses.iter().map(|address| json!({"IP": text(address, "ip")})).collect();
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, shown, why));
    }
    if !of_host {
        duplicates(errors);
    }
}

/// As whom containers run.
fn check_users(errors: &mut ErrorList, path: &Path, containers: &[Value], spec: &Value) {
    let windows = text(field(spec, "os"), "name") == "windows";
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index).child("linux");
        let Some(user) = some(field(container, "user"), "linux") else { continue };
        if windows {
            errors.push(FieldError::forbidden(&path, "cannot be set for a windows pod"));
            continue;
        }
        for name in ["uid", "gid"] {
            let id = int(user, name).unwrap_or_default();
            checks::invalid(errors, &path.child(name), id, names::is_valid_user_id(id));
        }
        for (index, group) in list(user, "supplementalGroups").iter().enumerate() {
            let group = group.as_i64().unwrap_or_default();
            let problems = names::is_valid_user_id(group);
            checks::invalid(errors, &path.child("supplementalGroups").index(index), group, problems);
        }
    }
}

/// How the devices of containers are, which are those that the containers asked for.
fn check_devices(errors: &mut ErrorList, path: &Path, statuses: &[Value], containers: &[Value]) {
    for (index, status) in statuses.iter().enumerate() {
        // A status may be of a container that is not there.
        let container = containers.iter().find(|container| text(container, "name") == text(status, "name"));
        for (at, resource) in list(status, "allocatedResourcesStatus").iter().enumerate() {
            let path = path.index(index).child("allocatedResourcesStatus").index(at);
            if let Some(container) = container {
                check_device_name(errors, &path.child("name"), text(resource, "name"), field(container, "resources"));
            }
            let mut seen = HashSet::new();
            for (index, device) in list(resource, "resources").iter().enumerate() {
                let path = path.child("resources").index(index);
                let health = text(device, "health");
                checks::one_of(errors, &path.child("health"), health, &["Healthy", "Unhealthy", "Unknown"]);
                let id = text(device, "resourceID");
                if !seen.insert(id) {
                    errors.push(FieldError::duplicate(&path.child("resourceID"), id));
                }
            }
        }
    }
}

fn check_device_name(errors: &mut ErrorList, path: &Path, name: &str, resources: &Value) {
    let (known, why) = match name.strip_prefix("claim:") {
        Some(rest) => {
            let mut claims = list(resources, "claims").iter();
            let known = claims.any(|claim| match text(claim, "request") {
                "" => text(claim, "name") == rest,
                request => rest.split_once('/') == Some((text(claim, "name"), request)),
            });
            let format = "'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
            (known, format!("must match one of the container's resource claims in a format {format}"))
        }
        None => {
            let why = "must match one of the container's resource requests".to_owned();
            (has(field(resources, "requests"), name), why)
        }
    };
    if !known {
        errors.push(FieldError::invalid(path, name, why));
    }
}
