//! Kinds of `rbac.authorization.k8s.io`.

mod role;
mod role_binding;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Role" => &role::ROLE,
        "ClusterRole" => &role::CLUSTER_ROLE,
        "RoleBinding" => &role_binding::ROLE_BINDING,
        "ClusterRoleBinding" => &role_binding::CLUSTER_ROLE_BINDING,
        _ => return None,
    })
}
