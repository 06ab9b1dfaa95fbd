//! IngressClasses.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::ingress::check_reference;
use crate::{
    checks,
    json::{default, field, has, text, with},
    kind::Kind,
    metadata,
};

const CONTROLLER_MAX: usize = 250;

pub(crate) struct IngressClass;

impl Kind for IngressClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| with(spec, "parameters", |parameters| default(parameters, "scope", "Cluster")));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(field(object, "spec"), errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (spec, before) = (field(new, "spec"), field(old, "spec"));
        checks::immutable_text(errors, &Path::new("spec").child("controller"), spec, before, "controller");
        validate(spec, errors);
    }
}

fn validate(spec: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let at = path.child("controller");
    let controller = text(spec, "controller");
    if controller.len() > CONTROLLER_MAX {
        errors.push(FieldError::too_long(&at, CONTROLLER_MAX));
    }
    if checks::required(errors, &at, controller) {
        checks::invalid(errors, &at, controller, names::is_domain_prefixed_path(controller));
    }
    check_parameters(spec, &path, errors);
}

fn check_parameters(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (path, parameters) = (path.child("parameters"), field(spec, "parameters"));
    if parameters.is_null() {
        return;
    }
    check_reference(parameters, &path, errors);
    let at = path.child("namespace");
    let namespace = has(parameters, "namespace").then(|| text(parameters, "namespace"));
    match (text(parameters, "scope"), namespace) {
        ("Cluster", Some(_)) => errors.push(FieldError::forbidden(&at, "`parameters.scope` is set to 'Cluster'")),
        ("Namespace", None) => errors.push(FieldError::required(&at, "`parameters.scope` is set to 'Namespace'")),
        ("Namespace", Some(namespace)) => checks::dns_label(errors, &at, namespace),
        ("Cluster", None) => {}
        (other, _) => checks::one_of(errors, &path.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn parameters_are_in_a_namespace_or_not() {
        let count = |parameters: serde_json::Value| {
            let mut object =
                json!({"metadata": {"name": "i"}, "spec": {"controller": "a.example/b", "parameters": parameters}});
            crate::set_defaults("networking.k8s.io", "v1", "IngressClass", &mut object);
            crate::validate_create("networking.k8s.io", "IngressClass", &object).len()
        };
        assert_eq!(count(json!({"kind": "K", "name": "n"})), 0);
        assert_eq!(count(json!({"kind": "K", "name": "n", "namespace": "x"})), 1);
        assert_eq!(count(json!({"kind": "K", "name": "n", "scope": "Namespace"})), 1);
        assert_eq!(count(json!({"kind": "K", "name": "n", "scope": "Namespace", "namespace": "x"})), 0);
    }
}
