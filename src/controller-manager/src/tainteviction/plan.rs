//! How long a pod bears the taints of its node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Taint};

use crate::nodes::tolerates;

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// For ever.
    Forever,
    /// Not at all, or for so long.
    For(Duration),
}

/// Decides for `pod` on a node with `taints`.
pub fn plan(pod: &Pod, taints: &[Taint]) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut stay = Stay::Forever;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let bearing = tolerations.iter().filter(|toleration| tolerates(toleration, taint));
        let mut bearing = bearing.map(|toleration| toleration.toleration_seconds).peekable();
        if bearing.peek().is_none() {
            return Stay::For(Duration::ZERO);
        }
        for seconds in bearing.flatten() {
            let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            stay = match stay {
                Stay::For(other) => Stay::For(other.min(limit)),
                Stay::Forever => Stay::For(limit),
            };
        }
    }
    stay
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_least_patient_toleration_counts_and_none_means_now() {
        let taints: Vec<Taint> = serde_json::from_value(json!([
            {"key": "a", "effect": "NoExecute"}, {"key": "b", "value": "1", "effect": "NoExecute"}, {"key": "c", "effect": "NoSchedule"},
        ]))
        .expect("taints");
        let seconds = |seconds| Stay::For(Duration::from_secs(seconds));
        let cases: [(Value, Stay); 5] = [
            (json!([]), seconds(0)),
            (json!([{"key": "a", "operator": "Exists"}]), seconds(0)),
            (json!([{"operator": "Exists"}]), Stay::Forever),
            (
                json!([{"operator": "Exists"}, {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
                seconds(300),
            ),
            (
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 9}, {"key": "b", "value": "1", "tolerationSeconds": -1}]),
                seconds(0),
            ),
        ];
        for (tolerations, stay) in cases {
            let pod = json!({"spec": {"containers": [], "tolerations": tolerations}});
            assert_eq!(plan(&serde_json::from_value(pod).expect("a pod"), &taints), stay, "{tolerations}");
        }
    }
}
