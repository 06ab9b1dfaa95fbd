//! Kinds of `resource.k8s.io`.

mod claim;
mod device_class;
mod request;
mod slice;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "ResourceClaim" => &claim::ResourceClaim,
        "ResourceClaimTemplate" => &claim::ResourceClaimTemplate,
        "DeviceClass" => &device_class::DeviceClass,
        "ResourceSlice" => &slice::ResourceSlice,
        _ => return None,
    })
}
