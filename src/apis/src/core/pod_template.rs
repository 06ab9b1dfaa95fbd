//! Templates of pods, by themselves and in the specs of workloads.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

use crate::{
    core::pod,
    json::{default, field, has, list, text, with},
    kind::Kind,
    metadata,
};

pub(crate) struct PodTemplate;

impl Kind for PodTemplate {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "template", template_defaults);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled(object, None);
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        drop_disabled(new, Some(old));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check(errors, &Path::new("template"), field(object, "template"));
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        check(errors, &Path::new("template"), field(new, "template"));
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>, warnings: &mut Vec<String>) {
        pod::spec_warnings(&Path::new("template"), field(object, "template"), warnings);
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
    default(spec, "template", json!({}));
    with(spec, "template", template_defaults);
}

/// Drops from the template in `holder` what is switched off.
pub(crate) fn drop_disabled(holder: &mut Value, old: Option<&Value>) {
    let old = old.map(|old| field(field(old, "template"), "spec"));
    with(holder, "template", |template| with(template, "spec", |spec| pod::drop_disabled(spec, old)));
}

/// Checks the template at `path`.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, template: &Value) {
    let spec = field(template, "spec");
    let meta = field(template, "metadata");
    let annotations = field(meta, "annotations");
    metadata::labels(field(meta, "labels"), &path.child("labels"), errors);
    metadata::annotations(annotations, &path.child("annotations"), errors);
    pod::check_annotations(errors, &path.child("annotations"), annotations, spec);
    pod::check_spec(errors, &path.child("spec"), spec, None, &pod::Options::default());
    if !list(spec, "ephemeralContainers").is_empty() {
        let path = path.child("spec").child("ephemeralContainers");
        errors.push(FieldError::forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
}

/// Pods of a workload that never ends are always started again, and have no deadline.
pub(crate) fn check_endless(errors: &mut ErrorList, path: &Path, template: &Value, kind: &str) {
    let path = path.child("spec");
    let spec = field(template, "spec");
    let policy = text(spec, "restartPolicy");
    if policy != "Always" {
        errors.push(FieldError::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if has(spec, "activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path.child("activeDeadlineSeconds"), why));
    }
}
