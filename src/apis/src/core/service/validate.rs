//! What a Service has to be, its addresses apart.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::Value;

use super::{is_exposed, is_headless, kind_of, needs_health_check};
use crate::{
    checks::{self, one_of, required_one_of},
    golang::{Shape, Struct},
    ip,
    json::{field, has, int, list, text},
    labels,
};

const KUBELET_PORT: i64 = 10250;
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
/// Protocols of ports.
pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

static PORT: Struct = Struct(&[
    ("Name", "name", Shape::Fixed("\"\"")),
    ("Protocol", "protocol", Shape::Text),
    ("AppProtocol", "appProtocol", Shape::Fixed("null")),
    ("Port", "port", Shape::Int),
    ("TargetPort", "targetPort", Shape::Fixed("0")),
    ("NodePort", "nodePort", Shape::Fixed("0")),
]);

/// What is wrong with a Service; `old` is its stored spec.
pub(super) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let ports = list(spec, "ports");
    if ports.is_empty() && !is_headless(spec) && kind_of(spec) != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    by_type(spec, &path, errors);
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        check_port(port, ports.len() > 1, &mut seen, &path.child("ports").index(index), errors);
    }
    labels::check(errors, &path.child("selector"), field(spec, "selector"));
    affinity(spec, &path, errors);
    let stored: Vec<&str> = list(old, "externalIPs").iter().filter_map(Value::as_str).collect();
    for (index, address) in list(spec, "externalIPs").iter().enumerate() {
        let (at, address) = (path.child("externalIPs").index(index), address.as_str().unwrap_or_default());
        let before = errors.len();
        ip::check_legacy(errors, &at, address, &stored);
        if errors.len() == before {
            ip::check_not_special(errors, &at, address);
        }
    }
    required_one_of(errors, &path.child("type"), kind_of(spec), TYPES);
    node_ports(spec, &path, errors);
    source_ranges(object, spec, old, &path, errors);
    let at = path.child("allocateLoadBalancerNodePorts");
    match (has(spec, "allocateLoadBalancerNodePorts"), kind_of(spec) == "LoadBalancer") {
        (true, false) => errors.push(FieldError::forbidden(&at, ONLY_BALANCED)),
        (false, true) => errors.push(FieldError::required(&at, "")),
        _ => {}
    }
    if has(spec, "loadBalancerClass") {
        let at = path.child("loadBalancerClass");
        if kind_of(spec) == "LoadBalancer" {
            checks::label_name(errors, &at, text(spec, "loadBalancerClass"));
        } else {
            errors.push(FieldError::forbidden(&at, ONLY_BALANCED));
        }
    }
    traffic(spec, &path, errors);
}

fn by_type(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = kind_of(spec);
    if kind == "LoadBalancer" {
        for (index, port) in list(spec, "ports").iter().enumerate() {
            if int(port, "port") == Some(KUBELET_PORT) {
                let detail = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
                errors.push(FieldError::invalid(&path.child("ports").index(index), KUBELET_PORT, detail));
            }
        }
    }
    if matches!(kind, "LoadBalancer" | "NodePort") && is_headless(spec) {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), "None", detail));
    }
    if kind == "ExternalName" {
        let at = path.child("externalName");
        let name = text(spec, "externalName");
        let name = name.strip_suffix('.').unwrap_or(name);
        if checks::required(errors, &at, name) {
            checks::dns_subdomain(errors, &at, name);
        }
    }
}

fn check_port<'a>(port: &'a Value, named: bool, seen: &mut HashSet<&'a str>, path: &Path, errors: &mut ErrorList) {
    let name = text(port, "name");
    if !name.is_empty() {
        checks::dns_label(errors, &path.child("name"), name);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    } else if named {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    checks::port_number(errors, &path.child("port"), int(port, "port").unwrap_or_default());
    required_one_of(errors, &path.child("protocol"), text(port, "protocol"), PROTOCOLS);
    checks::port_number_or_name(errors, &path.child("targetPort"), field(port, "targetPort"));
    if has(port, "appProtocol") {
        checks::label_name(errors, &path.child("appProtocol"), text(port, "appProtocol"));
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let affinity = text(spec, "sessionAffinity");
    required_one_of(errors, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let at = path.child("sessionAffinityConfig");
    if affinity == "None" {
        if has(spec, "sessionAffinityConfig") {
            errors.push(FieldError::forbidden(&at, "must not be set when session affinity is None"));
        }
    } else if affinity == "ClientIP" {
        let mut missing = |at: &Path| {
            errors.push(FieldError::required(at, "when session affinity type is ClientIP"));
        };
        let config = field(spec, "sessionAffinityConfig");
        let client = field(config, "clientIP");
        let seconds_at = at.child("clientIP").child("timeoutSeconds");
        if config.is_null() {
            missing(&at);
        } else if client.is_null() {
            missing(&at.child("clientIP"));
        } else if let Some(seconds) = int(client, "timeoutSeconds") {
            if !(1..=86400).contains(&seconds) {
                let detail = "must be greater than 0 and less than 86400";
                errors.push(FieldError::invalid(&seconds_at, seconds, detail));
            }
        } else {
            missing(&seconds_at);
        }
    }
}

fn node_ports(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (mut nodes, mut own) = (HashSet::new(), HashSet::new());
    let ports = list(spec, "ports");
    let number = |port: &Value| int(port, "nodePort").unwrap_or_default();
    let at = path.child("ports");
    if kind_of(spec) == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| number(port) != 0) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&at.index(index).child("nodePort"), detail));
        }
    }
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| number(port) != 0) {
        if !nodes.insert((text(port, "protocol"), number(port))) {
            errors.push(FieldError::duplicate(&at.index(index).child("nodePort"), number(port)));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if !own.insert((text(port, "protocol"), int(port, "port").unwrap_or_default())) {
            errors.push(checks::shown(ErrorKind::Duplicate, &at.index(index), &PORT.show(port), ""));
        }
    }
}

fn source_ranges(object: &Value, spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let balanced = kind_of(spec) == "LoadBalancer";
    let ranges = list(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let at = path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(FieldError::forbidden(&at, ONLY_BALANCED));
        }
        let stored: Vec<&str> =
            list(old, "loadBalancerSourceRanges").iter().filter_map(Value::as_str).map(str::trim).collect();
        for (index, range) in ranges.iter().enumerate() {
            ip::check_range_legacy(errors, &at.index(index), range.as_str().unwrap_or_default().trim(), &stored);
        }
    } else if let Some(given) = meta::annotation(object, SOURCE_RANGES) {
        let at = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
        if !balanced {
            errors.push(FieldError::forbidden(&at, ONLY_BALANCED));
        } else if !given.trim().is_empty()
            && given.trim().split(',').any(|range| ip::parse_range(range.trim()).is_none())
        {
            let detail = "must be a comma separated list of CIDRs e.g. 192.168.0.0/16,10.0.0.0/8";
            errors.push(FieldError::invalid(&at, given.trim(), detail));
        }
    }
}

fn traffic(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (at, policy) = (path.child("externalTrafficPolicy"), text(spec, "externalTrafficPolicy"));
    if is_exposed(spec) {
        required_one_of(errors, &at, policy, POLICIES);
    } else if !policy.is_empty() {
        errors.push(FieldError::invalid(&at, policy, "may only be set for externally-accessible services"));
    }
    let (at, port) = (path.child("healthCheckNodePort"), int(spec, "healthCheckNodePort").unwrap_or_default());
    if port != 0 {
        if needs_health_check(spec) {
            checks::invalid(errors, &at, port, names::is_valid_port_number(port));
        } else {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&at, port, detail));
        }
    }
    let at = path.child("internalTrafficPolicy");
    if has(spec, "internalTrafficPolicy") {
        one_of(errors, &at, text(spec, "internalTrafficPolicy"), POLICIES);
    } else if matches!(kind_of(spec), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.push(FieldError::required(&at, ""));
    }
    if has(spec, "trafficDistribution") {
        let allowed = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        one_of(errors, &path.child("trafficDistribution"), text(spec, "trafficDistribution"), &allowed);
    }
}

/// Who balances its load is chosen once.
pub(super) fn balancer_class_change(new: &Value, old: &Value, errors: &mut ErrorList) {
    if [new, old].iter().all(|spec| kind_of(spec) == "LoadBalancer") {
        let (now, before) = (field(new, "loadBalancerClass"), field(old, "loadBalancerClass"));
        if now != before {
            let at = Path::new("spec").child("loadBalancerClass");
            errors.push(FieldError::invalid(&at, now.clone(), "may not change once set"));
        }
    }
}

/// The state of a load balancer; `kind` is the type of the Service that it is of, none for an Ingress.
pub(crate) fn load_balancer_status(
    status: &Value,
    old: &Value,
    kind: Option<&str>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let path = path.child("ingress");
    let ingress = list(status, "ingress");
    if kind.is_some_and(|kind| kind != "LoadBalancer") && !ingress.is_empty() {
        errors.push(FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    let stored: Vec<&str> = list(old, "ingress").iter().map(|one| text(one, "ip")).collect();
    for (index, one) in ingress.iter().enumerate() {
        let at = path.index(index);
        let address = text(one, "ip");
        if !address.is_empty() {
            ip::check_legacy(errors, &at.child("ip"), address, &stored);
        }
        if kind.is_some() {
            let mode = at.child("ipMode");
            match (has(one, "ipMode"), !address.is_empty()) {
                (false, true) => errors.push(FieldError::required(&mode, "must be specified when `ip` is set")),
                (true, false) => errors.push(FieldError::forbidden(&mode, "may not be specified when `ip` is not set")),
                (true, true) => one_of(errors, &mode, text(one, "ipMode"), &["Proxy", "VIP"]),
                (false, false) => {}
            }
        }
        let name = text(one, "hostname");
        if !name.is_empty() {
            let at = at.child("hostname");
            checks::dns_subdomain(errors, &at, name);
            if ip::parse(name).is_some() {
                errors.push(FieldError::invalid(&at, name, "must be a DNS name, not an IP address"));
            }
        }
    }
}
