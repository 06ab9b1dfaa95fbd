//! Which pods a node takes: selectors, affinity, taints. Pure.

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// The node's name.
pub fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Whether the node satisfies the pod's node selector and the affinity that it requires.
pub fn is_selected(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value))
        && required.is_none_or(|selector| selects(selector, node))
}

/// Whether one of the selector's terms holds; one without requirements never does.
fn selects(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| {
        let NodeSelectorTerm { match_expressions, match_fields } = term;
        let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let expressions =
            match_expressions.iter().flatten().map(|requirement| holds(requirement, label(&requirement.key)));
        let field = |key: &str| node.metadata.name.as_ref().filter(|_| key == "metadata.name");
        let fields = match_fields.iter().flatten().map(|requirement| holds(requirement, field(&requirement.key)));
        let mut all = expressions.chain(fields).peekable();
        all.peek().is_some() && all.all(|holds| holds)
    })
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let numbers = || Some((number(value?)?, number(values.first()?)?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Whether all of the node's taints of these effects are tolerated.
pub fn bears_taints(spec: &PodSpec, node: &Node, effects: &[&str]) -> bool {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut relevant = taints.filter(|taint| effects.contains(&taint.effect.as_str()));
    relevant.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let (key, effect, value) = (given(&toleration.key), given(&toleration.effect), given(&toleration.value));
    let tainted = given(&taint.value);
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => value == tainted,
            "Exists" => true,
            operator @ ("Lt" | "Gt") => match (tainted.parse::<i64>(), value.parse::<i64>()) {
                (Ok(taint), Ok(limit)) if operator == "Lt" => taint < limit,
                (Ok(taint), Ok(limit)) => taint > limit,
                _ => false,
            },
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn a_node_is_chosen_by_labels_name_and_taints() {
        let node: Node = from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "size": "4"}},
            "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
        }))
        .expect("a Node");
        let required = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let expression = |key: &str, operator: &str, values: &[&str]| {
            required(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        let by_name = |name: &str| {
            required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]))
        };
        let cases = [
            (json!({}), true),
            (json!({"nodeSelector": {"zone": "a"}}), true),
            (json!({"nodeSelector": {"zone": "b"}}), false),
            (expression("zone", "NotIn", &["b"]), true),
            (expression("zone", "DoesNotExist", &[]), false),
            (expression("size", "Gt", &["3"]), true),
            (expression("size", "Lt", &["x"]), false),
            (by_name("n1"), true),
            (by_name("n2"), false),
            (required(json!([{}])), false),
        ];
        for (mut spec, selected) in cases {
            spec["containers"] = json!([]);
            let spec: PodSpec = from_value(spec).expect("a PodSpec");
            assert_eq!(is_selected(&spec, &node), selected, "{spec:?}");
        }
        let bears = |tolerations: Value| {
            let spec: PodSpec = from_value(json!({"containers": [], "tolerations": tolerations})).expect("a PodSpec");
            (bears_taints(&spec, &node, &["NoSchedule"]), bears_taints(&spec, &node, &["NoExecute"]))
        };
        assert_eq!(bears(json!([])), (false, true));
        assert_eq!(bears(json!([{"key": "gpu", "value": "yes"}])), (true, true));
        assert_eq!(bears(json!([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}])), (false, true));
        assert_eq!(bears(json!([{"operator": "Exists"}])), (true, true));
    }
}
