//! Kinds of `storage.k8s.io`.

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod storage_class;
mod volume_attachment;
mod volume_attributes_class;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{checks, json::entries, kind::Kind};

const DRIVER_NAME_MAX: usize = 63;
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "StorageClass" => &storage_class::StorageClass,
        "VolumeAttachment" => &volume_attachment::VolumeAttachment,
        "VolumeAttributesClass" => &volume_attributes_class::VolumeAttributesClass,
        "CSIDriver" => &csi_driver::CsiDriver,
        "CSINode" => &csi_node::CsiNode,
        "CSIStorageCapacity" => &csi_storage_capacity::CsiStorageCapacity,
        _ => return None,
    })
}

/// A name of a driver.
fn check_driver_name(errors: &mut ErrorList, path: &Path, name: &str) {
    checks::required(errors, path, name);
    if name.len() > DRIVER_NAME_MAX {
        errors.push(FieldError::too_long(path, DRIVER_NAME_MAX));
    }
    if !name.is_empty() {
        checks::invalid(errors, path, name, names::is_dns1123_subdomain(&name.to_lowercase()));
    }
}

/// What a class tells its driver.
fn check_parameters(object: &Value, may_be_empty: bool, errors: &mut ErrorList) {
    let path = Path::new("parameters");
    let (mut count, mut bytes) = (0, 0);
    for (key, value) in entries(object, "parameters") {
        count += 1;
        bytes += key.len() + value.as_str().map_or(0, str::len);
        if key.is_empty() {
            errors.push(FieldError::invalid(&path, "", "field can not be empty."));
        }
    }
    if count > PARAMETERS_MAX {
        errors.push(FieldError::too_long(&path, PARAMETERS_MAX));
    }
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(FieldError::too_long(&path, PARAMETERS_BYTES_MAX));
    }
    if count == 0 && !may_be_empty {
        errors.push(FieldError::required(&path, "must contain at least one key/value pair"));
    }
}
