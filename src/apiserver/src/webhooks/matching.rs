//! Which requests a webhook wants to see.

use apimachinery::selectors::LabelSelector;
use serde_json::Value;

/// A request, as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub operation: &'a str,
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource; empty for the object itself.
    pub subresource: &'a str,
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: &'a str,
}

fn strings<'v>(rule: &'v Value, field: &str) -> impl Iterator<Item = &'v str> {
    rule.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether one of the webhook's rules is about the request.
pub fn by_rules(webhook: &Value, subject: &Subject<'_>) -> bool {
    webhook.get("rules").is_some_and(|rules| any_rule(rules, subject, ""))
}

/// Whether one of several rules is about the request; rules may name the objects that they are about.
pub fn any_rule(rules: &Value, subject: &Subject<'_>, name: &str) -> bool {
    rules.as_array().into_iter().flatten().any(|rule| {
        let has = |field, wanted: &str| strings(rule, field).any(|given| given == "*" || given == wanted);
        let scope = match rule.get("scope").and_then(Value::as_str) {
            Some("Cluster") => subject.namespace.is_empty(),
            Some("Namespaced") => !subject.namespace.is_empty(),
            _ => true,
        };
        let mut names = strings(rule, "resourceNames").peekable();
        let named = names.peek().is_none() || names.any(|given| given == name);
        scope
            && named
            && has("operations", subject.operation)
            && has("apiGroups", subject.group)
            && has("apiVersions", subject.version)
            && strings(rule, "resources").any(|given| {
                let (resource, part) = given.split_once('/').unwrap_or((given, ""));
                let same_part = part == subject.subresource || part == "*";
                (resource == "*" || resource == subject.resource) && same_part
            })
    })
}

/// Whether a selector of the webhook selects these labels; one that is missing or empty selects all.
pub fn by_labels(webhook: &Value, field: &str, objects: &[&Value]) -> bool {
    let Some(selector) = webhook.get(field).filter(|selector| selector.is_object()) else { return true };
    let Ok(selector) = LabelSelector::from_value(selector) else { return false };
    selector.is_empty() || objects.iter().any(|object| selector.matches_object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_name_resources_and_their_parts() {
        let webhook = |resources: Value, scope: &str| json!({"rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "scope": scope}]});
        let pods = Subject {
            operation: "CREATE",
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            namespace: "n",
        };
        let status = Subject { subresource: "status", ..pods };
        for (resources, scope, of_pods, of_status) in [
            (json!(["pods"]), "*", true, false),
            (json!(["pods/*"]), "*", true, true),
            (json!(["*"]), "*", true, false),
            (json!(["*/*"]), "*", true, true),
            (json!(["*/status"]), "*", false, true),
            (json!(["pods"]), "Cluster", false, false),
            (json!(["services"]), "*", false, false),
        ] {
            let webhook = webhook(resources, scope);
            assert_eq!((by_rules(&webhook, &pods), by_rules(&webhook, &status)), (of_pods, of_status), "{webhook}");
        }
        assert!(!by_rules(&webhook(json!(["pods"]), "*"), &Subject { operation: "DELETE", ..pods }));
    }

    #[test]
    fn an_empty_selector_selects_all() {
        let labelled = json!({"metadata": {"labels": {"a": "b"}}});
        let none = json!({});
        for (webhook, want) in [
            (json!({}), true),
            (json!({"s": {}}), true),
            (json!({"s": {"matchLabels": {"a": "b"}}}), true),
            (json!({"s": {"matchLabels": {"a": "c"}}}), false),
        ] {
            assert_eq!(by_labels(&webhook, "s", &[&none, &labelled]), want, "{webhook}");
        }
    }
}
