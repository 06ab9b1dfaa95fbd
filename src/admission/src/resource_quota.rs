//! `ResourceQuota`: how much of what a namespace may hold.
//!
//! A request that is let in is charged: what it uses is added to the quota's status. The caller writes the charges in the
//! transaction that writes the object and requires the quotas to be those that were read, so that two requests can never
//! share the last of something.

use std::{collections::BTreeMap, sync::Arc};

use apimachinery::{
    pod_resources::{self, Resources, containers},
    quantity::Quantity,
    quota_scopes::in_scope,
    quota_usage::usage,
    status::{GroupResource, Status},
};
use auth::ObjectReader;
use serde_json::Value;

use crate::{Operation, Request, text};

/// A quota with what a request adds to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The quota with its new status; its `resourceVersion` is the one that was read.
    pub quota: Value,
}

/// Resources of pods of which every container must say how much it wants where they are limited.
const EXPLICIT: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// What a request adds to the quotas of its namespace.
///
/// # Errors
/// 403 when a quota has not enough left.
pub fn charges(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<Vec<Charge>, Status> {
    let Some(object) = request.object.as_deref() else { return Ok(Vec::new()) };
    if request.namespace.is_empty() || !is_counted(request) {
        return Ok(Vec::new());
    }
    let quotas = reader.list("", "resourcequotas", Some(request.namespace));
    if quotas.is_empty() {
        return Ok(Vec::new());
    }
    let mut added = usage(request.group, request.resource, object);
    if let Some(old) = request.old.filter(|_| request.operation == Operation::Update) {
        for (name, before) in usage(request.group, request.resource, old) {
            added.entry(name).or_insert_with(Quantity::zero).sub(&before);
        }
    }
    if let Some(negative) = joined(added.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()))
        && request.operation == Operation::Create
    {
        return Err(request.forbidden(&format!("quota usage is negative for resource(s): {negative}")));
    }
    let mut charges = Vec::new();
    for quota in quotas {
        if let Some(charge) = charge(request, object, &quota, &added)? {
            charges.push(charge);
        }
    }
    Ok(charges)
}

/// Whether the operation can use more of anything.
fn is_counted(request: &Request<'_>) -> bool {
    match (request.group, request.resource, request.subresource) {
        ("", "pods", "resize") => request.operation == Operation::Update,
        ("", "services" | "persistentvolumeclaims", "") => {
            matches!(request.operation, Operation::Create | Operation::Update)
        }
        (_, _, "") => request.operation == Operation::Create,
        _ => false,
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn shown(amounts: &Resources, of: &[&String]) -> String {
    let zero = Quantity::zero();
    let parts: Vec<String> =
        of.iter().map(|name| format!("{name}={}", amounts.get(*name).unwrap_or(&zero).canonical())).collect();
    parts.join(",")
}

fn charge(
    request: &Request<'_>,
    object: &Value,
    quota: &Arc<Value>,
    added: &Resources,
) -> Result<Option<Charge>, Status> {
    let hard = pod_resources::read(quota.pointer("/status/hard"));
    let concerned: Vec<&String> = hard.keys().filter(|name| concerns(request, name)).collect();
    if concerned.is_empty() || !in_scope(request.group, request.resource, object, quota) {
        return Ok(None);
    }
    let name = text(quota, "/metadata/name");
    if request.group.is_empty()
        && request.resource == "pods"
        && let Some(missing) = unspecified(object, &concerned)
    {
        return Err(request.forbidden(&format!("failed quota: {name}: must specify {missing}")));
    }
    let mut used = pod_resources::read(quota.pointer("/status/used"));
    if let Some(unknown) = joined(concerned.iter().filter(|name| !used.contains_key(**name)).map(|name| name.as_str()))
    {
        return Err(request.forbidden(&format!("status unknown for quota: {name}, resources: {unknown}")));
    }
    let wanted: Resources = added
        .iter()
        .filter(|(name, amount)| hard.contains_key(*name) && !amount.is_zero())
        .map(|(name, amount)| (name.clone(), amount.clone()))
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let before = used.clone();
    pod_resources::add(&mut used, &wanted);
    let exceeded: Vec<&String> =
        wanted.keys().filter(|name| wanted[*name].sign() > 0 && used[*name] > hard[*name]).collect();
    if !exceeded.is_empty() {
        let why = format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            shown(&wanted, &exceeded),
            shown(&before, &exceeded),
            shown(&hard, &exceeded)
        );
        return Err(request.forbidden(&why));
    }
    let mut quota = (**quota).clone();
    for name in wanted.keys() {
        quota["status"]["used"][name.as_str()] = used[name].canonical().into();
    }
    Ok(Some(Charge { quota }))
}

/// The name under which all objects of a resource are counted.
fn count_of(request: &Request<'_>) -> String {
    format!("count/{}", GroupResource::new(request.group, request.resource))
}

/// Whether a limit of this name is about the request's resource.
fn concerns(request: &Request<'_>, name: &str) -> bool {
    if name == count_of(request) {
        return true;
    }
    match (request.group, request.resource) {
        ("", "pods") => {
            matches!(name, "pods" | "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || name
                    .strip_prefix("limits.")
                    .is_some_and(|what| matches!(what, "cpu" | "memory" | "ephemeral-storage"))
                || name.strip_prefix("requests.").is_some_and(|what| what != "storage")
        }
        ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        ("", "persistentvolumeclaims") => {
            matches!(name, "persistentvolumeclaims" | "requests.storage")
                || name.contains(".storageclass.storage.k8s.io/")
        }
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => name == request.resource,
        _ => false,
    }
}

/// What containers do not say although it is limited.
fn unspecified(pod: &Value, limited: &[&String]) -> Option<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in EXPLICIT.iter().filter(|name| limited.iter().any(|limited| limited.as_str() == **name)) {
        let (side, resource) = name.split_once('.').unwrap_or(("requests", name));
        if pod.pointer(&format!("/spec/resources/{side}/{resource}")).is_some() {
            continue;
        }
        for container in containers(pod, "containers").chain(containers(pod, "initContainers")) {
            if container.pointer(&format!("/resources/{side}/{resource}")).is_none() {
                missing.entry(name).or_default().push(text(container, "/name"));
            }
        }
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, mut containers)| {
            containers.sort_unstable();
            format!("{name} for: {}", containers.join(","))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use auth::UserInfo;
    use serde_json::json;

    use super::*;

    struct One(Value);

    impl ObjectReader for One {
        fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
            None
        }
        fn list(&self, _: &str, resource: &str, _: Option<&str>) -> Vec<Arc<Value>> {
            if resource == "resourcequotas" { vec![Arc::new(self.0.clone())] } else { Vec::new() }
        }
    }

    #[test]
    fn a_quota_is_charged_until_it_is_full() {
        let quota = |used: &str| {
            One(json!({"metadata": {"name": "q"}, "status": {
                "hard": {"configmaps": "3", "requests.cpu": "1", "services.nodeports": "0", "pods": "1"},
                "used": {"configmaps": used, "requests.cpu": "0", "services.nodeports": "0", "pods": "0"}}}))
        };
        let user = UserInfo::default();
        let ask = |resource: &'static str, mut object: Value, used: &str| {
            let request = Request {
                user: &user,
                operation: Operation::Create,
                group: "",
                version: "v1",
                resource,
                subresource: "",
                kind: "X",
                namespace: "n",
                name: "x",
                object: Some(&mut object),
                old: None,
                dry_run: false,
                options: &Value::Null,
            };
            charges(&request, &quota(used)).map_err(|status| status.message)
        };
        let charged = ask("configmaps", json!({}), "2").unwrap();
        assert_eq!(charged[0].quota["status"]["used"]["configmaps"], "3");
        let container =
            |requests: Value| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}});
        for (resource, object, why) in [
            (
                "configmaps",
                json!({}),
                "exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3",
            ),
            ("pods", container(json!({})), "failed quota: q: must specify requests.cpu for: c"),
            (
                "pods",
                container(json!({"cpu": "2"})),
                "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1",
            ),
            (
                "pods",
                json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "overhead": {"cpu": "10m"}}}),
                "exceeded quota: q, requested: requests.cpu=1010m, used: requests.cpu=0, limited: requests.cpu=1",
            ),
            (
                "services",
                json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
                "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=0, limited: services.nodeports=0",
            ),
        ] {
            assert_eq!(ask(resource, object, "3").unwrap_err(), format!("{resource} \"x\" is forbidden: {why}"));
        }
        assert_eq!(ask("secrets", json!({}), "3").unwrap(), []);
    }
}
