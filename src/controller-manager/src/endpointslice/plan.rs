//! What the EndpointSlices of a Service should be, as a function of the Service, its pods and the slices there are.
//!
//! Endpoints stay in the slice they are in as long as they can: every change of a slice goes to every node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apimachinery::meta;
use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    endpoints::plan::{self as endpoints, HEADLESS, LAST_CHANGE},
    framework::controller_ref,
};

/// Names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Names who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller, as [`MANAGED_BY`] says it.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// So many endpoints are in a slice at most.
pub const MAX_ENDPOINTS: usize = 100;

/// What is to be done, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Slices to make.
    pub create: Vec<EndpointSlice>,
    /// Slices to replace.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// Compares what is with what should be. `zone` says of a node's name whether there is such a node, and in which zone.
pub fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
    zone: impl Fn(&str) -> Option<Option<String>>,
) -> Plan {
    let mut plan = Plan::default();
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    let types: BTreeSet<&str> = match families.as_slice() {
        [] => BTreeSet::from(["IPv4"]),
        families => families.iter().map(String::as_str).collect(),
    };
    let slices: Vec<_> = slices.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()).cloned().collect();
    plan.delete.extend(slices.iter().filter(|slice| !types.contains(slice.address_type.as_str())).cloned());
    for address_type in types {
        let of_type: Vec<_> = slices.iter().filter(|slice| slice.address_type == address_type).cloned().collect();
        plan_type(&mut plan, service, pods, &of_type, address_type, &zone);
    }
    let selected: Vec<&Pod> = pods.iter().map(|pod| &**pod).collect();
    if let Some(time) = endpoints::trigger_time(service, &selected) {
        for slice in plan.create.iter_mut().chain(&mut plan.update) {
            let annotations = slice.metadata.annotations.get_or_insert_default();
            annotations.insert(LAST_CHANGE.to_owned(), meta::time(time));
        }
    }
    if service.metadata.deletion_timestamp.is_some() {
        // The garbage collector is deleting its slices.
        plan.create.clear();
    }
    plan
}

/// Ports by which slices are told apart: two slices with the same ports hold endpoints of one sort.
type Ports = BTreeSet<(Option<String>, Option<i32>, Option<String>, Option<String>)>;

/// The key of a slice's ports.
pub fn key_of(ports: &[EndpointPort]) -> Ports {
    ports.iter().map(|port| (port.name.clone(), port.port, port.protocol.clone(), port.app_protocol.clone())).collect()
}

/// What one endpoint is, whatever its state.
type Identity = (Vec<String>, Option<String>, Option<(String, String)>);

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    let target =
        target.map(|target| (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default()));
    (endpoint.addresses.clone(), endpoint.hostname.clone(), target)
}

/// The endpoints that slices with some ports should hold.
#[derive(Default)]
struct Desired {
    ports: Vec<EndpointPort>,
    endpoints: BTreeMap<Identity, Endpoint>,
}

fn plan_type(
    plan: &mut Plan,
    service: &Service,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
    address_type: &str,
    zone: &impl Fn(&str) -> Option<Option<String>>,
) {
    let publish = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or_default();
    let mut desired: BTreeMap<Ports, Desired> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| endpoints::has_endpoint(pod, true)) {
        let ports = ports(service, pod);
        let of_ports = desired.entry(key_of(&ports)).or_insert_with(|| Desired { ports, ..Desired::default() });
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let zone = match zone(node) {
            // Not known yet, or gone with its pods: a new node is a reason to look again.
            None if !publish => continue,
            found => found.flatten(),
        };
        if let Some(endpoint) = endpoint(service, pod, address_type, zone, publish) {
            of_ports.endpoints.insert(identity(&endpoint), endpoint);
        }
    }
    hint(service, &mut desired);
    let (mut create, mut update, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    let mut existing: BTreeMap<Ports, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        if owned_by(slice, service) {
            existing.entry(key_of(slice.ports.as_deref().unwrap_or_default())).or_default().push(slice.clone());
        } else {
            delete.push(slice.clone());
        }
    }
    for (key, desired) in desired {
        let slices = existing.remove(&key).unwrap_or_default();
        fill(service, address_type, &slices, desired, &mut create, &mut update, &mut delete);
    }
    delete.extend(existing.into_values().flatten());
    // A Service has a slice also when nothing answers.
    if delete.len() == slices.len() && create.is_empty() {
        let placeholder = new_slice(service, address_type, Vec::new());
        match delete.as_slice() {
            [only] if is_same_placeholder(only, &placeholder) => delete.clear(),
            _ => create.push(placeholder),
        }
    }
    // Rather than deleting one slice and making another, the one is turned into the other.
    delete.retain(|slice| {
        if !owned_by(slice, service) {
            return true;
        }
        let Some(mut turned) = create.pop() else { return true };
        turned.metadata.name.clone_from(&slice.metadata.name);
        turned.metadata.resource_version.clone_from(&slice.metadata.resource_version);
        update.push(turned);
        false
    });
    plan.create.extend(create);
    plan.update.extend(update);
    plan.delete.extend(delete);
}

/// Distributes the endpoints of one sort over its slices.
fn fill(
    service: &Service,
    address_type: &str,
    slices: &[Arc<EndpointSlice>],
    mut desired: Desired,
    create: &mut Vec<EndpointSlice>,
    update: &mut Vec<EndpointSlice>,
    delete: &mut Vec<Arc<EndpointSlice>>,
) {
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for slice in slices {
        let (mut kept, mut differs) = (Vec::new(), false);
        for endpoint in held(slice) {
            if let Some(wanted) = desired.endpoints.remove(&identity(endpoint)) {
                differs |= wanted != *endpoint;
                kept.push(wanted);
            }
        }
        let labels = labels(service);
        if kept.is_empty() && !held(slice).is_empty() {
            delete.push(slice.clone());
        } else if differs || kept.len() != held(slice).len() || slice.metadata.labels.as_ref() != Some(&labels) {
            let mut slice = EndpointSlice::clone(slice);
            slice.metadata.labels = Some(labels);
            slice.endpoints = Some(kept);
            changed.push(slice);
        } else {
            unchanged.push(slice);
        }
    }
    let mut left = desired.endpoints.into_values();
    // The fullest first, so that few slices are half empty.
    changed.sort_by_key(|slice| std::cmp::Reverse(held(slice).len()));
    changed.iter_mut().for_each(|slice| put(slice, &mut left));
    while left.len() > 0 {
        let fits = |slice: &Arc<EndpointSlice>| held(slice).len() + left.len() <= MAX_ENDPOINTS;
        let fullest =
            (0..unchanged.len()).filter(|at| fits(unchanged[*at])).max_by_key(|at| held(unchanged[*at]).len());
        let mut slice = match fullest {
            Some(at) if left.len() < MAX_ENDPOINTS => EndpointSlice::clone(unchanged.swap_remove(at)),
            _ => new_slice(service, address_type, desired.ports.clone()),
        };
        put(&mut slice, &mut left);
        if slice.metadata.name.is_some() { changed.push(slice) } else { create.push(slice) }
    }
    update.extend(changed);
}

/// The endpoints of a slice.
pub fn held(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

/// Moves endpoints into a slice until it is full.
fn put(slice: &mut EndpointSlice, from: &mut impl Iterator<Item = Endpoint>) {
    let endpoints = slice.endpoints.get_or_insert_default();
    let room = MAX_ENDPOINTS.saturating_sub(endpoints.len());
    endpoints.extend(from.take(room));
}

fn owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    let owners = slice.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| Some(&owner.uid) == service.metadata.uid.as_ref() && owner.kind == "Service")
}

fn is_same_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    held(slice).is_empty()
        && slice.ports.as_ref().is_none_or(Vec::is_empty)
        && slice.metadata.labels == placeholder.metadata.labels
        && slice.metadata.owner_references == placeholder.metadata.owner_references
}

fn new_slice(service: &Service, address_type: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: service.metadata.name.as_ref().map(|name| format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints: Some(Vec::new()),
        ports: Some(ports),
    }
}

/// The labels of the Service, and those by which its slices are found.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if !endpoints::has_address(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let number = |port| endpoints::find_port(pod, port);
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(number(port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn endpoint(service: &Service, pod: &Pod, address_type: &str, zone: Option<String>, publish: bool) -> Option<Endpoint> {
    let six = address_type == "IPv6";
    let addresses: Vec<String> =
        endpoints::addresses(pod).filter(|address| address.contains(':') == six).map(str::to_owned).collect();
    let (serving, terminating) = (crate::pods::is_ready(pod), pod.metadata.deletion_timestamp.is_some());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    (!addresses.is_empty()).then(|| Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: endpoints::hostname(pod, service).map(str::to_owned),
        node_name: node.filter(|node| !node.is_empty()),
        target_ref: Some(endpoints::target(pod)),
        zone,
        ..Endpoint::default()
    })
}

/// Says for whom each endpoint is meant, where the Service asks for traffic to stay near.
fn hint(service: &Service, desired: &mut BTreeMap<Ports, Desired>) {
    let distribution = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
    let same_node = match distribution {
        Some("PreferSameNode") => true,
        Some("PreferClose" | "PreferSameZone") => false,
        _ => return,
    };
    for endpoint in desired.values_mut().flat_map(|desired| desired.endpoints.values_mut()) {
        if endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(true) {
            continue;
        }
        let zones = endpoint.zone.as_ref().map(|zone| vec![ForZone { name: zone.clone() }]);
        let nodes = endpoint.node_name.as_ref().filter(|_| same_node).map(|node| vec![ForNode { name: node.clone() }]);
        if zones.is_some() || nodes.is_some() {
            endpoint.hints = Some(EndpointHints { for_zones: zones, for_nodes: nodes });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        let meta = json!({"name": "svc", "namespace": "n", "uid": "s"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a service")
    }

    fn plain() -> Service {
        service(
            json!({"clusterIP": "10.0.0.1", "selector": {"app": "w"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
        )
    }

    fn pod(number: usize, ready: bool) -> Arc<Pod> {
        let ip = format!("10.1.{}.{}", number / 250, number % 250 + 1);
        let ready = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}")},
                "spec": {"nodeName": "node", "containers": []},
                "status": {"podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .expect("a pod"),
        )
    }

    fn in_z1(_: &str) -> Option<Option<String>> {
        Some(Some("z1".to_owned()))
    }

    /// What the API server makes of a plan.
    fn apply(plan: &Plan, mut slices: Vec<Arc<EndpointSlice>>, names: &mut usize) -> Vec<Arc<EndpointSlice>> {
        slices.retain(|slice| !plan.delete.contains(slice));
        for update in &plan.update {
            let at = slices.iter().position(|slice| slice.metadata.name == update.metadata.name).expect("it is there");
            slices[at] = Arc::new(update.clone());
        }
        for create in &plan.create {
            let mut slice = create.clone();
            *names += 1;
            slice.metadata.name = Some(format!("svc-{names}"));
            slices.push(Arc::new(slice));
        }
        slices
    }

    #[test]
    fn conditions_tell_ready_serving_and_terminating_apart() {
        let mut leaving = Pod::clone(&pod(1, true));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        let cases = [
            (plain(), Arc::new(leaving), json!({"ready": false, "serving": true, "terminating": true})),
            (plain(), pod(1, true), json!({"ready": true, "serving": true, "terminating": false})),
            (
                service(json!({"clusterIP": "10.0.0.1", "publishNotReadyAddresses": true, "ports": [{"port": 80}]})),
                pod(1, false),
                json!({"ready": true, "serving": false, "terminating": false}),
            ),
        ];
        for (service, pod, conditions) in cases {
            let plan = plan(&service, &[pod], &[], in_z1);
            let endpoint = serde_json::to_value(&held(&plan.create[0])[0]).expect("JSON");
            assert_eq!(endpoint["conditions"], conditions);
            assert_eq!((&endpoint["zone"], &endpoint["nodeName"]), (&json!("z1"), &json!("node")));
        }
    }

    #[test]
    fn a_service_without_endpoints_has_an_empty_slice_that_stays() {
        let first = plan(&plain(), &[], &[], in_z1);
        assert!(held(&first.create[0]).is_empty());
        let slices = apply(&first, Vec::new(), &mut 0);
        assert!(plan(&plain(), &[], &slices, in_z1).is_empty());
        let filled = plan(&plain(), &[pod(1, true)], &slices, in_z1);
        assert_eq!(
            (filled.create.len(), filled.update.len(), filled.delete.len()),
            (0, 1, 0),
            "it is turned into another"
        );
    }

    #[test]
    fn a_pod_of_an_unknown_node_is_left_out() {
        let plan = plan(&plain(), &[pod(1, true)], &[], |_| None);
        assert!(held(&plan.create[0]).is_empty());
    }

    #[test]
    fn traffic_that_should_stay_near_is_hinted() {
        let spec = json!({"clusterIP": "10.0.0.1", "trafficDistribution": "PreferSameNode", "ports": [{"port": 80}]});
        let plan = plan(&service(spec), &[pod(1, true), pod(2, false)], &[], in_z1);
        let hints: Vec<_> = held(&plan.create[0]).iter().map(|endpoint| json!(endpoint.hints)).collect();
        assert_eq!(hints, [json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": "node"}]}), Value::Null]);
    }

    proptest! {
        /// Whatever pods come and go, the slices come to hold each once, none overfull, and then rest.
        #[test]
        fn slices_hold_every_pod_once(rounds in prop::collection::vec(prop::collection::btree_map(0usize..400, any::<bool>(), 0..300), 1..5)) {
            let (mut slices, mut names) = (Vec::new(), 0);
            for pods in rounds {
                let pods: Vec<_> = pods.into_iter().map(|(number, ready)| pod(number, ready)).collect();
                slices = apply(&plan(&plain(), &pods, &slices, in_z1), slices, &mut names);
                let mut all: Vec<_> = slices.iter().flat_map(|slice| held(slice).iter().map(identity)).collect();
                all.sort();
                let before = all.len();
                all.dedup();
                prop_assert_eq!((all.len(), before), (pods.len(), pods.len()));
                prop_assert!(slices.iter().all(|slice| held(slice).len() <= MAX_ENDPOINTS));
                prop_assert!(plan(&plain(), &pods, &slices, in_z1).is_empty());
            }
        }
    }
}
