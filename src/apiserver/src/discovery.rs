//! Discovery: what there is, in the legacy form (a request a group version) and the aggregated one (one for all).

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    registry::strategy,
    resources::{Resource, Subresource, Table},
};

/// `/api`, legacy.
pub fn versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`, legacy.
pub fn groups(table: &Table) -> Value {
    let groups: Vec<Value> =
        table.groups().filter(|group| !group.is_empty()).filter_map(|group| group_body(table, group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`.
pub fn group(table: &Table, name: &str) -> Option<Value> {
    let mut body = group_body(table, name)?;
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

fn group_body(table: &Table, name: &str) -> Option<Value> {
    let versions: Vec<Value> = table
        .versions(name)
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

/// `/api/v1` and `/apis/{group}/{version}`.
pub fn resources(table: &Table, group: &str, version: &str) -> Option<Value> {
    let served = table.resources(group, version);
    if served.is_empty() {
        return None;
    }
    let mut list = Vec::new();
    for resource in served {
        list.push(entry(resource));
        list.extend(resource.subresources.iter().map(|sub| subentry(resource, sub)));
    }
    list.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    let mut body = json!({"kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": list});
    if !group.is_empty() {
        body["apiVersion"] = "v1".into();
    }
    Some(body)
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn entry(resource: &Resource) -> Value {
    let mut body = json!({
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        body["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        body["categories"] = json!(resource.categories);
    }
    if resource.is_stored() {
        body["storageVersionHash"] = storage_version_hash(resource).into();
    }
    body
}

fn subentry(resource: &Resource, sub: &Subresource) -> Value {
    let mut body = json!({
        "name": format!("{}/{}", resource.name, sub.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    if !sub.version.is_empty() && (sub.group.as_str(), sub.version.as_str()) != (&resource.group, &resource.version) {
        body["group"] = sub.group.clone().into();
        body["version"] = sub.version.clone().into();
    }
    body
}

/// Tells clients when the stored form of a resource changes.
fn storage_version_hash(resource: &Resource) -> String {
    let (group, name) = strategy::storage_of(&resource.group, &resource.name);
    let version = strategy::storage_version(group, name, &resource.version);
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &digest[..8])
}

/// `/api` or `/apis`, aggregated.
pub fn aggregated(table: &Table, core: bool) -> Value {
    let items: Vec<Value> = table
        .groups()
        .filter(|group| group.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = table
                .versions(group)
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        table.resources(group, version).iter().map(|r| aggregated_entry(r)).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_entry(resource: &Resource) -> Value {
    let mut body = json!({
        "resource": resource.name,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        body["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        body["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        body["subresources"] = resource
            .subresources
            .iter()
            .map(|sub| {
                // A kind of the resource's own version is named without it.
                let own = (sub.group.as_str(), sub.version.as_str()) == (&resource.group, &resource.version);
                let (group, version) = if own { ("", "") } else { (sub.group.as_str(), sub.version.as_str()) };
                json!({
                    "subresource": sub.name,
                    "responseKind": {"group": group, "version": version, "kind": sub.kind},
                    "verbs": sub.verbs,
                })
            })
            .collect();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_the_stored_form_is_that_of_kubernetes() {
        let table = Table::builtin();
        let hash = |group, version, name| storage_version_hash(table.find(group, version, name).unwrap());
        assert_eq!(hash("", "v1", "configmaps"), "qFsyl6wFWjQ=");
        assert_eq!(hash("autoscaling", "v1", "horizontalpodautoscalers"), "qwQve8ut294=");
        assert_eq!(hash("events.k8s.io", "v1", "events"), "r2yiGXH7wu8=");
    }

    #[test]
    fn both_forms_name_every_resource() {
        let table = Table::builtin();
        let legacy = resources(&table, "apps", "v1").unwrap();
        let names: Vec<&str> =
            legacy["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"));
        assert!(names.is_sorted());
        assert!(resources(&table, "apps", "v9").is_none());
        let all = aggregated(&table, false);
        assert_eq!(all["items"].as_array().unwrap().len(), groups(&table)["groups"].as_array().unwrap().len());
    }
}
