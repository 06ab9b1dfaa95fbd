//! VolumeAttachments.

use serde_json::{Value, json};

use crate::kind::Kind;

pub(crate) struct VolumeAttachment;

impl Kind for VolumeAttachment {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"attached": false})
    }
}
