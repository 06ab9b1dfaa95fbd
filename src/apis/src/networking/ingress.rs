//! Ingresses.

use serde_json::{Value, json};

use crate::kind::Kind;

pub(crate) struct Ingress;

impl Kind for Ingress {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"loadBalancer": {}})
    }
}
