//! What each address of a Service leads to: a pure function of the Service and its EndpointSlices.
//!
//! The rules are kube-proxy's: ready endpoints serve; when there is none, those that still serve while they
//! terminate do; `Local` traffic policies keep to this node's endpoints; headless Services have no rules.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort},
        discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

/// The transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One endpoint that may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's address and the target port.
    pub address: SocketAddr,
    /// Whether it is on this node.
    pub local: bool,
}

/// One address at which a Service is reached, and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The Service, as `namespace/name`, for logs.
    pub service: String,
    /// The transport.
    pub protocol: Protocol,
    /// The Service's own address and port, before the rule for unprivileged ports.
    pub address: SocketAddr,
    /// Those that serve now.
    pub endpoints: Vec<Endpoint>,
    /// Whether an endpoint exists that may become ready: a connection is held for it.
    pub starting: bool,
    /// How long a client stays with its endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
}

/// The rules of `service`, whose slices are `slices`, on the node called `node`.
pub fn rules(service: &Service, slices: &[&EndpointSlice], node: &str, node_ip: IpAddr) -> Vec<Rule> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let name = format!(
        "{}/{}",
        service.metadata.namespace.as_deref().unwrap_or_default(),
        service.metadata.name.as_deref().unwrap_or_default()
    );
    if spec.type_.as_deref() == Some("ExternalName") || spec.cluster_ip.as_deref() == Some("None") {
        return Vec::new();
    }
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let seconds = spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref())
            .and_then(|client| client.timeout_seconds);
        Duration::from_secs(u64::try_from(seconds.unwrap_or(10_800)).unwrap_or(10_800))
    });
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let cluster_ips: Vec<IpAddr> = spec
        .cluster_ips
        .clone()
        .unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect())
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let external_ips: Vec<IpAddr> = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
    let mut rules = Vec::new();
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = protocol(port.protocol.as_deref()) else { continue };
        let mut add = |ip: IpAddr, number: i32, local_only: bool| {
            let Ok(number) = u16::try_from(number) else { return };
            let (endpoints, starting) = endpoints(port, protocol, slices, node, local_only);
            let address = SocketAddr::new(ip, number);
            rules.push(Rule { service: name.clone(), protocol, address, endpoints, starting, affinity });
        };
        cluster_ips.iter().for_each(|ip| add(*ip, port.port, internal_local));
        external_ips.iter().for_each(|ip| add(*ip, port.port, external_local));
        if let Some(node_port) = port.node_port.filter(|number| *number > 0) {
            add(node_ip, node_port, external_local);
        }
    }
    rules
}

/// A port's transport; SCTP has none here.
fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

/// The endpoints that serve `port` now, and whether another may come.
fn endpoints(
    port: &ServicePort,
    protocol_of_port: Protocol,
    slices: &[&EndpointSlice],
    node: &str,
    local_only: bool,
) -> (Vec<Endpoint>, bool) {
    let (mut ready, mut draining, mut starting) = (Vec::new(), Vec::new(), false);
    for slice in slices {
        let target = slice.ports.iter().flatten().find(|target| {
            target.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                && protocol(target.protocol.as_deref()) == Some(protocol_of_port)
        });
        // A slice of endpoints that are all unready may name no port yet: a numeric target port says it.
        let number = target.and_then(|target| target.port).or(match &port.target_port {
            Some(IntOrString::Int(number)) => Some(*number),
            _ => None,
        });
        for endpoint in slice.endpoints.iter().flatten() {
            let local = endpoint.node_name.as_deref() == Some(node);
            if local_only && !local {
                continue;
            }
            let (is_ready, serves, terminates) = conditions(endpoint);
            starting |= !is_ready && !terminates;
            let addresses = endpoint
                .addresses
                .iter()
                .filter_map(|ip| Some(SocketAddr::new(ip.parse().ok()?, u16::try_from(number?).ok()?)))
                .map(|address| Endpoint { address, local });
            match (is_ready, serves && terminates) {
                (true, _) if target.is_some() => ready.extend(addresses),
                (false, true) if target.is_some() => draining.extend(addresses),
                _ => {}
            }
        }
    }
    let mut serving = if ready.is_empty() { draining } else { ready };
    serving.sort_by_key(|endpoint| endpoint.address);
    serving.dedup();
    (serving, starting)
}

/// Ready, serving and terminating, with the defaults that the API gives to what is absent.
fn conditions(endpoint: &SliceEndpoint) -> (bool, bool, bool) {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    (ready, serving, terminating)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    const NODE: &str = "here";

    fn service(spec: serde_json::Value) -> Service {
        from_value(json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec})).expect("a Service")
    }

    fn slice(endpoints: serde_json::Value) -> EndpointSlice {
        from_value(json!({
            "metadata": {"name": "web-1"}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints
        }))
        .expect("an EndpointSlice")
    }

    fn plan(spec: serde_json::Value, endpoints: serde_json::Value) -> Vec<Rule> {
        rules(&service(spec), &[&slice(endpoints)], NODE, IpAddr::from([127, 0, 0, 1]))
    }

    fn http() -> serde_json::Value {
        json!({"clusterIP": "127.96.0.9", "clusterIPs": ["127.96.0.9"],
               "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]})
    }

    #[test]
    fn ready_endpoints_serve_the_cluster_ip_and_the_node_port() {
        let rules = plan(http(), json!([{"addresses": ["127.64.0.2"], "nodeName": "here"}]));
        let addresses: Vec<_> = rules.iter().map(|rule| rule.address.to_string()).collect();
        assert_eq!(addresses, ["127.96.0.9:80", "127.0.0.1:30080"]);
        assert!(rules.iter().all(|rule| rule.endpoints.len() == 1 && rule.endpoints[0].local && !rule.starting));
    }

    #[test]
    fn an_endpoint_that_starts_is_waited_for_and_not_served() {
        let rules = plan(http(), json!([{"addresses": ["127.64.0.2"], "conditions": {"ready": false}}]));
        assert!(rules[0].endpoints.is_empty() && rules[0].starting);
    }

    #[test]
    fn those_that_terminate_serve_only_when_none_is_ready() {
        let draining = json!({"addresses": ["127.64.0.2"],
                              "conditions": {"ready": false, "serving": true, "terminating": true}});
        let alone = plan(http(), json!([draining]));
        assert_eq!(alone[0].endpoints[0].address.to_string(), "127.64.0.2:8080");
        let beside = plan(http(), json!([draining, {"addresses": ["127.64.0.3"]}]));
        assert_eq!(beside[0].endpoints.len(), 1);
        assert_eq!(beside[0].endpoints[0].address.to_string(), "127.64.0.3:8080");
    }

    #[test]
    fn local_policy_keeps_to_this_node() {
        let mut spec = http();
        spec["internalTrafficPolicy"] = json!("Local");
        let rules = plan(spec, json!([{"addresses": ["127.64.0.2"], "nodeName": "there"}]));
        assert!(rules[0].endpoints.is_empty());
        assert_eq!(rules[1].endpoints.len(), 1, "the node port follows externalTrafficPolicy");
    }

    #[test]
    fn headless_services_have_no_rules() {
        assert!(plan(json!({"clusterIP": "None", "ports": [{"port": 80}]}), json!([])).is_empty());
    }
}
