//! ControllerRevisions.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::{
    checks,
    json::{has, int},
    kind::Kind,
};

pub(crate) struct ControllerRevision;

impl Kind for ControllerRevision {
    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        if !has(object, "data") {
            errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
        }
        checks::non_negative(errors, &Path::new("revision"), int(object, "revision"));
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        checks::non_negative(errors, &Path::new("revision"), int(new, "revision"));
        checks::immutable(errors, &Path::new("data"), new, old, "data");
    }
}
