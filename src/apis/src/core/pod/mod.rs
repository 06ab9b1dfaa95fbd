//! Pods, and what the templates of pods share with them: one file a part of the spec.

pub(crate) mod affinity;
mod annotations;
mod container;
mod container_list;
pub(crate) mod defaults;
mod dns;
mod env;
mod features;
pub(crate) mod golang;
mod platform;
mod ports;
mod probe;
pub(crate) mod resources;
mod restart_rules;
pub(crate) mod scheduling;
mod security;
mod spec;
mod status;
mod update;
mod update_subresource;
mod volume;
mod volume_mount;
pub(crate) mod volume_plugin;
mod volume_projection;
mod warnings;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

pub(crate) use self::{
    annotations::check as check_annotations,
    defaults::spec_defaults,
    features::drop_disabled,
    resources::quality,
    spec::{Options, check_spec},
    warnings::{claim_warnings, names_warning, spec_warnings},
};
use crate::{
    json::{default, field, has, int, list, set, text, with},
    kind::Kind,
    metadata,
};

pub(crate) struct Pod;

impl Kind for Pod {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, object: &Value) -> Value {
        json!({"phase": "Pending", "qosClass": quality(field(object, "spec"))})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            defaults::pod_defaults(spec);
            spec_defaults(spec);
            default(spec, "enableServiceLinks", true);
        });
        with(object, "status", defaults::status_defaults);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", |spec| {
            drop_disabled(spec, None);
            // A time to stop in that is none is as short as it can be.
            if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
                set(spec, "terminationGracePeriodSeconds", 1);
            }
        });
        scheduling::merge_match_label_keys(object);
        if !list(field(object, "spec"), "schedulingGates").is_empty() {
            let condition = scheduling::gated(object);
            with(object, "status", |status| set(status, "conditions", json!([condition])));
        }
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, old: &Value) {
        match subresource {
            Some("ephemeralcontainers") => update_subresource::keep_all_but_ephemeral_containers(new, old),
            Some("resize") => update_subresource::keep_all_but_resources(new, old),
            Some("status") => status::prepare(new, old),
            _ => {}
        }
        with(new, "spec", |spec| drop_disabled(spec, Some(field(old, "spec"))));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let options = Options { pod: true };
        check(errors, object, &options);
        let spec = field(object, "spec");
        let path = Path::new("spec");
        if !list(spec, "ephemeralContainers").is_empty() {
            errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
        }
        if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
            let why = "cannot be set until all schedulingGates have been cleared";
            errors.push(FieldError::forbidden(&path.child("nodeName"), why));
        }
        annotations::check_fields_agree(errors, object);
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
        if !matches!(subresource, Some("status")) {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        let options = Options { pod: true };
        match subresource {
            Some("status") => status::check_update(errors, new, old),
            Some("ephemeralcontainers") => {
                if let Some(refusal) = update_subresource::refuses_ephemeral_containers(old) {
                    errors.push(refusal);
                    return;
                }
                check(errors, new, &options);
                update_subresource::check_ephemeral_containers(errors, new, old);
            }
            Some("resize") => {
                if let Some(refusal) = update_subresource::refuses_resize(new, old) {
                    errors.push(refusal);
                    return;
                }
                check(errors, new, &options);
                update_subresource::check_resize(errors, new, old);
            }
            _ => {
                check(errors, new, &options);
                update::check(errors, new, old);
            }
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        warnings::pod_warnings(object, old, warnings);
    }
}

/// What is wrong with a pod, metadata apart.
fn check(errors: &mut ErrorList, object: &Value, options: &Options) {
    let metadata = field(object, "metadata");
    let spec = field(object, "spec");
    annotations::check(errors, &Path::new("metadata").child("annotations"), field(metadata, "annotations"), spec);
    let path = Path::new("spec");
    check_spec(errors, &path, spec, Some(metadata), options);
    // What follows is checked of pods and not of templates, which are older than the rules.
    if text(spec, "serviceAccountName").is_empty() {
        for (index, volume) in list(spec, "volumes").iter().enumerate() {
            let path = path.child("volumes").index(index).child("projected").child("sources");
            for (index, source) in list(field(volume, "projected"), "sources").iter().enumerate() {
                if has(source, "serviceAccountToken") {
                    let why = "must not be specified when serviceAccountName is not set";
                    let path = path.index(index).child("serviceAccountToken");
                    errors.push(FieldError::forbidden(&path, why));
                }
            }
        }
    }
    for name in ["containers", "initContainers"] {
        container_list::check_images(errors, &path.child(name), list(spec, name));
    }
}

#[cfg(test)]
mod tests;
