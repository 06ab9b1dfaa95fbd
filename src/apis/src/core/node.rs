//! Nodes.

use serde_json::{Value, json};

use crate::kind::Kind;

pub(crate) struct Node;

impl Kind for Node {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, object: &Value) -> Value {
        object.get("status").cloned().unwrap_or_else(|| json!({}))
    }
}
