//! What slices mirror Endpoints that somebody made by hand for a Service without a selector.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    endpoints::plan::{LAST_CHANGE, LEADER},
    endpointslice::plan::{MANAGED_BY, Plan, SERVICE_NAME, key_of},
    framework::controller_ref,
};

/// This controller, as slices say it.
pub const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// More addresses of a subset than that are not mirrored.
pub const MAX_ADDRESSES: usize = 1000;

/// What is to be done, and what cannot be.
#[derive(Debug, Default, PartialEq)]
pub struct Mirrored {
    /// The slices.
    pub plan: Plan,
    /// So many addresses are none.
    pub invalid: usize,
    /// So many are too many.
    pub skipped: usize,
}

/// Compares what is with what should be.
pub fn plan(service: Option<&Service>, endpoints: Option<&Endpoints>, slices: &[Arc<EndpointSlice>]) -> Mirrored {
    let mut mirrored = Mirrored::default();
    let endpoints = endpoints.filter(|endpoints| is_mirrored(service, endpoints));
    let mut existing: BTreeMap<_, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()) {
        let key = (slice.address_type.clone(), key_of(slice.ports.as_deref().unwrap_or_default()));
        existing.entry(key).or_default().push(slice.clone());
    }
    for slice in endpoints.map(|endpoints| wanted(endpoints, &mut mirrored)).unwrap_or_default() {
        let key = (slice.address_type.clone(), key_of(slice.ports.as_deref().unwrap_or_default()));
        let there = existing.get_mut(&key).and_then(Vec::pop);
        match there {
            None => mirrored.plan.create.push(slice),
            Some(there) if is_same(&there, &slice) => {}
            Some(there) => {
                let mut slice = slice;
                slice.metadata.generate_name.clone_from(&there.metadata.generate_name);
                slice.metadata.name.clone_from(&there.metadata.name);
                slice.metadata.resource_version.clone_from(&there.metadata.resource_version);
                mirrored.plan.update.push(slice);
            }
        }
    }
    mirrored.plan.delete.extend(existing.into_values().flatten());
    mirrored
}

fn is_mirrored(service: Option<&Service>, endpoints: &Endpoints) -> bool {
    let selects = |service: &Service| {
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
    };
    let labels = endpoints.metadata.labels.as_ref();
    let skip = labels.and_then(|labels| labels.get(SKIP)).is_some_and(|value| value == "true");
    let lock = endpoints.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER));
    service.is_some_and(|service| !selects(service)) && !skip && !lock
}

fn is_same(there: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let annotations = |slice: &EndpointSlice| slice.metadata.annotations.clone().unwrap_or_default();
    there.endpoints == wanted.endpoints
        && there.metadata.labels == wanted.metadata.labels
        && there.metadata.owner_references == wanted.metadata.owner_references
        && annotations(there) == annotations(wanted)
}

fn wanted(endpoints: &Endpoints, mirrored: &mut Mirrored) -> Vec<EndpointSlice> {
    let mut slices: BTreeMap<_, EndpointSlice> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let mut room = MAX_ADDRESSES;
        for (address, ready) in ready.chain(not_ready) {
            if room == 0 {
                mirrored.skipped += 1;
                continue;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                mirrored.invalid += 1;
                continue;
            };
            let address_type = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let slice = slices
                .entry((address_type, key_of(&ports)))
                .or_insert_with(|| new_slice(endpoints, address_type, ports.clone()));
            let endpoint = endpoint(address, ready);
            let held = slice.endpoints.get_or_insert_default();
            if !held.contains(&endpoint) {
                held.push(endpoint);
                room -= 1;
            }
        }
    }
    slices.into_values().collect()
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn new_slice(endpoints: &Endpoints, address_type: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    let dropped = BTreeSet::from([LAST_CHANGE, APPLIED]);
    annotations.retain(|key, _| !dropped.contains(key.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints: Some(Vec::new()),
        ports: Some(ports),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoints(subsets: &serde_json::Value) -> Endpoints {
        let meta = json!({"name": "bare", "namespace": "n", "uid": "e", "annotations": {"a": "1", APPLIED: "{}"}});
        serde_json::from_value(json!({"metadata": meta, "subsets": subsets})).expect("endpoints")
    }

    fn service(selector: &serde_json::Value) -> Service {
        let object = json!({"metadata": {"name": "bare", "namespace": "n"}, "spec": {"selector": selector}});
        serde_json::from_value(object).expect("a service")
    }

    #[test]
    fn addresses_become_endpoints_by_family_and_ports() {
        let made = endpoints(&json!([{"addresses": [{"ip": "10.7.0.1"}, {"ip": "fd00::1"}, {"ip": "x"}],
            "notReadyAddresses": [{"ip": "10.7.0.2"}], "ports": [{"port": 80}]}]));
        let bare = service(&serde_json::Value::Null);
        let mirrored = plan(Some(&bare), Some(&made), &[]);
        let slices = json!(mirrored.plan.create);
        assert_eq!(slices.as_array().map(Vec::len), Some(2));
        assert_eq!(mirrored.invalid, 1);
        let ready: Vec<_> =
            slices[0]["endpoints"].as_array().expect("a list").iter().map(|one| one["conditions"].clone()).collect();
        assert_eq!(ready, [json!({"ready": true}), json!({"ready": false})]);
        assert_eq!(slices[0]["metadata"]["annotations"], json!({"a": "1"}));
        let there: Vec<_> = mirrored.plan.create.into_iter().map(Arc::new).collect();
        assert!(plan(Some(&bare), Some(&made), &there).plan.is_empty(), "it has come to rest");
        let selecting = service(&json!({"app": "w"}));
        for (service, endpoints) in [(Some(&selecting), Some(&made)), (None, Some(&made)), (Some(&bare), None)] {
            assert_eq!(plan(service, endpoints, &there).plan.delete.len(), 2, "nothing to mirror any more");
        }
    }
}
