//! Kinds of `rbac.authorization.k8s.io`.

mod role;
mod role_binding;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Role" | "ClusterRole" => &role::Role,
        "RoleBinding" | "ClusterRoleBinding" => &role_binding::RoleBinding,
        _ => return None,
    })
}
