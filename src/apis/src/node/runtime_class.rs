//! RuntimeClasses.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorKind, ErrorList, Path};
use serde_json::{Value, json};

use crate::{
    checks,
    core::pod::{resources, scheduling},
    golang::{Shape, Struct},
    json::{field, has, list, some, text},
    kind::Kind,
    labels, metadata,
};

static TOLERATION: Struct = Struct(&[
    ("Key", "key", Shape::Text),
    ("Operator", "operator", Shape::Text),
    ("Value", "value", Shape::Text),
    ("Effect", "effect", Shape::Text),
    ("TolerationSeconds", "tolerationSeconds", Shape::Any),
]);

pub(crate) struct RuntimeClass;

impl Kind for RuntimeClass {
    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate(new, errors);
        checks::immutable_text(errors, &Path::new("handler"), new, old, "handler");
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, handler) = (Path::new("handler"), text(object, "handler"));
    if checks::required(errors, &path, handler) {
        checks::dns_label(errors, &path, handler);
    }
    if let Some(fixed) = some(field(object, "overhead"), "podFixed") {
        let path = Path::new("overhead").child("podFixed");
        let limits = json!({"limits": fixed});
        resources::check(errors, &path, &limits, &BTreeSet::new(), resources::check_container_name);
    }
    if has(object, "scheduling") {
        let (path, scheduling) = (Path::new("scheduling"), field(object, "scheduling"));
        labels::check(errors, &path.child("nodeSelector"), field(scheduling, "nodeSelector"));
        let path = path.child("tolerations");
        let tolerations = list(scheduling, "tolerations");
        scheduling::check_tolerations(errors, &path, tolerations);
        for (index, toleration) in tolerations.iter().enumerate() {
            if tolerations[..index].contains(toleration) {
                errors.push(checks::shown(ErrorKind::Duplicate, &path.index(index), &TOLERATION.show(toleration), ""));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_a_handler_and_what_pods_of_it_cost() {
        let said = |object: Value| {
            let errors = crate::validate_create("node.k8s.io", "RuntimeClass", &object);
            errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect::<Vec<_>>()
        };
        let mut object = json!({"metadata": {"name": "r"}, "handler": "wasm", "overhead": {"podFixed": {"cpu": "1m"}}});
        assert!(said(object.clone()).is_empty());
        object["overhead"]["podFixed"] = json!({"x": "1"});
        object["handler"] = "A b".into();
        assert_eq!(said(object)[0], "handler: Invalid value");
        let tolerations = json!([{"operator": "Exists"}, {"operator": "Exists"}]);
        let object = json!({"metadata": {"name": "r"}, "handler": "w", "scheduling": {"tolerations": tolerations}});
        assert_eq!(said(object), ["scheduling.tolerations[1]: Duplicate value"]);
    }
}
