//! Leases.

use serde_json::{Value, json};

use crate::{json::default, kind::Kind};

pub(crate) struct Lease;

impl Kind for Lease {
    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
    }
}
