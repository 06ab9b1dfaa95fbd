//! The rules of a role that is the sum of others.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::framework::{SyncError, labels_of, parse_selector};

/// The rules as they should be; `None` when they are, or the role is no sum.
///
/// # Errors
/// When a selector is none.
pub fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Result<Option<Vec<PolicyRule>>, SyncError> {
    let Some(aggregation) = &role.aggregation_rule else { return Ok(None) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    let mut by_name: Vec<&ClusterRole> =
        all.iter().map(|other| &**other).filter(|other| other.metadata.name != role.metadata.name).collect();
    by_name.sort_by_key(|role| role.metadata.name.clone());
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = parse_selector(Some(selector))?;
        for other in by_name.iter().filter(|other| selector.matches(labels_of(**other))) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Ok((role.rules.as_deref().unwrap_or_default() != rules).then_some(rules))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn role(name: &str, labels: &Value, aggregated: bool, verbs: &[&str]) -> Arc<ClusterRole> {
        let mut role =
            json!({"metadata": {"name": name, "labels": labels}, "rules": [{"verbs": verbs, "resources": ["x"]}]});
        if aggregated {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]});
        }
        Arc::new(serde_json::from_value(role).expect("a role"))
    }

    #[test]
    fn the_sum_has_each_rule_once_and_not_its_own() {
        let sum = role("sum", &json!({"to": "sum"}), true, &["old"]);
        let yes = json!({"to": "sum"});
        let all = [
            sum.clone(),
            role("b", &yes, false, &["get"]),
            role("a", &yes, false, &["list"]),
            role("c", &yes, false, &["get"]),
            role("d", &json!({}), false, &["x"]),
        ];
        let rules = plan(&sum, &all).expect("selectors").expect("changed");
        let verbs: Vec<_> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["list", "get"]);
        let mut right = ClusterRole::clone(&sum);
        right.rules = Some(rules);
        assert_eq!(plan(&right, &all).expect("selectors"), None);
        assert_eq!(plan(&all[1], &all).expect("selectors"), None);
    }
}
