//! EndpointSlices.

use serde_json::Value;

use crate::{
    json::{default, each},
    kind::Kind,
};

pub(crate) struct EndpointSlice;

impl Kind for EndpointSlice {
    fn defaults(&self, _version: &str, object: &mut Value) {
        each(object, "ports", |port| {
            default(port, "name", "");
            default(port, "protocol", "TCP");
        });
    }
}
