//! Kinds of `resource.k8s.io`.

use crate::kind::{COUNTED, COUNTED_REPORTED, Kind};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "ResourceClaim" => &COUNTED_REPORTED,
        _ => &COUNTED,
    })
}
