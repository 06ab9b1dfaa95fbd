//! Templates of pods, by themselves and in the specs of workloads.

use serde_json::{Value, json};

use crate::{
    core::pod,
    json::{default, with},
    kind::Kind,
};

pub(crate) struct PodTemplate;

impl Kind for PodTemplate {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "template", template_defaults);
    }
}

/// Fills in a template.
pub(crate) fn template_defaults(template: &mut Value) {
    default(template, "metadata", json!({}));
    default(template, "spec", json!({}));
    with(template, "spec", pod::spec_defaults);
}

/// Fills in the template of a spec.
pub(crate) fn workload_defaults(spec: &mut Value) {
    with(spec, "template", template_defaults);
}
