//! The cluster's own names.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT},
};
use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};
use kube::runtime::reflector::{ObjectRef, Store};

use crate::DnsError;

/// How long an answer may be kept, in seconds: as short as CoreDNS has it, since endpoints move.
const TTL: u32 = 5;
/// The version of the specification that this follows.
const VERSION: &str = "1.1.0";

/// What is known of a name.
#[derive(Debug, PartialEq)]
pub enum Lookup {
    /// Not a name of this cluster: others may know.
    Elsewhere,
    /// A name of this cluster that does not exist.
    NoName,
    /// It exists; these are its records of the asked type, maybe none.
    Records(Vec<Record>),
}

/// The cluster's domain over the Services and EndpointSlices as last told.
#[derive(Clone)]
pub struct Zone {
    domain: Name,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
}

impl Zone {
    /// The zone called `domain`.
    ///
    /// # Errors
    /// When `domain` is not a domain name.
    pub fn new(domain: &str, services: Store<Service>, slices: Store<EndpointSlice>) -> Result<Self, DnsError> {
        let mut name = Name::from_ascii(domain)
            .map_err(|source| DnsError::Domain { domain: domain.to_owned(), reason: source.to_string() })?;
        name.set_fqdn(true);
        Ok(Self { domain: name, services, slices })
    }

    /// The start of authority, which goes with every answer that has no records.
    pub fn authority(&self) -> Record {
        let host = |label: &str| self.domain.clone().prepend_label(label).unwrap_or_else(|_| self.domain.clone());
        let soa = SOA::new(host("dns"), host("hostmaster"), 1, 7200, 1800, 86_400, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }

    /// Looks `name` up.
    pub fn look_up(&self, name: &Name, kind: RecordType) -> Lookup {
        if let Ok(net) = name.parse_arpa_name() {
            return self.reverse(name, net.addr());
        }
        if !self.domain.zone_of(name) {
            return Lookup::Elsewhere;
        }
        let own = usize::from(name.num_labels()).saturating_sub(usize::from(self.domain.num_labels()));
        let labels: Vec<String> =
            name.iter().take(own).map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] | ["svc" | "pod"] => Lookup::Records(Vec::new()),
            ["dns-version"] => {
                let text = RData::TXT(TXT::new(vec![VERSION.to_owned()]));
                Lookup::Records(if kind == RecordType::TXT { vec![record(name, text)] } else { Vec::new() })
            }
            [namespace, "svc" | "pod"] => self.namespace(namespace),
            [address, _, "pod"] => pod(name, address, kind),
            [service, namespace, "svc"] => self.service(name, namespace, service, kind),
            [endpoint, service, namespace, "svc"] => self.endpoint(name, namespace, service, endpoint, kind),
            [port, protocol, service, namespace, "svc"] if port.starts_with('_') && protocol.starts_with('_') => {
                self.port(name, namespace, service, (&port[1..], &protocol[1..]), kind)
            }
            _ => Lookup::NoName,
        }
    }

    fn namespace(&self, namespace: &str) -> Lookup {
        let exists =
            self.services.state().iter().any(|service| service.metadata.namespace.as_deref() == Some(namespace));
        if exists { Lookup::Records(Vec::new()) } else { Lookup::NoName }
    }

    fn find(&self, namespace: &str, service: &str) -> Option<std::sync::Arc<Service>> {
        self.services.get(&ObjectRef::new(service).within(namespace))
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> Lookup {
        let Some(object) = self.find(namespace, service) else { return Lookup::NoName };
        if let Some(external) = external_name(&object) {
            let target = Name::from_ascii(external).map(absolute);
            return Lookup::Records(
                target.map(|target| vec![record(name, RData::CNAME(CNAME(target)))]).unwrap_or_default(),
            );
        }
        if kind == RecordType::SRV {
            return Lookup::Records(self.service_ports(name, name, &object, None));
        }
        let addresses = cluster_ips(&object)
            .unwrap_or_else(|| self.endpoints(&object).iter().flat_map(|(_, endpoint)| addresses(endpoint)).collect());
        if addresses.is_empty() && cluster_ips(&object).is_none() {
            // A headless Service without ready endpoints has no name, as CoreDNS answers.
            return Lookup::NoName;
        }
        Lookup::Records(of_kind(name, addresses, kind))
    }

    /// One endpoint of a headless Service, by its host name or by its address with dashes.
    fn endpoint(&self, name: &Name, namespace: &str, service: &str, host: &str, kind: RecordType) -> Lookup {
        let Some(object) = self.find(namespace, service).filter(|object| cluster_ips(object).is_none()) else {
            return Lookup::NoName;
        };
        let found: Vec<IpAddr> = self
            .endpoints(&object)
            .iter()
            .filter(|(_, endpoint)| host_name(endpoint).as_deref() == Some(host))
            .flat_map(|(_, endpoint)| addresses(endpoint))
            .collect();
        if found.is_empty() { Lookup::NoName } else { Lookup::Records(of_kind(name, found, kind)) }
    }

    fn port(&self, name: &Name, namespace: &str, service: &str, wanted: (&str, &str), kind: RecordType) -> Lookup {
        let Some(object) = self.find(namespace, service) else { return Lookup::NoName };
        let host = name.trim_to(usize::from(name.num_labels()).saturating_sub(2));
        let records = self.service_ports(name, &host, &object, Some(wanted));
        match (records.is_empty(), kind) {
            (true, _) => Lookup::NoName,
            (false, RecordType::SRV) => Lookup::Records(records),
            _ => Lookup::Records(Vec::new()),
        }
    }

    /// SRV records of a Service's named ports, or of the `wanted` one (name and protocol).
    fn service_ports(&self, name: &Name, host: &Name, service: &Service, wanted: Option<(&str, &str)>) -> Vec<Record> {
        let asked = |port: Option<&str>, protocol: Option<&str>| {
            let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
            wanted.is_none_or(|(name, transport)| port == Some(name) && protocol == transport)
        };
        let srv = |port: i32, target: Name| {
            Some(record(name, RData::SRV(SRV::new(0, 100, u16::try_from(port).ok()?, target))))
        };
        if cluster_ips(service).is_some() {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            return ports
                .filter(|port| asked(port.name.as_deref(), port.protocol.as_deref()))
                .filter_map(|port| srv(port.port, host.clone()))
                .collect();
        }
        let mut records = Vec::new();
        for (slice, endpoint) in self.endpoints(service) {
            let Some(target) = host_name(&endpoint).and_then(|label| host.prepend_label(label).ok()) else { continue };
            let ports = slice.ports.iter().flatten();
            records.extend(
                ports
                    .filter(|port| asked(port.name.as_deref(), port.protocol.as_deref()))
                    .filter_map(|port| srv(port.port?, target.clone())),
            );
        }
        records
    }

    /// The endpoints that a name leads to, each with its slice.
    fn endpoints(&self, service: &Service) -> Vec<(std::sync::Arc<EndpointSlice>, Endpoint)> {
        let unready = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
        let mut found = Vec::new();
        for slice in self.slices.state() {
            let owner = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
            if slice.metadata.namespace != service.metadata.namespace || owner != service.metadata.name.as_ref() {
                continue;
            }
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
                if ready || unready {
                    found.push((slice.clone(), endpoint.clone()));
                }
            }
        }
        found
    }

    fn reverse(&self, name: &Name, address: IpAddr) -> Lookup {
        let own = |labels: [&str; 3]| {
            labels.iter().rev().try_fold(self.domain.clone(), |name, label| name.prepend_label(*label)).ok()
        };
        for service in self.services.state() {
            let (Some(service_name), Some(namespace)) = (&service.metadata.name, &service.metadata.namespace) else {
                continue;
            };
            let Some(host) = own([service_name, namespace, "svc"]) else { continue };
            if cluster_ips(&service).is_some_and(|ips| ips.contains(&address)) {
                return Lookup::Records(vec![record(name, RData::PTR(PTR(host)))]);
            }
            if cluster_ips(&service).is_some() || external_name(&service).is_some() {
                continue;
            }
            let endpoints = self.endpoints(&service);
            let endpoint = endpoints.iter().find(|(_, endpoint)| addresses(endpoint).contains(&address));
            if let Some(target) =
                endpoint.and_then(|(_, endpoint)| host_name(endpoint)).and_then(|label| host.prepend_label(label).ok())
            {
                return Lookup::Records(vec![record(name, RData::PTR(PTR(target)))]);
            }
        }
        Lookup::Elsewhere
    }
}

/// `1-2-3-4.namespace.pod`: the address that the name spells.
fn pod(name: &Name, address: &str, kind: RecordType) -> Lookup {
    match address.replace('-', ".").parse::<Ipv4Addr>() {
        Ok(address) => Lookup::Records(of_kind(name, vec![address.into()], kind)),
        Err(_) => Lookup::NoName,
    }
}

fn absolute(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

fn external_name(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("ExternalName"))?;
    spec.external_name.as_deref()
}

/// The Service's own addresses; none when it is headless.
fn cluster_ips(service: &Service) -> Option<Vec<IpAddr>> {
    let spec = service.spec.as_ref()?;
    let given = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    let parsed: Vec<IpAddr> = given.iter().filter_map(|ip| ip.parse().ok()).collect();
    (!parsed.is_empty()).then_some(parsed)
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect()
}

/// An endpoint's label below its Service: its host name, or its address with dashes.
fn host_name(endpoint: &Endpoint) -> Option<String> {
    endpoint.hostname.clone().or_else(|| Some(endpoint.addresses.first()?.replace(['.', ':'], "-")))
}

fn of_kind(name: &Name, addresses: Vec<IpAddr>, kind: RecordType) -> Vec<Record> {
    let data = addresses.into_iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(ip), RecordType::A | RecordType::ANY) => Some(RData::A(A(ip))),
        (IpAddr::V6(ip), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(ip))),
        _ => None,
    });
    data.map(|data| record(name, data)).collect()
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher::Event};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn zone(services: Vec<Value>, slices: Vec<Value>) -> Zone {
        let (service_store, mut writer) = reflector::store();
        for service in services {
            writer.apply_watcher_event(&Event::Apply(from_value::<Service>(service).expect("a Service")));
        }
        let (slice_store, mut writer) = reflector::store();
        for slice in slices {
            writer.apply_watcher_event(&Event::Apply(from_value::<EndpointSlice>(slice).expect("a slice")));
        }
        Zone::new("cluster.local", service_store, slice_store).expect("a name")
    }

    fn cluster() -> Zone {
        zone(
            vec![
                json!({"metadata": {"namespace": "default", "name": "web"},
                       "spec": {"clusterIP": "127.96.0.9", "ports": [{"name": "http", "port": 80}]}}),
                json!({"metadata": {"namespace": "default", "name": "db"},
                       "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}}),
                json!({"metadata": {"namespace": "default", "name": "out"},
                       "spec": {"type": "ExternalName", "externalName": "example.org"}}),
            ],
            vec![json!({"metadata": {"namespace": "default", "name": "db-1",
                                     "labels": {"kubernetes.io/service-name": "db"}},
                        "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
                        "endpoints": [{"addresses": ["127.64.0.2"], "hostname": "db-0"},
                                      {"addresses": ["127.64.0.3"]},
                                      {"addresses": ["127.64.0.4"], "conditions": {"ready": false}}]})],
        )
    }

    fn answers(name: &str, kind: RecordType) -> Vec<String> {
        match cluster().look_up(&Name::from_ascii(name).expect("a name"), kind) {
            Lookup::Records(records) => records.iter().map(|record| record.data.to_string()).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn a_service_has_its_cluster_ip_in_any_letter_case() {
        assert_eq!(answers("WEB.default.svc.cluster.local.", RecordType::A), ["127.96.0.9"]);
        assert!(answers("web.default.svc.cluster.local.", RecordType::AAAA).is_empty());
    }

    #[test]
    fn a_headless_service_has_its_ready_endpoints() {
        assert_eq!(answers("db.default.svc.cluster.local.", RecordType::A), ["127.64.0.2", "127.64.0.3"]);
        assert_eq!(answers("db-0.db.default.svc.cluster.local.", RecordType::A), ["127.64.0.2"]);
        assert_eq!(answers("127-64-0-3.db.default.svc.cluster.local.", RecordType::A), ["127.64.0.3"]);
    }

    #[test]
    fn named_ports_have_srv_records() {
        assert_eq!(
            answers("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV),
            ["0 100 80 web.default.svc.cluster.local."]
        );
        assert_eq!(
            answers("_sql._tcp.db.default.svc.cluster.local.", RecordType::SRV)[0],
            "0 100 5432 db-0.db.default.svc.cluster.local."
        );
        assert_eq!(answers("_sql._udp.db.default.svc.cluster.local.", RecordType::SRV), ["NoName"]);
    }

    #[test]
    fn an_external_name_is_an_alias_whatever_is_asked() {
        assert_eq!(answers("out.default.svc.cluster.local.", RecordType::A), ["example.org."]);
    }

    #[test]
    fn addresses_lead_back_to_names() {
        assert_eq!(answers("9.0.96.127.in-addr.arpa.", RecordType::PTR), ["web.default.svc.cluster.local."]);
        assert_eq!(answers("2.0.64.127.in-addr.arpa.", RecordType::PTR), ["db-0.db.default.svc.cluster.local."]);
        assert_eq!(answers("8.8.8.8.in-addr.arpa.", RecordType::PTR), ["Elsewhere"]);
    }

    #[test]
    fn pods_spell_their_address_and_unknown_names_do_not_exist() {
        assert_eq!(answers("127-64-0-2.default.pod.cluster.local.", RecordType::A), ["127.64.0.2"]);
        assert_eq!(answers("none.default.svc.cluster.local.", RecordType::A), ["NoName"]);
        assert_eq!(answers("none.cluster.local.", RecordType::A), ["NoName"]);
        assert_eq!(answers("example.org.", RecordType::A), ["Elsewhere"]);
        assert_eq!(answers("dns-version.cluster.local.", RecordType::TXT), ["1.1.0"]);
    }
}
