//! Kinds of `flowcontrol.apiserver.k8s.io`.

use crate::kind::{COUNTED_REPORTED, Kind};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "FlowSchema" | "PriorityLevelConfiguration" => &COUNTED_REPORTED,
        _ => return None,
    })
}
