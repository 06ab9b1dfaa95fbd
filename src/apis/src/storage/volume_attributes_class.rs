//! VolumeAttributesClasses.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::check_parameters;
use crate::{
    checks,
    json::{field, text},
    kind::Kind,
    metadata,
};

pub(crate) struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if text(new, "driverName") != text(old, "driverName") {
            errors.push(FieldError::forbidden(&Path::new("driverName"), "updates to driverName are forbidden."));
        }
        if field(new, "parameters") != field(old, "parameters") {
            errors.push(FieldError::forbidden(&Path::new("parameters"), "updates to parameters are forbidden."));
        }
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, errors);
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, driver) = (Path::new("driverName"), text(object, "driverName"));
    if checks::required(errors, &path, driver) {
        checks::label_name(errors, &path, &driver.to_lowercase());
    }
    check_parameters(object, false, errors);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn nothing_of_it_changes() {
        let old =
            json!({"metadata": {"name": "v", "resourceVersion": "1"}, "driverName": "a", "parameters": {"k": "v"}});
        assert!(crate::validate_create("storage.k8s.io", "VolumeAttributesClass", &old).is_empty());
        let mut new = old.clone();
        new["driverName"] = "b".into();
        new["parameters"]["k"] = "w".into();
        assert_eq!(crate::validate_update("storage.k8s.io", "VolumeAttributesClass", None, &new, &old).len(), 2);
    }
}
