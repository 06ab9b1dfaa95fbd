//! Kinds of `discovery.k8s.io`.

mod endpoint_slice;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "EndpointSlice" => &endpoint_slice::EndpointSlice,
        _ => return None,
    })
}
