//! HorizontalPodAutoscalers.

use serde_json::{Value, json};

use crate::{
    json::{default, with},
    kind::Kind,
};

pub(crate) struct HorizontalPodAutoscaler;

impl Kind for HorizontalPodAutoscaler {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"currentMetrics": null, "desiredReplicas": 0})
    }

    fn defaults(&self, version: &str, object: &mut Value) {
        if version == "v2" {
            with(object, "spec", |spec| default(spec, "minReplicas", 1));
        }
    }
}
