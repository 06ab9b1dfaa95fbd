//! DeviceClasses.

use apimachinery::field::{ErrorList, Path};
use serde_json::Value;

use super::request;
use crate::{
    checks,
    core::pod::resources::is_extended,
    json::{field, has, list, text},
    kind::Kind,
    metadata,
};

const CONFIGS_MAX: usize = 32;

pub(super) struct DeviceClass;

impl Kind for DeviceClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        validate(new, errors);
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    request::check_selectors(list(spec, "selectors"), &path.child("selectors"), errors);
    let (at, configs) = (path.child("config"), list(spec, "config"));
    request::check_size(configs, CONFIGS_MAX, &at, errors);
    for (index, config) in configs.iter().enumerate() {
        request::check_config(config, &at.index(index), errors);
    }
    let name = text(spec, "extendedResourceName");
    if has(spec, "extendedResourceName") && !is_extended(name) {
        let detail = vec!["must be a valid extended resource name".to_owned()];
        checks::invalid(errors, &path.child("extendedResourceName"), name, detail);
    }
}
