//! Kinds of `node.k8s.io`.

mod runtime_class;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "RuntimeClass" => &runtime_class::RuntimeClass,
        _ => return None,
    })
}
