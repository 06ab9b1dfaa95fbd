//! Role-based access control: rules of roles, given to subjects by bindings.

use std::sync::Arc;

use serde_json::Value;

use crate::{Attributes, Decision, ObjectReader, UserInfo, text};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Decides by Roles, ClusterRoles and their bindings.
pub struct RbacAuthorizer {
    reader: Arc<dyn ObjectReader>,
}

/// The rules that one binding gives, and what to say of it.
struct Given {
    rules: Vec<Value>,
    reason: String,
}

impl RbacAuthorizer {
    /// Over the objects that `reader` sees.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// Whether some rule allows what is asked.
    pub fn authorize(&self, attributes: &Attributes) -> Decision {
        let namespace = if attributes.resource_request { attributes.namespace.as_str() } else { "" };
        let mut broken = Vec::new();
        let allowed = self.find(&attributes.user, namespace, &mut broken, |given| {
            given.rules.iter().any(|rule| rule_allows(rule, attributes)).then_some(given.reason)
        });
        match allowed {
            Some(reason) => Decision::Allow(reason),
            None if broken.is_empty() => Decision::NoOpinion(String::new()),
            None => Decision::NoOpinion(format!("RBAC: {}", broken.join(", "))),
        }
    }

    /// All rules that `user` has in `namespace`, and everywhere.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<Value> {
        let mut rules = Vec::new();
        let _: Option<()> = self.find(user, namespace, &mut Vec::new(), |given| {
            rules.extend(given.rules);
            None
        });
        rules
    }

    /// The rules of `wanted` that `user` does not have in `namespace`: what would be an escalation to give.
    pub fn uncovered(&self, user: &UserInfo, namespace: &str, wanted: &[Value]) -> Vec<Value> {
        let own = self.rules_for(user, namespace);
        let singles = wanted.iter().flat_map(broken_down);
        singles.filter(|single| !own.iter().any(|rule| covers(rule, single))).collect()
    }

    /// The rules behind a role reference.
    pub fn rules_of(&self, role: &Value, namespace: &str) -> Option<Vec<Value>> {
        let name = text(role, "/name");
        let object = match text(role, "/kind") {
            "ClusterRole" => self.reader.get(GROUP, "clusterroles", "", name),
            _ => self.reader.get(GROUP, "roles", namespace, name),
        };
        Some(object?.get("rules").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Goes through the bindings that name `user` until `visit` is satisfied.
    fn find<T>(
        &self,
        user: &UserInfo,
        namespace: &str,
        broken: &mut Vec<String>,
        mut visit: impl FnMut(Given) -> Option<T>,
    ) -> Option<T> {
        let mut bindings = self.reader.list(GROUP, "clusterrolebindings", None);
        let cluster_wide = bindings.len();
        if !namespace.is_empty() {
            bindings.extend(self.reader.list(GROUP, "rolebindings", Some(namespace)));
        }
        for (at, binding) in bindings.iter().enumerate() {
            let subjects = binding.get("subjects").and_then(Value::as_array).into_iter().flatten();
            let Some(subject) = subjects.into_iter().find(|subject| applies(subject, user, namespace)) else {
                continue;
            };
            let role = &binding["roleRef"];
            let (kind, role_name) = (text(role, "/kind"), text(role, "/name"));
            let Some(rules) = self.rules_of(role, namespace) else {
                broken.push(format!("{}.{GROUP} {role_name:?} not found", kind.to_ascii_lowercase()));
                continue;
            };
            let name = text(binding, "/metadata/name");
            let binding = if at < cluster_wide {
                format!("ClusterRoleBinding {name:?}")
            } else {
                format!("RoleBinding {:?}", format!("{name}/{namespace}"))
            };
            let reason = format!("RBAC: allowed by {binding} of {kind} {role_name:?} to {}", described(subject));
            if let Some(found) = visit(Given { rules, reason }) {
                return Some(found);
            }
        }
        None
    }
}

fn described(subject: &Value) -> String {
    let (kind, name) = (text(subject, "/kind"), text(subject, "/name"));
    match kind {
        "ServiceAccount" => format!("{kind} {:?}", format!("{name}/{}", text(subject, "/namespace"))),
        _ => format!("{kind} {name:?}"),
    }
}

fn applies(subject: &Value, user: &UserInfo, namespace: &str) -> bool {
    let name = text(subject, "/name");
    match text(subject, "/kind") {
        "User" => name == user.name,
        "Group" => user.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let own = text(subject, "/namespace");
            let own = if own.is_empty() { namespace } else { own };
            user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) == Some((own, name))
        }
        _ => false,
    }
}

fn list<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether one rule allows what is asked.
pub fn rule_allows(rule: &Value, attributes: &Attributes) -> bool {
    if !list(rule, "verbs").any(|verb| verb == "*" || verb == attributes.verb) {
        return false;
    }
    if !attributes.resource_request {
        return list(rule, "nonResourceURLs").any(|url| path_matches(url, &attributes.path));
    }
    let combined = if attributes.subresource.is_empty() {
        attributes.resource.clone()
    } else {
        format!("{}/{}", attributes.resource, attributes.subresource)
    };
    let any_subresource = format!("*/{}", attributes.subresource);
    let mut names = list(rule, "resourceNames").peekable();
    list(rule, "apiGroups").any(|group| group == "*" || group == attributes.api_group)
        && list(rule, "resources").any(|resource| {
            resource == "*" || resource == combined || !attributes.subresource.is_empty() && resource == any_subresource
        })
        && (names.peek().is_none() || names.any(|name| name == attributes.name))
}

fn path_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// A rule as rules of one verb, group, resource and name each.
fn broken_down(rule: &Value) -> Vec<Value> {
    use serde_json::json;
    let mut singles = Vec::new();
    for verb in list(rule, "verbs") {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                let names: Vec<_> = list(rule, "resourceNames").collect();
                let single = json!({"verbs": [verb], "apiGroups": [group], "resources": [resource]});
                if names.is_empty() {
                    singles.push(single);
                    continue;
                }
                for name in names {
                    let mut named = single.clone();
                    named["resourceNames"] = json!([name]);
                    singles.push(named);
                }
            }
        }
        for url in list(rule, "nonResourceURLs") {
            singles.push(json!({"verbs": [verb], "nonResourceURLs": [url]}));
        }
    }
    singles
}

/// Whether `rules` together give all that `wanted` does.
pub fn covers_all<'r>(rules: impl Iterator<Item = &'r Value>, wanted: &Value) -> bool {
    let rules: Vec<&Value> = rules.collect();
    broken_down(wanted).iter().all(|single| rules.iter().any(|rule| covers(rule, single)))
}

/// Whether `rule` gives all that `single` (of one verb, group, resource, name or path) does.
fn covers(rule: &Value, single: &Value) -> bool {
    let has = |field: &str| list(single, field).all(|wanted| list(rule, field).any(|own| own == "*" || own == wanted));
    if single.get("nonResourceURLs").is_some() {
        let urls = list(single, "nonResourceURLs")
            .all(|wanted| list(rule, "nonResourceURLs").any(|own| path_matches(own, wanted)));
        return has("verbs") && urls;
    }
    let resources = list(single, "resources").all(|wanted| {
        list(rule, "resources").any(|own| {
            own == "*"
                || own == wanted
                || own.strip_prefix("*/").is_some_and(|part| wanted.split_once('/').is_some_and(|(_, own)| own == part))
        })
    });
    let mut own_names = list(rule, "resourceNames").peekable();
    let unnamed = own_names.peek().is_none();
    let own_names: Vec<_> = own_names.collect();
    let mut wanted_names = list(single, "resourceNames").peekable();
    let names = unnamed || wanted_names.peek().is_some() && wanted_names.all(|name| own_names.contains(&name));
    has("verbs") && has("apiGroups") && resources && names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asks(verb: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn rules_speak_of_verbs_groups_resources_parts_and_names() {
        let rule =
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/status"], "resourceNames": ["a"]});
        assert!(rule_allows(&rule, &asks("get", "pods", "", "a")));
        assert!(rule_allows(&rule, &asks("get", "nodes", "status", "a")));
        assert!(!rule_allows(&rule, &asks("get", "pods", "log", "a")));
        assert!(!rule_allows(&rule, &asks("get", "pods", "", "b")));
        assert!(!rule_allows(&rule, &asks("list", "pods", "", "")));
    }

    #[test]
    fn paths_match_by_prefix() {
        assert!(path_matches("/api/*", "/api/v1") && !path_matches("/api/*", "/apis") && path_matches("*", "/x"));
    }

    #[test]
    fn a_rule_covers_what_is_no_more_than_itself() {
        let own = json!({"verbs": ["get", "list"], "apiGroups": ["*"], "resources": ["pods"]});
        let wanted =
            json!({"verbs": ["get", "delete"], "apiGroups": ["apps"], "resources": ["pods"], "resourceNames": ["a"]});
        let missing: Vec<_> = broken_down(&wanted).into_iter().filter(|single| !covers(&own, single)).collect();
        assert_eq!(
            missing,
            [json!({"verbs": ["delete"], "apiGroups": ["apps"], "resources": ["pods"], "resourceNames": ["a"]})]
        );
    }
}
