//! Addresses and ports of Services: chosen here, unique because they are keys.
//!
//! A cluster address in use is an `IPAddress` object named by it, a node port in use a key of its own; both are written in
//! the transaction that writes the Service and require that nobody was faster. Two servers can therefore never give out the
//! same one, and nothing has to be repaired after a crash.

use std::net::Ipv4Addr;

use apimachinery::status::Status;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{commit::Mutation, meta};
use crate::{
    cacher::{Entry, Scope},
    core::Core,
    encoding, fail, keys,
    resources::Resource,
};

/// Where node ports in use lie in the store. They are no objects, so no resource shows them.
const NODE_PORTS: &str = "/registry-ranges/nodeports/";

/// What a write reserves and gives back.
#[derive(Debug, Default)]
pub struct Reservations {
    taken: Vec<(Bytes, Bytes)>,
    released: Vec<Bytes>,
}

impl Reservations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.released.is_empty()
    }

    /// What is to be required and done in the Service's own transaction.
    pub fn into_mutation(self) -> Mutation {
        let mut mutation = Mutation::default();
        for (key, value) in self.taken {
            mutation.absent(key.clone()).put(key, value);
        }
        for key in self.released {
            mutation.delete(key);
        }
        mutation
    }

    fn take_address(&mut self, address: Ipv4Addr, service: &Value, created: &str, uid: String) {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {
                "name": address.to_string(),
                "uid": uid,
                "creationTimestamp": created,
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {"parentRef": {
                "group": "", "resource": "services",
                "namespace": meta::text(service, "namespace"), "name": meta::text(service, "name"),
            }},
        });
        self.taken.push((address_key(&address.to_string()), encoding::encode(&object).stored().clone()));
    }

    fn take_port(&mut self, port: u16, service: &Value) {
        let owner = format!("{}/{}", meta::text(service, "namespace"), meta::text(service, "name"));
        self.taken.push((port_key(port), Bytes::from(owner)));
    }
}

fn address_key(address: &str) -> Bytes {
    keys::full("networking.k8s.io", "ipaddresses", "", address)
}

fn port_key(port: u16) -> Bytes {
    Bytes::from(format!("{NODE_PORTS}{port}"))
}

fn is_service(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.name == "services"
}

/// The addresses that Services get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRange {
    first: u32,
    size: u32,
    bits: u8,
}

impl ServiceRange {
    /// Reads `a.b.c.d/n`; `None` for what is none.
    pub fn parse(cidr: &str) -> Option<Self> {
        let (address, bits) = cidr.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u8>().ok().filter(|bits| *bits <= 30)?);
        let size = 1u32 << (32 - bits);
        Some(Self { first: u32::from(address) & !(size - 1), size, bits })
    }

    /// The address at `offset`.
    pub fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + offset)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.first);
        // Neither the network's own address nor its broadcast address.
        offset > 0 && offset < self.size - 1
    }
}

impl std::fmt::Display for ServiceRange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

/// Gives a new Service what it needs; of other kinds nothing is asked.
///
/// # Errors
/// 422 when what it asks for is taken or out of range.
pub fn on_create(
    core: &Core,
    resource: &Resource,
    service: &mut Value,
    dry_run: bool,
) -> Result<Reservations, Box<Status>> {
    let mut reservations = Reservations::default();
    if !is_service(resource) {
        return Ok(reservations);
    }
    allocate(core, service, &Value::Null, &mut reservations)?;
    Ok(if dry_run { Reservations::default() } else { reservations })
}

/// Gives a changed Service what it newly needs, and takes back what it no longer does.
///
/// # Errors
/// As [`on_create`].
pub fn on_update(
    core: &Core,
    resource: &Resource,
    service: &mut Value,
    old: &Value,
    dry_run: bool,
) -> Result<Reservations, Box<Status>> {
    let mut reservations = Reservations::default();
    if !is_service(resource) {
        return Ok(reservations);
    }
    allocate(core, service, old, &mut reservations)?;
    for address in addresses(old).into_iter().filter(|address| !addresses(service).contains(address)) {
        reservations.released.push(address_key(&address));
    }
    let kept = node_ports(service);
    for port in node_ports(old).into_iter().filter(|port| !kept.contains(port)) {
        reservations.released.push(port_key(port));
    }
    Ok(if dry_run { Reservations::default() } else { reservations })
}

/// Takes back what a Service that goes had.
pub fn on_delete(resource: &Resource, service: &Value) -> Reservations {
    let mut reservations = Reservations::default();
    if is_service(resource) {
        reservations.released.extend(addresses(service).iter().map(|address| address_key(address)));
        reservations.released.extend(node_ports(service).into_iter().map(port_key));
    }
    reservations
}

/// What brings addresses and ports in use and the Services that hold them together again where somebody wrote past the API
/// server's checks: what a Service holds is reserved, and what nobody holds is not.
pub fn repairs(core: &Core) -> Vec<Mutation> {
    let (Some(services), Some(addresses_in_use)) =
        (core.cacher.resource("", "services"), core.cacher.resource("networking.k8s.io", "ipaddresses"))
    else {
        return Vec::new();
    };
    let created = meta::time(core.clock.now());
    let services: Vec<_> = services.list(&Scope::All, None, |_| true).0.iter().map(|entry| entry.object()).collect();
    let mut repairs = Vec::new();
    for service in &services {
        for address in addresses(service) {
            let Ok(address) = address.parse::<Ipv4Addr>() else { continue };
            if addresses_in_use.get(&address.to_string()).is_none() {
                let mut reservations = Reservations::default();
                reservations.take_address(address, service, &created, core.entropy.uuid());
                repairs.push(reservations.into_mutation());
            }
        }
    }
    for entry in addresses_in_use.list(&Scope::All, None, |_| true).0 {
        let object = entry.object();
        let ours = object.pointer("/metadata/labels/ipaddress.kubernetes.io~1managed-by").and_then(Value::as_str)
            == Some("ipallocator.k8s.io");
        let held = services.iter().any(|service| addresses(service).iter().any(|address| address == entry.name()));
        if ours && !held {
            let mut repair = Mutation::default();
            let key = address_key(entry.name());
            repair.unchanged(key.clone(), entry.written).delete(key);
            repairs.push(repair);
        }
    }
    repairs
}

fn kind_of(service: &Value) -> &str {
    service.pointer("/spec/type").and_then(Value::as_str).unwrap_or("ClusterIP")
}

/// The cluster addresses that a Service holds.
fn addresses(service: &Value) -> Vec<String> {
    if service.is_null() || kind_of(service) == "ExternalName" {
        return Vec::new();
    }
    let one = service.pointer("/spec/clusterIP").and_then(Value::as_str).filter(|ip| !matches!(*ip, "" | "None"));
    let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    let mut addresses: Vec<String> = list
        .map(|list| {
            list.iter().filter_map(Value::as_str).filter(|ip| !matches!(*ip, "" | "None")).map(str::to_owned).collect()
        })
        .unwrap_or_default();
    if let Some(one) = one
        && !addresses.iter().any(|address| address == one)
    {
        addresses.push(one.to_owned());
    }
    addresses
}

/// The node ports that a Service holds.
fn node_ports(service: &Value) -> Vec<u16> {
    if !matches!(kind_of(service), "NodePort" | "LoadBalancer") {
        return Vec::new();
    }
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let health = service.pointer("/spec/healthCheckNodePort");
    let mut list: Vec<u16> = ports
        .filter_map(|port| port.get("nodePort"))
        .chain(health)
        .filter_map(Value::as_u64)
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn allocate(core: &Core, service: &mut Value, old: &Value, reservations: &mut Reservations) -> Result<(), Box<Status>> {
    if !service.get("spec").is_some_and(Value::is_object) {
        return Ok(());
    }
    if kind_of(service) != "ExternalName" {
        cluster_address(core, service, old, reservations)?;
    }
    if matches!(kind_of(service), "NodePort" | "LoadBalancer") {
        ports(core, service, old, reservations)?;
    }
    Ok(())
}

fn cluster_address(
    core: &Core,
    service: &mut Value,
    old: &Value,
    reservations: &mut Reservations,
) -> Result<(), Box<Status>> {
    let text = |service: &Value, pointer: &str| {
        service.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut asked = text(service, "/spec/clusterIP");
    if asked.is_empty() {
        asked = text(service, "/spec/clusterIPs/0");
    }
    let held = addresses(old);
    if asked.is_empty() {
        // A changed Service keeps its address unless it says otherwise.
        asked = held.first().cloned().unwrap_or_default();
    }
    if asked != "None" {
        if asked.is_empty() {
            let address = free_address(core)?;
            reservations.take_address(address, service, &meta::time(core.clock.now()), core.entropy.uuid());
            asked = address.to_string();
        } else if !held.contains(&asked) {
            let address = requested_address(core, service, &asked)?;
            reservations.take_address(address, service, &meta::time(core.clock.now()), core.entropy.uuid());
        }
    }
    let spec = &mut service["spec"];
    spec["clusterIPs"] = json!([asked]);
    spec["clusterIP"] = asked.into();
    let families = spec.get("ipFamilies").and_then(Value::as_array).is_some_and(|families| !families.is_empty());
    if !families {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    if spec.get("ipFamilyPolicy").and_then(Value::as_str).is_none_or(str::is_empty) {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    Ok(())
}

fn address_taken(core: &Core, address: Ipv4Addr) -> bool {
    let cache = core.cacher.resource("networking.k8s.io", "ipaddresses");
    cache.is_some_and(|cache| cache.get(&address.to_string()).is_some())
}

fn free_address(core: &Core) -> Result<Ipv4Addr, Box<Status>> {
    let range = core.config.service_range;
    // The lower part is left to addresses that are asked for by name, as kube-apiserver does, unless the rest is full.
    let reserved = (range.size / 16).clamp(16, 256).min(range.size / 2);
    let upper = range.size - 1 - reserved;
    let mut bytes = [0; 4];
    core.entropy.fill(&mut bytes);
    let start = u32::from_be_bytes(bytes) % upper.max(1);
    let offsets = (0..upper).map(|step| reserved + (start + step) % upper).chain(1..reserved);
    for offset in offsets.filter(|offset| *offset > 0) {
        let address = range.at(offset);
        if !address_taken(core, address) {
            return Ok(address);
        }
    }
    Err(fail::internal("failed to allocate a serviceIP: range is full").into())
}

fn requested_address(core: &Core, service: &Value, asked: &str) -> Result<Ipv4Addr, Box<Status>> {
    let range = core.config.service_range;
    let why = match asked.parse::<Ipv4Addr>() {
        Ok(address) if range.contains(address) && !address_taken(core, address) => return Ok(address),
        Ok(address) if range.contains(address) => "provided IP is already allocated".to_owned(),
        _ => format!("provided IP is not in the valid range. The range of valid IPs is {range}"),
    };
    let message = format!("Invalid value: [{asked:?}]: failed to allocate IP {asked}: {why}");
    let name = meta::text(service, "name");
    Err(fail::invalid_one("", "Service", name, "spec.clusterIPs", "FieldValueInvalid", &message).into())
}

fn port_taken(core: &Core, port: u16) -> bool {
    let Some(cache) = core.cacher.resource("", "services") else { return false };
    let has_ports = |entry: &Entry| matches!(entry.field("spec.type"), "NodePort" | "LoadBalancer");
    let (services, _) = cache.list(&Scope::All, None, has_ports);
    services.iter().any(|service| node_ports(&service.object()).contains(&port))
}

fn ports(core: &Core, service: &mut Value, old: &Value, reservations: &mut Reservations) -> Result<(), Box<Status>> {
    let wanted = kind_of(service) != "LoadBalancer"
        || service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false);
    let held = node_ports(old);
    let mut chosen: Vec<(u16, String)> = Vec::new();
    let copy = service.clone();
    let old_ports: Vec<&Value> = old.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten().collect();
    let list = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for (index, port) in list.into_iter().flatten().enumerate() {
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned();
        let mut asked =
            port.get("nodePort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        if asked == 0 && !old.is_null() {
            // A changed Service keeps the port of the same service port.
            let same = |other: &&&Value| {
                other["port"] == port["port"] && other["protocol"].as_str().unwrap_or("TCP") == protocol
            };
            asked = old_ports
                .iter()
                .find(same)
                .and_then(|other| other["nodePort"].as_u64())
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(0);
        }
        if asked == 0 && wanted {
            // One number serves the same port of several protocols.
            let shared = |(_, other): &&(u16, String)| *other != protocol;
            let same_port = copy.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten().take(index);
            let reused = same_port
                .zip(&chosen)
                .filter(|(other, _)| other["port"] == port["port"])
                .map(|(_, chosen)| chosen)
                .find(shared);
            asked = match reused {
                Some((number, _)) => *number,
                None => free_port(core, &chosen)?,
            };
        } else if asked != 0 && !held.contains(&asked) && !chosen.iter().any(|(number, _)| *number == asked) {
            requested_port(core, &copy, &format!("spec.ports[{index}].nodePort"), asked)?;
        }
        if asked != 0 {
            port["nodePort"] = asked.into();
        }
        chosen.push((asked, protocol));
    }
    let local = service.pointer("/spec/externalTrafficPolicy").and_then(Value::as_str) == Some("Local");
    if kind_of(service) == "LoadBalancer" && local {
        let asked = service.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64).unwrap_or(0);
        let asked = u16::try_from(asked).unwrap_or(0);
        let port = if asked == 0 {
            free_port(core, &chosen)?
        } else {
            if !held.contains(&asked) {
                requested_port(core, &copy, "spec.healthCheckNodePort", asked)?;
            }
            asked
        };
        service["spec"]["healthCheckNodePort"] = port.into();
    }
    for port in node_ports(service).into_iter().filter(|port| !held.contains(port)) {
        reservations.take_port(port, &copy);
    }
    Ok(())
}

fn free_port(core: &Core, chosen: &[(u16, String)]) -> Result<u16, Box<Status>> {
    let (first, last) = core.config.node_ports;
    let size = u32::from(last - first) + 1;
    let mut bytes = [0; 4];
    core.entropy.fill(&mut bytes);
    let start = u32::from_be_bytes(bytes) % size;
    for step in 0..size {
        let port = first + u16::try_from((start + step) % size).unwrap_or(0);
        if !chosen.iter().any(|(number, _)| *number == port) && !port_taken(core, port) {
            return Ok(port);
        }
    }
    Err(fail::internal("failed to allocate a nodePort: range is full").into())
}

fn requested_port(core: &Core, service: &Value, field: &str, port: u16) -> Result<(), Box<Status>> {
    let (first, last) = core.config.node_ports;
    let why = if !(first..=last).contains(&port) {
        format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
    } else if port_taken(core, port) {
        "provided port is already allocated".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("Invalid value: {port}: {why}");
    let name = meta::text(service, "name");
    Err(fail::invalid_one("", "Service", name, field, "FieldValueInvalid", &message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_knows_its_addresses() {
        let range = ServiceRange::parse("127.96.0.0/16").unwrap();
        assert_eq!(range.at(1), Ipv4Addr::new(127, 96, 0, 1));
        assert!(range.contains(Ipv4Addr::new(127, 96, 0, 10)));
        assert!(!range.contains(Ipv4Addr::new(127, 96, 0, 0)) && !range.contains(Ipv4Addr::new(127, 96, 255, 255)));
        assert!(!range.contains(Ipv4Addr::new(127, 97, 0, 1)));
        assert_eq!(range.to_string(), "127.96.0.0/16");
        assert_eq!(ServiceRange::parse("nonsense"), None);
    }

    #[test]
    fn only_services_of_the_right_type_hold_ports_and_addresses() {
        let service = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"nodePort": 30001}, {"nodePort": 30001}, {}]}});
        assert_eq!(node_ports(&service), [30001]);
        assert_eq!(addresses(&service), ["10.0.0.1"]);
        let external = json!({"spec": {"type": "ExternalName", "clusterIP": "10.0.0.1"}});
        assert!(addresses(&external).is_empty() && node_ports(&external).is_empty());
        assert!(addresses(&json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})).is_empty());
    }
}
