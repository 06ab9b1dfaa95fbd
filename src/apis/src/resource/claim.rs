//! ResourceClaims and the templates they are made from.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use super::request;
use crate::{
    checks, conditions,
    core::pod::affinity::check_node_selector,
    golang::{Shape, Struct},
    ip,
    json::{default, field, has, list, some, text, with},
    kind::Kind,
    metadata,
};

const RESERVED_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 64;
const CONDITIONS_MAX: usize = 8;
const BINDING_MAX: usize = 4;
const INTERFACE_MAX: usize = 256;
const HARDWARE_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;
const BOTH_LISTS: [(&str, &str); 2] =
    [("bindingConditions", "bindingFailureConditions"), ("bindingFailureConditions", "bindingConditions")];

static DEVICE: Struct = Struct(&[
    ("Driver", "driver", Shape::Text),
    ("Pool", "pool", Shape::Text),
    ("Device", "device", Shape::Text),
    ("ShareID", "shareID", Shape::Text),
]);
static METADATA: Struct = Struct(&[
    ("name", "name", Shape::Omit(&Shape::Any)),
    ("generateName", "generateName", Shape::Omit(&Shape::Any)),
    ("namespace", "namespace", Shape::Omit(&Shape::Any)),
    ("selfLink", "selfLink", Shape::Omit(&Shape::Any)),
    ("uid", "uid", Shape::Omit(&Shape::Any)),
    ("resourceVersion", "resourceVersion", Shape::Omit(&Shape::Any)),
    ("generation", "generation", Shape::Omit(&Shape::Any)),
    ("creationTimestamp", "creationTimestamp", Shape::Omit(&Shape::Any)),
    ("deletionTimestamp", "deletionTimestamp", Shape::Omit(&Shape::Any)),
    ("labels", "labels", Shape::Omit(&Shape::Any)),
    ("annotations", "annotations", Shape::Omit(&Shape::Any)),
    ("ownerReferences", "ownerReferences", Shape::Omit(&Shape::List(&OWNER))),
    ("finalizers", "finalizers", Shape::Omit(&Shape::Any)),
]);
static OWNER: Struct = Struct(&[
    ("apiVersion", "apiVersion", Shape::Text),
    ("kind", "kind", Shape::Text),
    ("name", "name", Shape::Text),
    ("uid", "uid", Shape::Text),
    ("controller", "controller", Shape::Omit(&Shape::Any)),
    ("blockOwnerDeletion", "blockOwnerDeletion", Shape::Omit(&Shape::Any)),
]);

pub(super) struct ResourceClaim;

impl Kind for ResourceClaim {
    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", request::defaults);
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let path = Path::new("spec").child("devices");
        request::check(field(field(object, "spec"), "devices"), &path, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            check_status(new, old, errors);
            return;
        }
        let (now, before) = (request::SPEC.show(field(new, "spec")), request::SPEC.show(field(old, "spec")));
        if now != before {
            errors.push(checks::shown(ErrorKind::Invalid, &Path::new("spec"), &now, checks::IMMUTABLE));
        }
    }
}

pub(super) struct ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default(spec, "metadata", json!({}));
            with(spec, "spec", request::defaults);
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        check_template_metadata(field(spec, "metadata"), &path.child("metadata"), errors);
        request::check(field(field(spec, "spec"), "devices"), &path.child("spec").child("devices"), errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate_create(new, errors);
        let (now, before) = (shown(field(new, "spec")), shown(field(old, "spec")));
        if now != before {
            errors.push(checks::shown(ErrorKind::Invalid, &Path::new("spec"), &now, checks::IMMUTABLE));
        }
    }
}

/// A template gives its claims labels and annotations, and nothing else.
fn check_template_metadata(meta: &Value, path: &Path, errors: &mut ErrorList) {
    metadata::annotations(field(meta, "annotations"), &path.child("annotations"), errors);
    metadata::labels(field(meta, "labels"), &path.child("labels"), errors);
    for (name, told) in [
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
    ] {
        let value = field(meta, name);
        let empty = value.is_null() || value == "" || value == 0 || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            errors.push(FieldError::forbidden(&path.child(told), "cannot be set"));
        }
    }
}

/// The spec of a template, in which metadata has no name of its own.
fn shown(spec: &Value) -> String {
    let metadata = METADATA.show(field(spec, "metadata"));
    let open = metadata.strip_suffix('}').unwrap_or(&metadata);
    let comma = if open.len() > 1 { "," } else { "" };
    format!("{open}{comma}\"Spec\":{}}}", request::SPEC.show(field(spec, "spec")))
}

fn check_status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (path, status, before) = (Path::new("status"), field(new, "status"), field(old, "status"));
    let known = request::names(field(field(new, "spec"), "devices"));
    check_reserved(list(status, "reservedFor"), &path.child("reservedFor"), errors);
    let allocation = field(status, "allocation");
    check_devices(list(status, "devices"), allocation, &path.child("devices"), errors);
    if let (Some(_), true) = (some(before, "allocation"), !allocation.is_null()) {
        if field(before, "allocation") != allocation {
            let at = path.child("allocation");
            errors.push(FieldError::invalid(&at, allocation.clone(), checks::IMMUTABLE));
        }
    } else if !allocation.is_null() {
        check_allocation(allocation, &known, &path.child("allocation"), errors);
    }
    if allocation.is_null() && !list(status, "reservedFor").is_empty() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden(&path.child("reservedFor"), detail));
    }
}

fn check_reserved(users: &[Value], path: &Path, errors: &mut ErrorList) {
    request::check_size(users, RESERVED_MAX, path, errors);
    let mut seen = HashSet::new();
    for (index, user) in users.iter().enumerate() {
        let path = path.index(index);
        for name in ["resource", "name", "uid"] {
            checks::required(errors, &path.child(name), text(user, name));
        }
        if !seen.insert(text(user, "uid")) {
            errors.push(FieldError::duplicate(&path, text(user, "uid")));
        }
    }
}

fn check_allocation(allocation: &Value, known: &request::Names<'_>, path: &Path, errors: &mut ErrorList) {
    let (at, devices) = (path.child("devices"), field(allocation, "devices"));
    let results = list(devices, "results");
    request::check_size(results, RESULTS_MAX, &at.child("results"), errors);
    for (index, result) in results.iter().enumerate() {
        check_result(result, known, &at.child("results").index(index), errors);
    }
    let configs = list(devices, "config");
    request::check_size(configs, CONFIGS_MAX, &at.child("config"), errors);
    for (index, config) in configs.iter().enumerate() {
        let path = at.child("config").index(index);
        checks::required_one_of(errors, &path.child("source"), text(config, "source"), &["FromClaim", "FromClass"]);
        request::check_names(list(config, "requests"), known, &path.child("requests"), errors);
        request::check_config(config, &path, errors);
    }
    if has(allocation, "nodeSelector") {
        check_node_selector(errors, &path.child("nodeSelector"), field(allocation, "nodeSelector"));
    }
}

fn check_result(result: &Value, known: &request::Names<'_>, path: &Path, errors: &mut ErrorList) {
    request::check_name(text(result, "request"), known, &path.child("request"), errors);
    check_device_name(result, path, errors);
    check_binding(result, path, errors);
    if has(result, "shareID") {
        check_uid(text(result, "shareID"), &path.child("shareID"), errors);
    }
}

fn check_uid(uid: &str, path: &Path, errors: &mut ErrorList) {
    let form = uid.len() == 36
        && uid
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    let why = if uid.len() != 36 {
        format!("error validating uid: invalid UUID length: {}", uid.len())
    } else if !form {
        "error validating uid: invalid UUID format".into()
    } else if uid.bytes().any(|byte| byte.is_ascii_uppercase()) {
        "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".into()
    } else {
        return;
    };
    errors.push(FieldError::invalid(path, uid, why));
}

/// Driver, pool and device.
fn check_device_name(device: &Value, path: &Path, errors: &mut ErrorList) {
    request::check_driver(text(device, "driver"), &path.child("driver"), errors);
    super::slice::check_pool_name(text(device, "pool"), &path.child("pool"), errors);
    checks::dns_label(errors, &path.child("device"), text(device, "device"));
}

/// Conditions that have to hold before a device can be used, and those that say that it never will.
pub(super) fn check_binding(device: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, _) in BOTH_LISTS {
        let (path, conditions) = (path.child(name), list(device, name));
        request::check_size(conditions, BINDING_MAX, &path, errors);
        let mut seen = HashSet::new();
        for (index, condition) in conditions.iter().enumerate() {
            let (path, condition) = (path.index(index), condition.as_str().unwrap_or_default());
            checks::invalid(errors, &path, condition, names::is_qualified_name(condition));
            if !seen.insert(condition) {
                errors.push(FieldError::duplicate(&path, condition));
            }
        }
    }
    for (name, other) in BOTH_LISTS {
        if !list(device, name).is_empty() && list(device, other).is_empty() {
            let detail = format!("{other} are required to use {name}");
            errors.push(FieldError::invalid(&path.child(other), Value::Null, detail));
        }
    }
}

fn check_network(network: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, max) in [("interfaceName", INTERFACE_MAX), ("hardwareAddress", HARDWARE_MAX)] {
        if text(network, name).len() > max {
            errors.push(FieldError::too_long(&path.child(name), max));
        }
    }
    let (path, addresses) = (path.child("ips"), list(network, "ips"));
    request::check_size(addresses, ADDRESSES_MAX, &path, errors);
    let mut seen = HashSet::new();
    for (index, address) in addresses.iter().enumerate() {
        let (path, address) = (path.index(index), address.as_str().unwrap_or_default());
        ip::check_interface(errors, &path, address);
        if !seen.insert(address) {
            errors.push(FieldError::duplicate(&path, address));
        }
    }
}

fn check_devices(devices: &[Value], allocation: &Value, path: &Path, errors: &mut ErrorList) {
    let results = list(field(allocation, "devices"), "results");
    let mut seen = HashSet::new();
    for (index, device) in devices.iter().enumerate() {
        let path = path.index(index);
        let shown = DEVICE.show(device);
        check_device_name(device, &path, errors);
        if !results.iter().any(|result| DEVICE.show(result) == shown) {
            let detail = "must be an allocated device in the claim";
            errors.push(checks::shown(ErrorKind::Invalid, &path, &shown, detail));
        }
        let conditions = list(device, "conditions");
        request::check_size(conditions, CONDITIONS_MAX, &path.child("conditions"), errors);
        conditions::check(errors, &path.child("conditions"), conditions);
        check_network(field(device, "networkData"), &path.child("networkData"), errors);
        if has(device, "data") {
            request::check_parameters(field(device, "data"), &path.child("data"), errors);
        }
        if !seen.insert(shown.clone()) {
            errors.push(checks::shown(ErrorKind::Duplicate, &path, &shown, ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(requests: Value) -> Value {
        let devices = json!({"requests": requests});
        let mut object = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {"devices": devices}});
        crate::set_defaults("resource.k8s.io", "v1", "ResourceClaim", &mut object);
        object
    }

    fn said(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_request_is_exact_or_a_list_of_alternatives() {
        let check = |requests| said(&crate::validate_create("resource.k8s.io", "ResourceClaim", &claim(requests)));
        let exact = json!({"deviceClassName": "a", "selectors": [{"cel": {"expression": "device.driver == 'a'"}}]});
        assert!(check(json!([{"name": "r", "exactly": exact}])).is_empty());
        assert_eq!(check(json!([{"name": "r"}])), ["spec.devices.requests[0]: Required value"]);
        let both = json!([{"name": "r", "exactly": exact, "firstAvailable": [{"name": "x"}]}]);
        assert_eq!(check(both), ["spec.devices.requests[0]: Invalid value"]);
        let zero = json!([{"name": "r", "exactly": {"deviceClassName": "a", "allocationMode": "All", "count": 2}}]);
        assert_eq!(check(zero), ["spec.devices.requests[0].exactly.count: Invalid value"]);
    }

    #[test]
    fn what_was_asked_for_stays_and_what_was_given_was_asked_for() {
        let old = claim(json!([{"name": "r", "exactly": {"deviceClassName": "a"}}]));
        let new = claim(json!([{"name": "r", "exactly": {"deviceClassName": "b"}}]));
        let errors = crate::validate_update("resource.k8s.io", "ResourceClaim", None, &new, &old);
        assert_eq!(said(&errors), ["spec: Invalid value"]);
        let mut new = old.clone();
        let result = json!({"request": "r", "driver": "d.example", "pool": "p", "device": "v"});
        new["status"] = json!({"allocation": {"devices": {"results": [result]}}});
        let check =
            |new: &Value| said(&crate::validate_update("resource.k8s.io", "ResourceClaim", Some("status"), new, &old));
        assert!(check(&new).is_empty());
        new["status"]["allocation"]["devices"]["results"][0]["request"] = "other".into();
        assert_eq!(check(&new), ["status.allocation.devices.results[0].request: Invalid value"]);
    }

    #[test]
    fn a_template_shows_its_metadata_beside_its_spec() {
        let spec = json!({"metadata": {"labels": {"a": "}"}}, "spec": {}});
        assert_eq!(
            shown(&spec),
            "{\"labels\":{\"a\":\"}\"},\"Spec\":{\"Devices\":{\"Requests\":null,\"Constraints\":null,\"Config\":null}}}"
        );
        assert!(shown(&json!({})).starts_with("{\"Spec\":"));
    }
}
