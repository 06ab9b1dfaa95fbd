//! RoleBindings and ClusterRoleBindings.

use apimachinery::names;
use serde_json::Value;

use crate::{
    json::{default, each, text, with},
    kind::Kind,
};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) struct RoleBinding;

impl Kind for RoleBinding {
    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "roleRef", |role| default(role, "apiGroup", GROUP));
        each(object, "subjects", |subject| {
            if matches!(text(subject, "kind"), "User" | "Group") {
                default(subject, "apiGroup", GROUP);
            }
        });
    }
}
