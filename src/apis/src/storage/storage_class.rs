//! StorageClasses.

use serde_json::Value;

use crate::{json::default, kind::Kind};

pub(crate) struct StorageClass;

impl Kind for StorageClass {
    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "reclaimPolicy", "Delete");
        default(object, "volumeBindingMode", "Immediate");
    }
}
