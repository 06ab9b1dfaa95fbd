//! Kinds of `apiextensions.k8s.io`.

mod definition;
pub(crate) mod schema;
mod structural;
mod versions;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "CustomResourceDefinition" => &definition::CustomResourceDefinition,
        _ => return None,
    })
}
