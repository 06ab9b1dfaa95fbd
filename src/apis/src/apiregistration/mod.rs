//! Kinds of `apiregistration.k8s.io`.

use crate::kind::{Kind, REPORTED};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "APIService" => &REPORTED,
        _ => return None,
    })
}
