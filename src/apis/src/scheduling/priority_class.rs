//! PriorityClasses.

use serde_json::Value;

use crate::{json::default, kind::Kind};

pub(crate) struct PriorityClass;

impl Kind for PriorityClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "preemptionPolicy", "PreemptLowerPriority");
    }
}
