//! VolumeAttachments.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks,
    core::persistent_volume::{self, check_spec, spec_defaults},
    golang::{Shape, Struct},
    json::{entries, field, has, int, text, with},
    kind::Kind,
    metadata,
};

const MESSAGE_MAX: usize = 1024;
const METADATA_MAX: usize = 256 * 1024;

static SPEC: Struct = Struct(&[
    ("Attacher", "attacher", Shape::Text),
    ("Source", "source", Shape::Struct(&SOURCE)),
    ("NodeName", "nodeName", Shape::Text),
]);
static SOURCE: Struct = Struct(&[
    ("PersistentVolumeName", "persistentVolumeName", Shape::Any),
    ("InlineVolumeSpec", "inlineVolumeSpec", Shape::Pointer(&persistent_volume::SPEC)),
]);

pub(crate) struct VolumeAttachment;

impl Kind for VolumeAttachment {
    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"attached": false})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| with(spec, "source", |source| with(source, "inlineVolumeSpec", spec_defaults)));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        checks::invalid(
            errors,
            &path.child("attacher"),
            text(spec, "attacher"),
            names::is_dns1123_subdomain(&text(spec, "attacher").to_lowercase()),
        );
        let source = field(spec, "source");
        if has(source, "persistentVolumeName") {
            let (at, name) = (path.child("source").child("persistentVolumeName"), text(source, "persistentVolumeName"));
            checks::dns_subdomain(errors, &at, name);
        }
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            metadata::validate_change(new, old, errors);
        } else {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate(new, errors);
        let (now, before) = (SPEC.show(field(new, "spec")), SPEC.show(field(old, "spec")));
        if now != before {
            errors.push(checks::shown(ErrorKind::Invalid, &Path::new("spec"), &now, checks::IMMUTABLE));
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    checks::required(errors, &path.child("attacher"), text(spec, "attacher"));
    let (at, source) = (path.child("source"), field(spec, "source"));
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (has(source, "inlineVolumeSpec"), has(source, "persistentVolumeName")) {
        (false, false) => errors.push(FieldError::required(&at, detail)),
        (true, true) => errors.push(FieldError::forbidden(&at, detail)),
        (true, false) => {
            check_spec(field(source, "inlineVolumeSpec"), true, &at.child("inlineVolumeSpec"), errors);
        }
        (false, true) if text(source, "persistentVolumeName").is_empty() => {
            let detail = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&at.child("persistentVolumeName"), detail));
        }
        (false, true) => {}
    }
    checks::dns_subdomain(errors, &path.child("nodeName"), text(spec, "nodeName"));
    let (path, status) = (Path::new("status"), field(object, "status"));
    let bytes: usize =
        entries(status, "attachmentMetadata").map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > METADATA_MAX {
        errors.push(FieldError::too_long(&path.child("attachmentMetadata"), METADATA_MAX));
    }
    for name in ["attachError", "detachError"] {
        let (path, error) = (path.child(name), field(status, name));
        if text(error, "message").len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAX));
        }
        checks::non_negative(errors, &path.child("errorCode"), int(error, "errorCode"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_volume_is_attached_to_one_node() {
        let attachment = |source: Value, node: &str| json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"attacher": "d", "source": source, "nodeName": node}});
        let old = attachment(json!({"persistentVolumeName": "v"}), "n");
        assert!(crate::validate_create("storage.k8s.io", "VolumeAttachment", &old).is_empty());
        let none = attachment(json!({}), "n");
        assert_eq!(crate::validate_create("storage.k8s.io", "VolumeAttachment", &none).len(), 1);
        let new = attachment(json!({"persistentVolumeName": "v"}), "m");
        assert_eq!(
            crate::validate_update("storage.k8s.io", "VolumeAttachment", None, &new, &old).to_string(),
            "spec: Invalid value: {\"Attacher\":\"d\",\"Source\":{\"PersistentVolumeName\":\"v\",\"InlineVolumeSpec\":null},\"NodeName\":\"m\"}: field is immutable"
        );
    }
}
