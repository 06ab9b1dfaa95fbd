//! Endpoints.

use serde_json::Value;

use crate::{
    json::{default, each},
    kind::Kind,
};

pub(crate) struct Endpoints;

impl Kind for Endpoints {
    fn defaults(&self, _version: &str, object: &mut Value) {
        each(object, "subsets", |subset| each(subset, "ports", |port| default(port, "protocol", "TCP")));
    }
}
