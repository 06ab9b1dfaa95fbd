//! EndpointSlices.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use crate::{
    checks,
    core::service::validate::PROTOCOLS,
    ip,
    json::{default, each, entries, field, has, list, text},
    kind::Kind,
    labels, metadata,
};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;
const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const NODE_LABEL: &str = "kubernetes.io/hostname";

pub(crate) struct EndpointSlice;

impl Kind for EndpointSlice {
    fn has_generation(&self) -> bool {
        true
    }

    fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        metadata::is_changed(new, old) || meta::labels(new) != meta::labels(old)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        each(object, "endpoints", |endpoint| default(endpoint, "conditions", json!({})));
        each(object, "ports", |port| {
            default(port, "name", "");
            default(port, "protocol", "TCP");
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, &Value::Null, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, old, errors);
        checks::immutable_text(errors, &Path::new("addressType"), new, old, "addressType");
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        if text(object, "addressType") == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".into());
            return;
        }
        // What the controller writes it writes in the right form, and in large numbers.
        if meta::label(object, "endpointslice.kubernetes.io/managed-by") == Some("endpointslice-controller.k8s.io") {
            return;
        }
        for (number, endpoint) in list(object, "endpoints").iter().enumerate() {
            for (index, address) in list(endpoint, "addresses").iter().enumerate() {
                let path = Path::new("endpoints").index(number).child("addresses").index(index);
                ip::warn(&path, address.as_str().unwrap_or_default(), warnings);
            }
        }
    }
}

fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let kind = text(object, "addressType");
    checks::required_one_of(errors, &Path::new("addressType"), kind, TYPES);
    let path = Path::new("endpoints");
    let endpoints = list(object, "endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(&path, endpoints.len(), ENDPOINTS_MAX));
    } else {
        let stored: Vec<&str> = list(old, "endpoints")
            .iter()
            .flat_map(|endpoint| list(endpoint, "addresses"))
            .filter_map(Value::as_str)
            .collect();
        for (index, endpoint) in endpoints.iter().enumerate() {
            check_endpoint(endpoint, kind, &stored, &path.index(index), errors);
        }
    }
    check_ports(list(object, "ports"), &Path::new("ports"), errors);
}

fn check_endpoint(endpoint: &Value, kind: &str, stored: &[&str], path: &Path, errors: &mut ErrorList) {
    let at = path.child("addresses");
    let addresses = list(endpoint, "addresses");
    if addresses.is_empty() {
        errors.push(FieldError::required(&at, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES_MAX {
        errors.push(FieldError::too_many(&at, addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in addresses.iter().enumerate() {
        check_address(address.as_str().unwrap_or_default(), kind, stored, &at, index, errors);
    }
    if has(endpoint, "nodeName") {
        checks::dns_subdomain(errors, &path.child("nodeName"), text(endpoint, "nodeName"));
    }
    let at = path.child("deprecatedTopology");
    labels::check(errors, &at, field(endpoint, "deprecatedTopology"));
    if entries(endpoint, "deprecatedTopology").any(|(key, _)| key == NODE_LABEL) {
        errors.push(FieldError::invalid(&at.key(NODE_LABEL), "", "may not be set; use nodeName"));
    }
    if has(endpoint, "hostname") {
        checks::dns_label(errors, &path.child("hostname"), text(endpoint, "hostname"));
    }
    check_hints(field(endpoint, "hints"), &path.child("hints"), errors);
}

fn check_address(address: &str, kind: &str, stored: &[&str], path: &Path, index: usize, errors: &mut ErrorList) {
    let at = path.index(index);
    match kind {
        "IPv4" | "IPv6" => {
            let before = errors.len();
            ip::check_legacy(errors, &at, address, stored);
            if errors.len() > before {
                return;
            }
            if ip::is_v6(address) != (kind == "IPv6") {
                errors.push(FieldError::invalid(path, address, format!("must be an {kind} address")));
            }
            ip::check_not_special(errors, &at, address);
        }
        "FQDN" => checks::dns_subdomain(errors, &at, address.strip_suffix('.').unwrap_or(address)),
        _ => {}
    }
}

fn check_hints(hints: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, of_node) in [("forZones", false), ("forNodes", true)] {
        let (at, hints) = (path.child(name), list(hints, name));
        if hints.len() > HINTS_MAX {
            errors.push(FieldError::too_many(&at, hints.len(), HINTS_MAX));
            continue;
        }
        let mut seen = HashSet::new();
        for (index, hint) in hints.iter().enumerate() {
            let (at, name) = (at.index(index).child("name"), text(hint, "name"));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at, name));
            } else if of_node {
                checks::dns_subdomain(errors, &at, name);
            } else {
                checks::invalid(errors, &at, name, names::is_label_value(name));
            }
        }
    }
}

fn check_ports(ports: &[Value], path: &Path, errors: &mut ErrorList) {
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many(path, ports.len(), PORTS_MAX));
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(index), text(port, "name"));
        if !name.is_empty() {
            checks::dns_label(errors, &path.child("name"), name);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if has(port, "protocol") {
            checks::one_of(errors, &path.child("protocol"), text(port, "protocol"), PROTOCOLS);
        } else {
            errors.push(FieldError::required(&path.child("protocol"), ""));
        }
        if has(port, "appProtocol") {
            checks::label_name(errors, &path.child("appProtocol"), text(port, "appProtocol"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(object: &Value) -> Vec<String> {
        let errors = crate::validate_create("discovery.k8s.io", "EndpointSlice", object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn addresses_are_of_the_type_that_the_slice_names() {
        let slice = |kind: &str, address: &str| json!({"metadata": {"name": "e"}, "addressType": kind, "endpoints": [{"addresses": [address]}]});
        assert!(said(&slice("IPv4", "10.0.0.1")).is_empty());
        assert!(said(&slice("FQDN", "a.example")).is_empty());
        assert_eq!(said(&slice("IPv6", "10.0.0.1")), ["endpoints[0].addresses: Invalid value"]);
        assert_eq!(said(&slice("IPv4", "fe80::1")).len(), 2);
        assert_eq!(said(&slice("", "10.0.0.1")), ["addressType: Required value"]);
    }

    #[test]
    fn ports_are_told_apart_by_name() {
        let object = json!({"metadata": {"name": "e"}, "addressType": "IPv4", "ports": [
            {"name": "", "protocol": "TCP"}, {"name": "", "protocol": "x"},
        ]});
        assert_eq!(said(&object), ["ports[1].name: Duplicate value", "ports[1].protocol: Unsupported value"]);
    }
}
