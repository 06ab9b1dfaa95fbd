//! Kinds of `apiextensions.k8s.io`.

use crate::kind::{COUNTED_REPORTED, Kind};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "CustomResourceDefinition" => &COUNTED_REPORTED,
        _ => return None,
    })
}
