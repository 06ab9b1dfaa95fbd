//! PodDisruptionBudgets.

use serde_json::{Value, json};

use crate::kind::Kind;

pub(crate) struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
    }
}
