//! Kinds of `node.k8s.io`.

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(_kind: &str) -> Option<&'static dyn Kind> {
    None
}
