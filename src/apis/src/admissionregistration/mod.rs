//! Kinds of `admissionregistration.k8s.io`.

use crate::kind::{COUNTED, COUNTED_REPORTED, Kind};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "ValidatingAdmissionPolicy" => &COUNTED_REPORTED,
        _ => &COUNTED,
    })
}
