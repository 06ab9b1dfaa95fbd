//! Namespaces.

use apimachinery::{meta, names};
use serde_json::{Value, json};

use crate::{
    json::{default, object_at},
    kind::Kind,
};

pub(crate) struct Namespace;

impl Kind for Namespace {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"phase": "Active"})
    }

    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_dns1123_label(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        let name = meta::name(object).to_owned();
        if !name.is_empty()
            && let Some(metadata) = object.get_mut("metadata")
            && let Some(labels) = object_at(metadata, "labels")
        {
            default(labels, "kubernetes.io/metadata.name", name);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let Some(spec) = object_at(object, "spec") else { return };
        let Some(finalizers) = spec.as_object_mut().map(|spec| spec.entry("finalizers").or_insert_with(|| json!([])))
        else {
            return;
        };
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|finalizer| finalizer == "kubernetes")
        {
            list.push("kubernetes".into());
        }
    }
}
