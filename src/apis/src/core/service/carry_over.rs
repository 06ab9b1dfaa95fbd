//! What a changed Service keeps of what it was given, and what it gives back when it no longer needs it.

use serde_json::{Value, json};

use super::{is_exposed, kind_of, needs_addresses, needs_health_check, needs_node_ports};
use crate::json::{default, field, has, int, keep, list, take, text};

/// A client that does not know what it was given does not lose it.
pub(super) fn keep_given(new: &mut Value, old: &Value) {
    if needs_addresses(new) && needs_addresses(old) {
        normalize_addresses(new, old);
        if text(new, "clusterIP").is_empty() {
            keep(new, old, "clusterIP");
        }
        if list(new, "clusterIPs").is_empty() && text(new, "clusterIP") == text(old, "clusterIP") {
            keep(new, old, "clusterIPs");
        }
        if list(new, "ipFamilies").is_empty() {
            keep(new, old, "ipFamilies");
        }
        if let Some(policy) = old.get("ipFamilyPolicy") {
            default(new, "ipFamilyPolicy", policy.clone());
        }
    }
    if needs_node_ports(new) && needs_node_ports(old) {
        keep_node_ports(new, old);
    }
    if needs_health_check(new) && needs_health_check(old) && int(new, "healthCheckNodePort").unwrap_or_default() == 0 {
        keep(new, old, "healthCheckNodePort");
    }
}

/// A client that only knows `clusterIP` says by it what `clusterIPs` is to be.
fn normalize_addresses(new: &mut Value, old: &Value) {
    let (now, before) = (text(new, "clusterIP"), text(old, "clusterIP"));
    if now == before || list(new, "clusterIPs") != list(old, "clusterIPs") {
        return;
    }
    if now.is_empty() {
        take(new, "clusterIPs");
    } else {
        new["clusterIPs"] = json!([now]);
    }
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let key = |port: &Value| (text(port, "protocol").to_owned(), int(port, "port").unwrap_or_default());
    let number = |port: &Value| int(port, "nodePort").unwrap_or_default();
    let mut used: Vec<i64> = list(new, "ports").iter().map(number).filter(|number| *number != 0).collect();
    let Some(ports) = new.get_mut("ports").and_then(Value::as_array_mut) else { return };
    for port in ports.iter_mut().filter(|port| port.is_object() && number(port) == 0) {
        let same = list(old, "ports").iter().find(|other| key(other) == key(port)).map(number);
        if let Some(kept) = same.filter(|kept| *kept != 0 && !used.contains(kept)) {
            port["nodePort"] = kept.into();
            used.push(kept);
        }
    }
}

/// A change of the type takes away what only the old one needed, unless the client asks for something else.
pub(super) fn drop_unneeded(new: &mut Value, old: &Value) {
    let same = |new: &Value, name: &str| field(new, name) == field(old, name);
    if needs_addresses(old) && !needs_addresses(new) {
        if same(new, "clusterIP") && same(new, "clusterIPs") {
            take(new, "clusterIP");
            take(new, "clusterIPs");
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if same(new, name) {
                take(new, name);
            }
        }
    }
    let ports = |spec: &Value| list(spec, "ports").iter().map(|port| int(port, "nodePort")).collect::<Vec<_>>();
    if needs_node_ports(old) && !needs_node_ports(new) && ports(old) == ports(new) {
        for port in new.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            take(port, "nodePort");
        }
    }
    if needs_health_check(old) && !needs_health_check(new) && same(new, "healthCheckNodePort") {
        take(new, "healthCheckNodePort");
    }
    if kind_of(old) == "LoadBalancer" && kind_of(new) != "LoadBalancer" {
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(new, name) {
                take(new, name);
            }
        }
    }
    if is_exposed(old) && !is_exposed(new) && same(new, "externalTrafficPolicy") {
        take(new, "externalTrafficPolicy");
    }
    if needs_addresses(old)
        && !needs_addresses(new)
        && has(old, "internalTrafficPolicy")
        && same(new, "internalTrafficPolicy")
    {
        take(new, "internalTrafficPolicy");
    }
}
