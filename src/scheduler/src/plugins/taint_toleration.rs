//! Taints repel pods that do not tolerate them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Refusal, normalise};
use crate::{cache::NodeInfo, framework::Cycle};

/// Whether `toleration` lets a pod stay with `taint`.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        "Exists" => true,
        operator @ ("Gt" | "Lt") => {
            let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
            number(taint.value.as_ref())
                .zip(number(toleration.value.as_ref()))
                .is_some_and(|(taint, bound)| if operator == "Gt" { taint > bound } else { taint < bound })
        }
        _ => false,
    }
}

/// Refuses nodes with a taint that the pod does not tolerate.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let repels = |taint: &Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !cycle.pod.tolerations().iter().any(|toleration| tolerates(toleration, taint))
    };
    if node.taints.iter().any(repels) {
        return Err(Refusal::unresolvable("node(s) had untolerated taint(s)"));
    }
    Ok(())
}

/// The fewer `PreferNoSchedule` taints a pod does not tolerate, the better.
pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let tolerations = cycle.pod.tolerations();
    let preferred: Vec<_> = tolerations
        .iter()
        .filter(|toleration| matches!(toleration.effect.as_deref().unwrap_or_default(), "" | "PreferNoSchedule"))
        .collect();
    let count = |node: &&NodeInfo| {
        let repelling = node.taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule" && !preferred.iter().any(|toleration| tolerates(toleration, taint))
        });
        i64::try_from(repelling.count()).unwrap_or(i64::MAX)
    };
    normalise(nodes.iter().map(count).collect(), true)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn tolerations_match_by_key_value_and_effect() {
        let taint: Taint = from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"})).expect("a Taint");
        let holds = |toleration| tolerates(&from_value(toleration).expect("a Toleration"), &taint);
        assert!(holds(json!({"operator": "Exists"})));
        assert!(holds(json!({"key": "k", "value": "v"})));
        assert!(holds(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})));
        assert!(!holds(json!({"key": "k", "value": "w"})));
        assert!(!holds(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})));
    }
}
