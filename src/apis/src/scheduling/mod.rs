//! Kinds of `scheduling.k8s.io`.

mod priority_class;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "PriorityClass" => &priority_class::PriorityClass,
        _ => return None,
    })
}
