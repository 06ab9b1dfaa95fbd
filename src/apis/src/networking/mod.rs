//! Kinds of `networking.k8s.io`.

mod ingress;

use crate::kind::{COUNTED, Kind, REPORTED};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Ingress" => &ingress::Ingress,
        "ServiceCIDR" => &REPORTED,
        "NetworkPolicy" | "IngressClass" => &COUNTED,
        _ => return None,
    })
}
