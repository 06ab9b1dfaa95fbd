//! What exists in a cluster before anyone adds to it: namespaces, roles, priorities, and the Service `kubernetes`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use serde_json::{Value, json};
use storage::StoreError;

use crate::{
    cacher::Scope,
    core::Core,
    encoding, keys,
    registry::{
        commit::{Mutation, Outcome},
        meta, services, strategy,
    },
};

/// How the endpoint slices of the Service `kubernetes` begin that are for servers on a less common port.
const OTHER_PORTS: &str = "kubernetes-";
/// Objects written in one transaction.
const BATCH: usize = 64;

/// Creates what is not there.
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(core: &Arc<Core>) -> Result<(), StoreError> {
    let mut wanted: Vec<Value> = namespaces();
    wanted.extend(auth::bootstrap::objects());
    wanted.extend(own(core));
    wanted.extend(api_services(core));
    for batch in wanted.chunks(BATCH) {
        create_missing(core, batch).await?;
    }
    for object in auth::bootstrap::objects() {
        reconcile(core, &object).await?;
    }
    for repair in services::repairs(core) {
        repair.commit(&core.store).await?;
    }
    core.cacher.fresh().await.map_err(|reason| StoreError::Unavailable(reason.to_string()))?;
    core.bootstrapped.store(true, Ordering::Release);
    Ok(())
}

/// Points the Service `kubernetes` at these servers, and at no others.
///
/// # Errors
/// When the store fails.
pub async fn advertise(core: &Core, servers: &[SocketAddr]) -> Result<(), StoreError> {
    let wanted = endpoints(servers);
    let stale: Vec<String> = core
        .cacher
        .resource("discovery.k8s.io", "endpointslices")
        .map(|cache| cache.list(&Scope::Namespace("default".into()), None, |_| true).0)
        .unwrap_or_default()
        .iter()
        .map(|slice| slice.name().to_owned())
        .filter(|name| {
            name.starts_with(OTHER_PORTS) && wanted.iter().all(|object| object["metadata"]["name"] != **name)
        })
        .collect();
    for object in wanted {
        bring_up_to_date(core, object).await?;
    }
    let mut mutation = Mutation::default();
    for name in &stale {
        mutation.delete(keys::full("discovery.k8s.io", "endpointslices", "default", name));
    }
    if !stale.is_empty() {
        mutation.commit(&core.store).await?;
    }
    Ok(())
}

fn namespaces() -> Vec<Value> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| {
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            })
        })
        .to_vec()
}

fn own(core: &Core) -> Vec<Value> {
    let address = core.config.service_range.at(1).to_string();
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": core.config.advertised.port()}],
            },
            "status": {"loadBalancer": {}},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": address, "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            }},
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": "default", "name": "kubernetes"}},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [core.config.service_range.to_string()]},
            "status": {"conditions": [{
                "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready",
                "lastTransitionTime": meta::time(core.clock.now()),
            }]},
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {"client-ca-file": core.config.cluster_ca},
        }),
    ]
}

/// Where groups stand in discovery: the higher the earlier.
const GROUP_PRIORITIES: &[(&str, i64)] = &[
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("resource.k8s.io", 15200),
];

/// The versions that this server serves itself, as objects.
fn api_services(core: &Core) -> Vec<Value> {
    let table = core.table();
    let now = meta::time(core.clock.now());
    let mut services = Vec::new();
    for (group, priority) in GROUP_PRIORITIES {
        for version in table.versions(group) {
            let version_priority = match (*group, version.as_str()) {
                ("", _) => 1,
                ("autoscaling", "v2") => 30,
                ("flowcontrol.apiserver.k8s.io", _) => 21,
                _ => 15,
            };
            let mut spec =
                json!({"version": version, "groupPriorityMinimum": priority, "versionPriority": version_priority});
            if !group.is_empty() {
                spec["group"] = (*group).into();
            }
            services.push(json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {
                    "name": format!("{version}.{group}"), "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
                },
                "spec": spec,
                "status": {"conditions": [{
                    "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": now,
                    "message": "Local APIServices are always available",
                }]},
            }));
        }
    }
    services
}

/// The endpoints of the Service `kubernetes`. A slice has one port for all its addresses, so servers that listen on different
/// ones stand in different slices: those of the port that most have in `kubernetes`, others in `kubernetes-PORT`.
fn endpoints(servers: &[SocketAddr]) -> Vec<Value> {
    let mut by_port: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for server in servers {
        by_port.entry(server.port()).or_default().push(server.ip().to_string());
    }
    let port = |port: &u16| json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let subset = |(number, hosts): (&u16, &Vec<String>)| {
        let addresses: Vec<Value> = hosts.iter().map(|host| json!({"ip": host})).collect();
        json!({"addresses": addresses, "ports": port(number)})
    };
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {
            "endpointslice.kubernetes.io/skip-mirror": "true",
        }},
        "subsets": by_port.iter().map(subset).collect::<Vec<Value>>(),
    })];
    let most = by_port.iter().max_by_key(|(_, hosts)| hosts.len()).map(|(number, _)| *number);
    for (number, hosts) in &by_port {
        let name = if Some(*number) == most { "kubernetes".to_owned() } else { format!("{OTHER_PORTS}{number}") };
        let endpoints: Vec<Value> =
            hosts.iter().map(|host| json!({"addresses": [host], "conditions": {"ready": true}})).collect();
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": port(number),
        }));
    }
    objects
}

/// Where an object belongs; `None` for a kind that is not served.
fn place(core: &Core, object: &Value) -> Option<(String, String, String)> {
    let api_version = object.get("apiVersion").and_then(Value::as_str)?;
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = object.get("kind").and_then(Value::as_str)?;
    let table = core.table();
    let resource =
        table.resources(group, version).iter().find(|resource| resource.kind == kind && resource.is_stored())?;
    let (group, name) = strategy::storage_of(&resource.group, &resource.name);
    let key = keys::object(meta::text(object, "namespace"), meta::text(object, "name"));
    Some((group.to_owned(), name.to_owned(), key))
}

fn prepared(core: &Core, object: &Value) -> Value {
    let mut object = object.clone();
    meta::remove(&mut object, "resourceVersion");
    meta::set(&mut object, "uid", core.entropy.uuid());
    meta::set(&mut object, "creationTimestamp", meta::time(core.clock.now()));
    object
}

async fn create_missing(core: &Core, objects: &[Value]) -> Result<(), StoreError> {
    let mut mutation = Mutation::default();
    let mut any = false;
    for object in objects {
        let Some((group, resource, key)) = place(core, object) else {
            tracing::warn!(kind = %object["kind"], "an object of the bootstrap data is of a kind that is not served");
            continue;
        };
        if core.cacher.resource(&group, &resource).is_some_and(|cache| cache.get(&key).is_some()) {
            continue;
        }
        any = true;
        let full = bytes::Bytes::from(keys::prefix(&group, &resource) + &key);
        mutation.absent(full.clone()).put(full, encoding::encode(&prepared(core, object)).stored().clone());
    }
    if any && mutation.commit(&core.store).await? == Outcome::Refused {
        // Another server is doing the same; what is missing still is created one by one.
        core.cacher.fresh().await.ok();
        for object in objects {
            let Some((group, resource, key)) = place(core, object) else { continue };
            let full = bytes::Bytes::from(keys::prefix(&group, &resource) + &key);
            let mut one = Mutation::default();
            one.absent(full.clone()).put(full, encoding::encode(&prepared(core, object)).stored().clone());
            one.commit(&core.store).await?;
        }
    }
    Ok(())
}

/// Gives back to an object what this version says it has and somebody, or an older version, took away; what was added stays.
/// An object whose annotation says so is left alone.
async fn reconcile(core: &Core, wanted: &Value) -> Result<(), StoreError> {
    let Some((group, resource, key)) = place(core, wanted) else { return Ok(()) };
    let Some(entry) = core.cacher.resource(&group, &resource).and_then(|cache| cache.get(&key)) else { return Ok(()) };
    let mut object = entry.decode();
    let annotation = |name: &str| object.pointer("/metadata/annotations").and_then(|all| all.get(name)).cloned();
    match group.as_str() {
        "rbac.authorization.k8s.io" => {
            if annotation("rbac.authorization.kubernetes.io/autoupdate").is_none_or(|value| value != "true") {
                return Ok(());
            }
            add_missing(&mut object["metadata"]["labels"], &wanted["metadata"]["labels"]);
            let lists = ["rules", "subjects"].into_iter().filter(|list| {
                // The rules of an aggregating role are gathered from others.
                *list != "rules" || !wanted["aggregationRule"].is_object()
            });
            for list in lists {
                let missing: Vec<Value> = items(wanted, list)
                    .filter(|item| {
                        let covered = list == "rules" && auth::rbac::covers_all(items(&object, list), item);
                        !covered && !items(&object, list).any(|present| present == *item)
                    })
                    .cloned()
                    .collect();
                if !missing.is_empty() {
                    let mut all: Vec<Value> = items(&object, list).cloned().collect();
                    all.extend(missing);
                    object[list] = all.into();
                }
            }
        }
        "flowcontrol.apiserver.k8s.io" => {
            if annotation("apf.kubernetes.io/autoupdate-spec").is_none_or(|value| value != "true") {
                return Ok(());
            }
            object["spec"] = wanted["spec"].clone();
        }
        _ => return Ok(()),
    }
    let encoded = encoding::encode(&object);
    if encoded.stored() == entry.encoded.stored() {
        return Ok(());
    }
    let full = bytes::Bytes::from(keys::prefix(&group, &resource) + &key);
    let mut mutation = Mutation::default();
    mutation.unchanged(full.clone(), entry.written).put(full, encoded.stored().clone());
    mutation.commit(&core.store).await?;
    Ok(())
}

fn items<'v>(object: &'v Value, list: &str) -> impl Iterator<Item = &'v Value> {
    object.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn add_missing(present: &mut Value, wanted: &Value) {
    for (key, value) in wanted.as_object().into_iter().flatten() {
        if present.get(key).is_none() {
            present[key.as_str()] = value.clone();
        }
    }
}

async fn bring_up_to_date(core: &Core, object: Value) -> Result<(), StoreError> {
    let Some((group, resource, key)) = place(core, &object) else { return Ok(()) };
    let full = bytes::Bytes::from(keys::prefix(&group, &resource) + &key);
    let present = core.cacher.resource(&group, &resource).and_then(|cache| cache.get(&key));
    let mut mutation = Mutation::default();
    match present {
        None => {
            mutation.absent(full.clone()).put(full, encoding::encode(&prepared(core, &object)).stored().clone());
        }
        Some(entry) => {
            let mut changed = entry.decode();
            for (field, value) in object.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata") {
                changed[field.as_str()] = value.clone();
            }
            let encoded = encoding::encode(&changed);
            if encoded.stored() == entry.encoded.stored() {
                return Ok(());
            }
            mutation.unchanged(full.clone(), entry.written).put(full, encoded.stored().clone());
        }
    }
    mutation.commit(&core.store).await?;
    Ok(())
}
