//! Nobody gives rights that they do not have: a role may only hold rules that its writer has or may escalate to, a binding
//! only give a role whose rules its writer has or may bind.

use std::collections::BTreeSet;

use auth::Attributes;
use serde_json::Value;

use super::meta;
use crate::{
    core::Core,
    endpoints::{Context, Failure},
    fail,
    resources::Resource,
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a write of a role or a binding that gives more than its writer has.
///
/// # Errors
/// 403 with the rules that the writer lacks, 404 for a binding of a role that does not exist.
pub fn check(
    core: &Core,
    context: &Context,
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Failure> {
    let is_rbac = resource.group == GROUP && context.info.subresource.is_empty();
    if !is_rbac || context.user.groups.iter().any(|group| group == "system:masters") {
        return Ok(());
    }
    match resource.name.as_str() {
        "roles" | "clusterroles" => {
            let part = |object: &Value| (object["rules"].clone(), object["aggregationRule"].clone());
            if old.is_some_and(|old| part(old) == part(new)) || may(core, context, resource, "escalate", "") {
                return Ok(());
            }
            let mut rules = new["rules"].as_array().cloned().unwrap_or_default();
            if new["aggregationRule"].is_object()
                && old.is_none_or(|old| old["aggregationRule"] != new["aggregationRule"])
            {
                // Whoever aggregates may come to hold everything.
                rules.push(serde_json::json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
                rules.push(serde_json::json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
            }
            holds(core, context, resource, new, &rules)
        }
        "rolebindings" | "clusterrolebindings" => {
            let part = |object: &Value| (object["roleRef"].clone(), object["subjects"].clone());
            if old.is_some_and(|old| part(old) == part(new)) {
                return Ok(());
            }
            let role = &new["roleRef"];
            let text = |field: &str| role.get(field).and_then(Value::as_str).unwrap_or_default();
            let roles = if text("kind") == "ClusterRole" { "clusterroles" } else { "roles" };
            if bind(core, context, roles, text("name")) {
                return Ok(());
            }
            let Some(rules) = core.authorizers.rbac.rules_of(role, &context.info.namespace) else {
                return Err(fail::not_found(GROUP, roles, text("name")).into());
            };
            holds(core, context, resource, new, &rules)
        }
        _ => Ok(()),
    }
}

fn attributes(context: &Context, verb: &str, resource: &str, name: &str, namespace: &str) -> Attributes {
    Attributes {
        user: context.user.clone(),
        verb: verb.to_owned(),
        api_group: GROUP.to_owned(),
        api_version: "*".to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        resource_request: true,
        ..Attributes::default()
    }
}

fn may(core: &Core, context: &Context, resource: &Resource, verb: &str, name: &str) -> bool {
    let name = if name.is_empty() { &context.info.name } else { name };
    let attributes = attributes(context, verb, &resource.name, name, &context.info.namespace);
    matches!(core.authorizers.decide(&attributes), auth::Decision::Allow(_))
}

fn bind(core: &Core, context: &Context, roles: &str, name: &str) -> bool {
    let attributes = attributes(context, "bind", roles, name, &context.info.namespace);
    matches!(core.authorizers.decide(&attributes), auth::Decision::Allow(_))
}

fn holds(core: &Core, context: &Context, resource: &Resource, new: &Value, rules: &[Value]) -> Result<(), Failure> {
    let missing = core.authorizers.rbac.uncovered(&context.user, &context.info.namespace, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: BTreeSet<String> = compact(missing).iter().map(described).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    let user = &context.user;
    let why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    );
    Err(fail::forbidden(&resource.group, &resource.name, meta::text(new, "name"), &why).into())
}

fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{:?}", item.as_ref())).collect();
    format!("[{}]", items.join(" "))
}

/// Puts rules that differ in their verb alone together.
fn compact(rules: Vec<Value>) -> Vec<Value> {
    let mut compacted: Vec<Value> = Vec::new();
    for rule in rules {
        let same = |other: &&mut Value| {
            ["apiGroups", "resources", "resourceNames", "nonResourceURLs"]
                .iter()
                .all(|field| other[*field] == rule[*field])
        };
        match compacted.iter_mut().find(same) {
            Some(present) => {
                let verbs = rule["verbs"].as_array().cloned().unwrap_or_default();
                if let Some(list) = present["verbs"].as_array_mut() {
                    list.extend(verbs);
                }
            }
            None => compacted.push(rule),
        }
    }
    compacted
}

/// A rule as Kubernetes prints it.
fn described(rule: &Value) -> String {
    let mut parts = Vec::new();
    for (name, field) in [
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    ] {
        let items: Vec<&str> = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !items.is_empty() {
            parts.push(format!("{name}:{}", quoted(&items)));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_printed_as_kubernetes_prints_them() {
        let rules = vec![
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
            json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["/x"]}),
        ];
        let lines: Vec<String> = compact(rules).iter().map(described).collect();
        assert_eq!(
            lines,
            [
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}",
                "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}"
            ]
        );
    }
}
