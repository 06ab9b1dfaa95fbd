//! PersistentVolumeClaims.

use serde_json::{Value, json};

use crate::kind::Kind;

pub(crate) struct PersistentVolumeClaim;

impl Kind for PersistentVolumeClaim {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"phase": "Pending"})
    }
}
