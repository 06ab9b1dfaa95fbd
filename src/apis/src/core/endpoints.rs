//! Endpoints.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::service::validate::PROTOCOLS;
use crate::{
    checks, ip,
    json::{default_text, each, field, has, int, list, text},
    kind::Kind,
    metadata,
};

pub(crate) struct Endpoints;

impl Kind for Endpoints {
    fn defaults(&self, _version: &str, object: &mut Value) {
        each(object, "subsets", |subset| each(subset, "ports", |port| default_text(port, "protocol", "TCP")));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, &Value::Null, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, old, errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        for (number, subset) in list(object, "subsets").iter().enumerate() {
            for name in ["addresses", "notReadyAddresses"] {
                for (index, address) in list(subset, name).iter().enumerate() {
                    let path = Path::new("subsets").index(number).child(name).index(index).child("ip");
                    ip::warn(&path, text(address, "ip"), warnings);
                }
            }
        }
    }
}

fn addresses(subset: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["addresses", "notReadyAddresses"]
        .into_iter()
        .flat_map(|name| list(subset, name).iter().enumerate().map(move |(index, address)| (name, index, address)))
}

fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("subsets");
    let stored: Vec<&str> =
        list(old, "subsets").iter().flat_map(addresses).map(|(_, _, address)| text(address, "ip")).collect();
    for (number, subset) in list(object, "subsets").iter().enumerate() {
        let path = path.index(number);
        if addresses(subset).next().is_none() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (name, index, address) in addresses(subset) {
            check_address(address, &stored, &path.child(name).index(index), errors);
        }
        let ports = list(subset, "ports");
        for (index, port) in ports.iter().enumerate() {
            check_port(port, ports.len() > 1, &path.child("ports").index(index), errors);
        }
    }
}

fn check_address(address: &Value, stored: &[&str], path: &Path, errors: &mut ErrorList) {
    let at = path.child("ip");
    let ip = text(address, "ip");
    ip::check_legacy(errors, &at, ip, stored);
    if !text(address, "hostname").is_empty() {
        checks::dns_label(errors, &path.child("hostname"), text(address, "hostname"));
    }
    if has(address, "nodeName") {
        checks::dns_subdomain(errors, &path.child("nodeName"), text(address, "nodeName"));
    }
    ip::check_not_special(errors, &at, ip);
}

fn check_port(port: &Value, named: bool, path: &Path, errors: &mut ErrorList) {
    let name = text(port, "name");
    if !name.is_empty() {
        checks::dns_label(errors, &path.child("name"), name);
    } else if named {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    checks::port_number(errors, &path.child("port"), int(port, "port").unwrap_or_default());
    checks::required_one_of(errors, &path.child("protocol"), text(port, "protocol"), PROTOCOLS);
    if !field(port, "appProtocol").is_null() {
        checks::label_name(errors, &path.child("appProtocol"), text(port, "appProtocol"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_subset_has_addresses_that_can_be_reached_and_ports_that_can_be_told_apart() {
        let object = json!({"metadata": {"name": "e"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80, "protocol": "TCP"}]},
            {},
            {"notReadyAddresses": [{"ip": "127.0.0.1", "nodeName": "A"}], "ports": [{"port": 0, "protocol": "x"}, {"name": "a", "port": 1, "protocol": "UDP"}]},
        ]});
        let errors = crate::validate_create("", "Endpoints", &object);
        let said: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect();
        assert_eq!(
            said,
            [
                "subsets[1]: Required value",
                "subsets[2].notReadyAddresses[0].nodeName: Invalid value",
                "subsets[2].notReadyAddresses[0].ip: Invalid value",
                "subsets[2].ports[0].name: Required value",
                "subsets[2].ports[0].port: Invalid value",
                "subsets[2].ports[0].protocol: Unsupported value",
            ]
        );
    }
}
