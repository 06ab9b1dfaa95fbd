//! Kinds of `policy`.

mod pod_disruption_budget;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "PodDisruptionBudget" => &pod_disruption_budget::PodDisruptionBudget,
        _ => return None,
    })
}
