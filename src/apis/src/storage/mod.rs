//! Kinds of `storage.k8s.io`.

mod storage_class;
mod volume_attachment;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "StorageClass" => &storage_class::StorageClass,
        "VolumeAttachment" => &volume_attachment::VolumeAttachment,
        _ => return None,
    })
}
