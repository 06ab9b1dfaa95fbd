//! What the Endpoints of a Service should be, as a function of the Service and its pods.

use std::collections::{BTreeMap, HashMap};

use apimachinery::meta;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerPort, EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
        ServicePort,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use md5::{Digest, Md5};

use crate::pods;

/// Who writes these Endpoints.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// Marks what belongs to a Service without an address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// When what led to this was observed.
pub const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Marks Endpoints that are no endpoints, but a lock.
pub const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// More addresses than this are cut off: every change sends all of them to every node.
const MAX_ADDRESSES: usize = 1000;

/// What is to be done about a Service's Endpoints.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// They are missing.
    Create(Endpoints),
    /// They are not what they should be.
    Update(Endpoints),
}

/// Whether the controller sees to `service`: it selects pods and is no alias.
pub fn is_managed(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|labels| !labels.is_empty())
    })
}

/// Whether `pod` is one that `service` selects.
pub fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = pod.metadata.labels.as_ref();
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// Whether nothing that endpoints show differs between two states of a pod.
pub fn looks_the_same(old: &Pod, new: &Pod) -> bool {
    let spec = |pod: &Pod| {
        pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.hostname.clone(), spec.subdomain.clone()))
    };
    old.metadata.uid == new.metadata.uid
        && old.metadata.labels == new.metadata.labels
        && old.metadata.deletion_timestamp.is_some() == new.metadata.deletion_timestamp.is_some()
        && addresses(old).eq(addresses(new))
        && pods::is_ready(old) == pods::is_ready(new)
        && pods::is_finished(old) == pods::is_finished(new)
        && spec(old) == spec(new)
}

/// Compares what is with what should be; `None` when there is nothing to do.
pub fn plan<'a>(
    service: &Service,
    pods: impl IntoIterator<Item = &'a Pod>,
    current: Option<&Endpoints>,
) -> Option<Action> {
    let pods: Vec<&Pod> = pods.into_iter().collect();
    let mut subsets = subsets(service, &pods);
    let truncated = truncate(&mut subsets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if !has_address(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let marked = |endpoints: &Endpoints| {
        endpoints.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY))
    };
    if let Some(current) = current
        && current.subsets.as_deref().unwrap_or_default() == subsets
        && current.metadata.labels.as_ref() == Some(&labels)
        && marked(current) == truncated
    {
        return None;
    }
    let mut metadata = current.map_or_else(
        || ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |current| current.metadata.clone(),
    );
    metadata.managed_fields = None;
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    match trigger_time(service, &pods) {
        Some(time) => annotations.insert(LAST_CHANGE.to_owned(), meta::time(time)),
        None => annotations.remove(LAST_CHANGE),
    };
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    let wanted = Endpoints { metadata, subsets: Some(subsets) };
    Some(if current.is_some() { Action::Update(wanted) } else { Action::Create(wanted) })
}

/// Whether the Service has an address of its own.
pub fn has_address(service: &Service) -> bool {
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    address.is_some_and(|address| !address.is_empty() && address != "None")
}

/// Whether a Service without an address may have no ports.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether the pod can be an endpoint at all; one that is being deleted only when `terminating` ones count.
pub fn has_endpoint(pod: &Pod, terminating: bool) -> bool {
    let addressed = addresses(pod).next().is_some();
    !pods::is_finished(pod) && addressed && (terminating || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses.
pub fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    let first = status.and_then(|status| status.pod_ip.as_deref()).filter(|_| all.is_empty());
    all.iter().map(|address| address.ip.as_str()).chain(first).filter(|address| !address.is_empty())
}

/// The host name under which the pod is known to the Service's DNS, if it has one.
pub fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty())?;
    let same = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    (same && pod.metadata.namespace == service.metadata.namespace).then_some(hostname)
}

/// The number of `port` on `pod`; `None` when the pod has no port of that name.
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        Some(IntOrString::Int(number)) => return Some(*number),
        None => return Some(port.port),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let wanted = |candidate: &&ContainerPort| {
        candidate.name.as_ref() == Some(name)
            && protocol(candidate.protocol.as_ref()) == protocol(port.protocol.as_ref())
    };
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.find(wanted).map(|port| port.container_port)
}

fn protocol(given: Option<&String>) -> &str {
    given.map_or("TCP", String::as_str)
}

/// When the latest of what the endpoints follow from happened: a pod became ready (or not), or the Service was made.
pub fn trigger_time(service: &Service, pods: &[&Pod]) -> Option<Timestamp> {
    let readiness = pods.iter().filter_map(|pod| pods::ready_since(pod));
    readiness.chain(service.metadata.creation_timestamp.as_ref().map(|time| time.0)).max()
}

/// A reference to `pod` as endpoints carry it.
pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let six = families.first().is_some_and(|family| family == "IPv6");
    let ip = addresses(pod).find(|address| address.contains(':') == six)?;
    Some(EndpointAddress {
        ip: ip.to_owned(),
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(target(pod)),
    })
}

/// A port, and who offers it, each with whether it is ready.
type Offer = (Option<EndpointPort>, Vec<(EndpointAddress, bool)>);

/// Addresses that offer the same ports stand together.
fn subsets(service: &Service, pods: &[&Pod]) -> Vec<EndpointSubset> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let publish = spec.publish_not_ready_addresses.unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    // For each port, who offers it: by the digest that also orders ports, so that the order is Kubernetes'.
    let mut offers: BTreeMap<[u8; 16], Offer> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_endpoint(pod, publish)) {
        let Some(address) = address(service, pod) else { continue };
        let ready = publish || pods::is_ready(pod);
        if ports.is_empty() && is_headless(service) {
            offers.entry([0; 16]).or_default().1.push((address, ready));
            continue;
        }
        for port in ports {
            let Some(number) = find_port(pod, port) else { continue };
            let port = EndpointPort {
                name: port.name.clone(),
                port: number,
                protocol: Some(protocol(port.protocol.as_ref()).to_owned()),
                app_protocol: port.app_protocol.clone(),
            };
            let digest = digest(&port);
            offers.entry(digest).or_insert_with(|| (Some(port), Vec::new())).1.push((address.clone(), ready));
        }
    }
    let mut subsets: Vec<EndpointSubset> = Vec::new();
    let mut places: HashMap<Vec<(String, String, bool)>, usize> = HashMap::new();
    for (port, mut offered) in offers.into_values() {
        let uid = |address: &EndpointAddress| address.target_ref.as_ref().and_then(|target| target.uid.clone());
        offered.sort_by_key(|(address, _)| (address.ip.clone(), uid(address)));
        let key = offered.iter().map(|(address, ready)| (address.ip.clone(), uid(address).unwrap_or_default(), *ready));
        let place = *places.entry(key.collect()).or_insert_with(|| {
            let (ready, not_ready): (Vec<_>, Vec<_>) = offered.into_iter().partition(|(_, ready)| *ready);
            let list = |part: Vec<(EndpointAddress, bool)>| {
                (!part.is_empty()).then(|| part.into_iter().map(|(address, _)| address).collect::<Vec<_>>())
            };
            subsets.push(EndpointSubset { addresses: list(ready), not_ready_addresses: list(not_ready), ports: None });
            subsets.len() - 1
        });
        if let Some(port) = port {
            subsets[place].ports.get_or_insert_default().push(port);
        }
    }
    subsets
}

/// The digest by which kube-controller-manager orders ports: MD5 of the value as Go's spew prints it.
fn digest(port: &EndpointPort) -> [u8; 16] {
    let text = format!(
        "(v1.EndpointPort){{Name:(string){} Port:(int32){} Protocol:(v1.Protocol){} AppProtocol:(*string){}}}",
        port.name.as_deref().unwrap_or_default(),
        port.port,
        protocol(port.protocol.as_ref()),
        port.app_protocol.as_deref().unwrap_or("<nil>"),
    );
    Md5::digest(text).into()
}

/// Cuts off what is too much, not ready ones first; says whether it did.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| count(&subset.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|subset| count(&subset.not_ready_addresses)).sum();
    if ready + not_ready <= MAX_ADDRESSES {
        return false;
    }
    let mut room_ready = ready.min(MAX_ADDRESSES);
    let mut room_not_ready = MAX_ADDRESSES - room_ready;
    let cut = |list: &mut Option<Vec<EndpointAddress>>, room: &mut usize| {
        if let Some(addresses) = list {
            addresses.truncate(*room);
            *room -= addresses.len();
            if addresses.is_empty() {
                *list = None;
            }
        }
    };
    for subset in subsets {
        cut(&mut subset.addresses, &mut room_ready);
        cut(&mut subset.not_ready_addresses, &mut room_not_ready);
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        let object = json!({"metadata": {"name": "svc", "namespace": "n", "labels": {"l": "1"}}, "spec": spec});
        serde_json::from_value(object).expect("a service")
    }

    fn pod(name: &str, ip: &str, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "w"}},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .expect("a pod")
    }

    fn made(action: Option<Action>) -> Value {
        match action {
            Some(Action::Create(endpoints) | Action::Update(endpoints)) => {
                serde_json::to_value(endpoints).expect("JSON")
            }
            None => Value::Null,
        }
    }

    #[test]
    fn named_ports_are_looked_up_and_absent_ones_left_out() {
        let ports = json!([{"name": "h", "port": 80, "targetPort": "http", "protocol": "TCP"},
            {"name": "m", "port": 81, "targetPort": "absent", "protocol": "TCP"}]);
        let service = service(json!({"clusterIP": "10.0.0.1", "selector": {"app": "w"}, "ports": ports}));
        let pods = [pod("b", "10.1.0.2", false), pod("a", "10.1.0.1", true)];
        let first = plan(&service, &pods, None);
        let endpoints = made(first.clone());
        assert_eq!(
            endpoints["metadata"]["labels"],
            json!({"l": "1", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
        );
        let subset = &endpoints["subsets"][0];
        assert_eq!(subset["ports"], json!([{"name": "h", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(subset["addresses"][0]["targetRef"]["name"], "a");
        assert_eq!(subset["notReadyAddresses"][0]["ip"], "10.1.0.2");
        let Some(Action::Create(current)) = first else { panic!("they are missing") };
        assert_eq!(plan(&service, &pods, Some(&current)), None, "it has come to rest");
        let gone = plan(&service, &[], Some(&current));
        assert!(matches!(gone, Some(Action::Update(endpoints)) if endpoints.subsets == Some(Vec::new())));
    }

    #[test]
    fn ports_with_the_same_pods_share_a_subset() {
        let ports = json!([{"name": "a", "port": 1, "targetPort": 1}, {"name": "b", "port": 2, "targetPort": 2},
            {"name": "h", "port": 3, "targetPort": "http"}]);
        let service = service(json!({"clusterIP": "10.0.0.1", "selector": {"app": "w"}, "ports": ports}));
        let mut other = pod("b", "10.1.0.2", true);
        other.spec.as_mut().expect("a spec").containers[0].ports = None;
        let endpoints = made(plan(&service, &[pod("a", "10.1.0.1", true), other], None));
        let mut sizes: Vec<(usize, usize)> = endpoints["subsets"]
            .as_array()
            .expect("subsets")
            .iter()
            .map(|subset| {
                (subset["addresses"].as_array().map_or(0, Vec::len), subset["ports"].as_array().map_or(0, Vec::len))
            })
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [(1, 1), (2, 2)]);
    }

    #[test]
    fn terminating_and_ended_pods_are_no_endpoints_unless_they_are_published() {
        let mut leaving = pod("a", "10.1.0.1", true);
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert!(!has_endpoint(&leaving, false));
        assert!(has_endpoint(&leaving, true));
        leaving.status.as_mut().expect("a status").phase = Some("Failed".to_owned());
        assert!(!has_endpoint(&leaving, true));
        let headless =
            service(json!({"clusterIP": "None", "selector": {"app": "w"}, "publishNotReadyAddresses": true}));
        let endpoints = made(plan(&headless, &[pod("a", "10.1.0.1", false)], None));
        assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "10.1.0.1");
        assert_eq!(endpoints["metadata"]["labels"][HEADLESS], "");
    }

    #[test]
    fn a_thousand_addresses_are_enough() {
        let service = service(json!({"clusterIP": "10.0.0.1", "selector": {"app": "w"}, "ports": [{"port": 80}]}));
        let pods: Vec<Pod> =
            (0..1200).map(|i| pod(&format!("p{i}"), &format!("10.1.{}.{}", i / 250, i % 250 + 1), i >= 100)).collect();
        let endpoints = made(plan(&service, &pods, None));
        assert_eq!(endpoints["subsets"][0]["addresses"].as_array().map(Vec::len), Some(1000));
        assert_eq!(endpoints["metadata"]["annotations"][OVER_CAPACITY], "truncated");
    }
}
