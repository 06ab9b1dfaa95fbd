//! ReplicationControllers.

use serde_json::{Value, json};

use crate::{
    core::pod_template::workload_defaults,
    json::{default, with},
    kind::Kind,
};

pub(crate) struct ReplicationController;

impl Kind for ReplicationController {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"replicas": 0})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").filter(|labels| labels.is_object()).cloned();
        if let Some(labels) = labels {
            with(object, "spec", |spec| default(spec, "selector", labels.clone()));
            with(object, "metadata", |metadata| default(metadata, "labels", labels));
        }
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            workload_defaults(spec);
        });
    }
}
