//! Which accounts a namespace must have.

use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Every namespace has an account of this name.
pub const DEFAULT: &str = "default";

/// The account to make, unless it is `there` or the namespace is going.
pub fn plan(namespace: &Namespace, there: bool) -> Option<ServiceAccount> {
    (!there && is_active(namespace)).then(|| ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.to_owned()),
            namespace: namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    })
}

/// Whether the namespace takes new objects.
pub fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_is_made_where_there_is_none_and_the_namespace_stays() {
        let namespace = |phase: &str| -> Namespace {
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"phase": phase}})).expect("a namespace")
        };
        let made = plan(&namespace("Active"), false).expect("one");
        assert_eq!(json!(made)["metadata"], json!({"name": "default", "namespace": "n"}));
        assert_eq!(plan(&namespace("Active"), true), None);
        assert_eq!(plan(&namespace("Terminating"), false), None);
    }
}
