//! Kinds of `coordination.k8s.io`.

mod lease;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Lease" => &lease::Lease,
        _ => return None,
    })
}
