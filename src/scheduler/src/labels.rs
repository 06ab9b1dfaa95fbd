//! Label selectors and node selectors over typed objects.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether `labels` satisfy `selector`; no selector selects nothing, an empty one everything.
pub fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            matches(&expression.operator, labels.get(&expression.key), expression.values.as_deref().unwrap_or_default())
        })
}

/// Whether a node's name and labels satisfy `selector`: one of its terms, all of that term's requirements.
pub fn node_matches(selector: &NodeSelector, name: &str, labels: &Labels) -> bool {
    selector.node_selector_terms.iter().any(|term| node_matches_term(term, name, labels))
}

/// Whether a node satisfies all requirements of `term`; a term without any matches no node.
pub fn node_matches_term(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = name.to_owned();
    let satisfied = |requirement: &NodeSelectorRequirement, value| {
        matches(&requirement.operator, value, requirement.values.as_deref().unwrap_or_default())
    };
    expressions.iter().all(|requirement| satisfied(requirement, labels.get(&requirement.key)))
        && fields.iter().all(|requirement| requirement.key == "metadata.name" && satisfied(requirement, Some(&name)))
}

fn matches(operator: &str, value: Option<&String>, values: &[String]) -> bool {
    let compare = |holds: fn(i64, i64) -> bool| {
        let bound = values.first().and_then(|bound| bound.parse().ok());
        value.and_then(|value| value.parse().ok()).zip(bound).is_some_and(|(value, bound)| holds(value, bound))
    };
    match operator {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, bound| value > bound),
        "Lt" => compare(|value, bound| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn labels() -> Labels {
        [("disk", "ssd"), ("cores", "8")].into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn operators_mean_what_the_api_says() {
        let holds = |operator: &str, key: &str, values: &[&str]| {
            let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
            node_matches_term(&from_value(term).expect("a term"), "a", &labels())
        };
        assert!(holds("In", "disk", &["ssd", "nvme"]) && !holds("In", "zone", &["a"]));
        assert!(holds("NotIn", "zone", &["a"]) && !holds("NotIn", "disk", &["ssd"]));
        assert!(holds("Exists", "disk", &[]) && holds("DoesNotExist", "zone", &[]));
        assert!(holds("Gt", "cores", &["7"]) && !holds("Lt", "cores", &["8"]) && !holds("Gt", "disk", &["1"]));
    }

    #[test]
    fn no_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!selects(None, &labels()));
        assert!(selects(Some(&LabelSelector::default()), &labels()));
    }
}
