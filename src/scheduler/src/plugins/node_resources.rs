//! Room: a node must have it, and the emptier and more evenly used is the better.

use super::{MAX_SCORE, Refusal};
use crate::{cache::NodeInfo, framework::Cycle};

/// What scoring looks at.
const SCORED: [&str; 2] = ["cpu", "memory"];

/// Refuses nodes without room for the pod.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    let mut unresolvable = false;
    let pods = node.allocatable.get("pods");
    if i64::try_from(node.pods.len()).is_ok_and(|running| running >= pods) {
        reasons.push("Too many pods".to_owned());
        unresolvable |= pods == 0;
    }
    for (name, wanted) in cycle.pod.requests.real.iter().filter(|(_, wanted)| *wanted > 0) {
        let all = node.allocatable.get(name);
        if wanted > all.saturating_sub(node.requested.get(name)) {
            reasons.push(format!("Insufficient {name}"));
            unresolvable |= wanted > all;
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons, unresolvable }) }
}

/// The more is left, the better.
pub fn least_allocated(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let left = |node: &&NodeInfo| {
        let mut scores = Vec::new();
        for name in SCORED {
            let all = node.allocatable.get(name);
            if all > 0 {
                let used = node.weighed.get(name).saturating_add(cycle.pod.requests.weighed.get(name));
                scores.push(if used > all { 0 } else { (all - used).saturating_mul(MAX_SCORE) / all });
            }
        }
        scores.iter().sum::<i64>() / i64::try_from(scores.len().max(1)).unwrap_or(1)
    };
    nodes.iter().map(left).collect()
}

/// The more alike the used shares of CPU and memory, the better.
pub fn balanced_allocation(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let wanted = &cycle.pod.requests.real;
    if SCORED.iter().all(|name| wanted.get(name) == 0) {
        return vec![0; nodes.len()];
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a share needs no exact digits")]
    let even = |node: &&NodeInfo| {
        let shares: Vec<f64> = SCORED
            .iter()
            .filter(|name| node.allocatable.get(name) > 0)
            .map(|name| {
                let used = node.requested.get(name).saturating_add(wanted.get(name)) as f64;
                (used / node.allocatable.get(name) as f64).min(1.0)
            })
            .collect();
        let deviation = match shares.as_slice() {
            [one, other] => (one - other).abs() / 2.0,
            _ => 0.0,
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    };
    nodes.iter().map(even).collect()
}
