//! RoleBindings and ClusterRoleBindings.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    golang::{Shape, Struct},
    json::{default_text, each, field, list, text, with},
    kind::Kind,
    metadata,
};

const GROUP: &str = "rbac.authorization.k8s.io";

static ROLE_REF: Struct =
    Struct(&[("APIGroup", "apiGroup", Shape::Text), ("Kind", "kind", Shape::Text), ("Name", "name", Shape::Text)]);

/// `RoleBinding`.
pub(crate) static ROLE_BINDING: RoleBinding = RoleBinding { namespaced: true };
/// `ClusterRoleBinding`.
pub(crate) static CLUSTER_ROLE_BINDING: RoleBinding = RoleBinding { namespaced: false };

pub(crate) struct RoleBinding {
    namespaced: bool,
}

impl Kind for RoleBinding {
    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "roleRef", |role| default_text(role, "apiGroup", GROUP));
        each(object, "subjects", |subject| {
            if matches!(text(subject, "kind"), "User" | "Group") {
                default_text(subject, "apiGroup", GROUP);
            }
        });
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        metadata::validate_change(new, old, errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        self.validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let (now, before) = (ROLE_REF.show(field(new, "roleRef")), ROLE_REF.show(field(old, "roleRef")));
        if now != before {
            errors.push(checks::shown(ErrorKind::Invalid, &Path::new("roleRef"), &now, "cannot change roleRef"));
        }
    }
}

impl RoleBinding {
    fn validate(&self, binding: &Value, errors: &mut ErrorList) {
        let (path, role) = (Path::new("roleRef"), field(binding, "roleRef"));
        checks::one_of(errors, &path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        checks::one_of(errors, &path.child("kind"), text(role, "kind"), kinds);
        let name = text(role, "name");
        if checks::required(errors, &path.child("name"), name) {
            checks::invalid(errors, &path.child("name"), name, names::is_path_segment_name(name));
        }
        for (index, subject) in list(binding, "subjects").iter().enumerate() {
            self.check_subject(subject, &Path::new("subjects").index(index), errors);
        }
    }

    fn check_subject(&self, subject: &Value, path: &Path, errors: &mut ErrorList) {
        let name = text(subject, "name");
        checks::required(errors, &path.child("name"), name);
        let (group, at) = (text(subject, "apiGroup"), path.child("apiGroup"));
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !name.is_empty() {
                    checks::dns_subdomain(errors, &path.child("name"), name);
                }
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(&at, group, &[""]));
                }
                if !self.namespaced {
                    checks::required(errors, &path.child("namespace"), text(subject, "namespace"));
                }
            }
            "User" | "Group" => checks::one_of(errors, &at, group, &[GROUP]),
            other => {
                let kinds = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(&path.child("kind"), other, &kinds));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binding(subject: &Value) -> Value {
        let mut object = json!({
            "metadata": {"name": "b", "resourceVersion": "1"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [subject],
        });
        crate::set_defaults(GROUP, "v1", "ClusterRoleBinding", &mut object);
        object
    }

    #[test]
    fn subjects_are_of_three_kinds() {
        let count = |subject: Value| crate::validate_create(GROUP, "ClusterRoleBinding", &binding(&subject)).len();
        assert_eq!(count(json!({"kind": "User", "name": "u"})), 0);
        assert_eq!(count(json!({"kind": "ServiceAccount", "name": "u", "namespace": "n"})), 0);
        assert_eq!(count(json!({"kind": "ServiceAccount", "name": "A b"})), 2);
        assert_eq!(count(json!({"kind": "Robot"})), 2);
    }

    #[test]
    fn what_is_bound_does_not_change() {
        let old = binding(&json!({"kind": "User", "name": "u"}));
        let mut new = old.clone();
        new["roleRef"]["name"] = "other".into();
        let errors = crate::validate_update(GROUP, "ClusterRoleBinding", None, &new, &old);
        assert!(errors.to_string().ends_with("cannot change roleRef"), "{errors}");
    }
}
