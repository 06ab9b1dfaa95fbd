//! PersistentVolumes.

use serde_json::{Value, json};

use crate::kind::Kind;

pub(crate) struct PersistentVolume;

impl Kind for PersistentVolume {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"phase": "Pending"})
    }
}
