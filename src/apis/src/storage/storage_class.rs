//! StorageClasses.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::check_parameters;
use crate::{
    checks,
    json::{default, has, list, text},
    kind::Kind,
    metadata,
};

pub(crate) struct StorageClass;

impl Kind for StorageClass {
    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "reclaimPolicy", "Delete");
        default(object, "volumeBindingMode", "Immediate");
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate(new, errors);
        checks::immutable(errors, &Path::new("parameters"), new, old, "parameters");
        checks::immutable_text(errors, &Path::new("provisioner"), new, old, "provisioner");
        checks::immutable(errors, &Path::new("reclaimPolicy"), new, old, "reclaimPolicy");
        checks::immutable(errors, &Path::new("volumeBindingMode"), new, old, "volumeBindingMode");
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, provisioner) = (Path::new("provisioner"), text(object, "provisioner"));
    if checks::required(errors, &path, provisioner) {
        checks::label_name(errors, &path, &provisioner.to_lowercase());
    }
    check_parameters(object, true, errors);
    if !text(object, "reclaimPolicy").is_empty() {
        let policy = text(object, "reclaimPolicy");
        checks::one_of(errors, &Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let path = Path::new("volumeBindingMode");
    if has(object, "volumeBindingMode") {
        let mode = text(object, "volumeBindingMode");
        checks::one_of(errors, &path, mode, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        errors.push(FieldError::required(&path, ""));
    }
    check_topologies(list(object, "allowedTopologies"), errors);
}

fn check_topologies(terms: &[Value], errors: &mut ErrorList) {
    let path = Path::new("allowedTopologies");
    // Kubernetes compares each term with those before it, and with as many empty ones as there are terms.
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = vec![BTreeMap::new(); terms.len()];
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(index);
            let key = text(expression, "key");
            let values = check_topology(expression, &path, errors);
            if keys.contains_key(key) {
                errors.push(FieldError::duplicate(&path.child("key"), key));
            }
            keys.insert(key, values);
        }
        for _ in seen.iter().filter(|other| **other == keys) {
            errors.push(FieldError::duplicate(&path, ""));
        }
        seen.push(keys);
    }
}

fn check_topology<'a>(expression: &'a Value, path: &Path, errors: &mut ErrorList) -> BTreeSet<&'a str> {
    let at = path.child("values");
    let values = list(expression, "values");
    if values.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        if !seen.insert(value) {
            errors.push(FieldError::duplicate(&at.index(index), value));
        }
    }
    let key = text(expression, "key");
    checks::invalid(errors, &path.child("key"), key, names::is_qualified_name(key));
    seen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(change: impl Fn(&mut Value)) -> Value {
        let mut object = json!({"metadata": {"name": "s", "resourceVersion": "1"}, "provisioner": "a.example/p"});
        change(&mut object);
        crate::set_defaults("storage.k8s.io", "v1", "StorageClass", &mut object);
        object
    }

    #[test]
    fn a_class_says_who_makes_volumes_and_where() {
        let count = |object: &Value| crate::validate_create("storage.k8s.io", "StorageClass", object).len();
        assert_eq!(count(&class(|_| {})), 0);
        assert_eq!(count(&class(|object| object["provisioner"] = "".into())), 1);
        let term = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]});
        assert_eq!(count(&class(|object| object["allowedTopologies"] = json!([term]))), 0);
        assert_eq!(count(&class(|object| object["allowedTopologies"] = json!([term, term]))), 1);
        assert_eq!(count(&class(|object| object["allowedTopologies"] = json!([{}]))), 1);
    }

    #[test]
    fn who_makes_volumes_does_not_change() {
        let (old, new) = (class(|_| {}), class(|object| object["provisioner"] = "b.example/p".into()));
        assert_eq!(crate::validate_update("storage.k8s.io", "StorageClass", None, &new, &old).len(), 1);
    }
}
