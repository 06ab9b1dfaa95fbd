//! Roles and ClusterRoles.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
    selectors::LabelSelector,
};
use serde_json::Value;

use crate::{
    checks,
    json::{default, field, has, list},
    kind::Kind,
    labels, metadata,
};

/// `Role`.
pub(crate) static ROLE: Role = Role { namespaced: true };
/// `ClusterRole`.
pub(crate) static CLUSTER_ROLE: Role = Role { namespaced: false };

pub(crate) struct Role {
    namespaced: bool,
}

impl Kind for Role {
    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "rules", Value::Null);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        metadata::validate_change(new, old, errors);
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        self.validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
    }
}

impl Role {
    fn validate(&self, role: &Value, errors: &mut ErrorList) {
        for (index, rule) in list(role, "rules").iter().enumerate() {
            self.check_rule(rule, &Path::new("rules").index(index), errors);
        }
        if !self.namespaced && has(role, "aggregationRule") {
            let path = Path::new("aggregationRule").child("clusterRoleSelectors");
            let selectors = list(field(role, "aggregationRule"), "clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(FieldError::required(&path, detail));
            }
            for (index, selector) in selectors.iter().enumerate() {
                let path = path.index(index);
                labels::check_selector(errors, &path, selector);
                if LabelSelector::from_value(selector).is_err() {
                    errors.push(checks::shown(ErrorKind::Invalid, &path, "null", "invalid label selector."));
                }
            }
        }
    }

    fn check_rule(&self, rule: &Value, path: &Path, errors: &mut ErrorList) {
        let mut require = |name: &str, detail: &str| {
            if list(rule, name).is_empty() {
                errors.push(FieldError::required(&path.child(name), detail));
            }
        };
        require("verbs", "verbs must contain at least one value");
        let urls = list(rule, "nonResourceURLs");
        if urls.is_empty() {
            require("apiGroups", "resource rules must supply at least one api group");
            require("resources", "resource rules must supply at least one resource");
            return;
        }
        let mut refuse = |detail: &str| {
            errors.push(FieldError::invalid(&path.child("nonResourceURLs"), urls.to_vec(), detail));
        };
        if self.namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|name| !list(rule, name).is_empty()) {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    fn said(kind: &str, rules: serde_json::Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "r:x"}, "rules": rules});
        let errors = crate::validate_create("rbac.authorization.k8s.io", kind, &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_rule_is_about_resources_or_about_urls() {
        assert!(said("Role", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])).is_empty());
        assert!(said("ClusterRole", json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}])).is_empty());
        assert_eq!(said("Role", json!([{"nonResourceURLs": ["/x"], "verbs": ["get"], "apiGroups": [""]}])).len(), 2);
        assert_eq!(said("Role", json!([{}])).len(), 3);
    }
}
