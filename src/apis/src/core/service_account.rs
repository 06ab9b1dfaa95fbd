//! ServiceAccounts.

use apimachinery::meta;
use serde_json::Value;

use crate::{
    json::{self, each},
    kind::Kind,
};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

pub(crate) struct ServiceAccount;

impl Kind for ServiceAccount {
    fn prepare_for_create(&self, object: &mut Value) {
        keep_only_names(object);
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, _old: &Value) {
        keep_only_names(new);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        let before = old.is_some_and(|old| meta::annotation(old, ENFORCE) == Some("true"));
        if !before && meta::annotation(object, ENFORCE) == Some("true") {
            warnings.push(format!(
                "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ));
        }
    }
}

/// Of the secrets it names, an account keeps nothing but the names.
fn keep_only_names(object: &mut Value) {
    each(object, "secrets", |secret| {
        if let Some(fields) = secret.as_object_mut() {
            fields.retain(|name, _| name == "name");
        }
    });
    debug_assert!(
        json::list(object, "secrets").iter().all(|secret| secret.as_object().is_none_or(|one| one.len() <= 1))
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn of_secrets_only_names_are_kept() {
        let mut object = json!({"metadata": {"name": "a"}, "secrets": [{"name": "s", "kind": "Secret"}, {"uid": "u"}]});
        crate::prepare_for_create("", "ServiceAccount", &mut object);
        assert_eq!(object["secrets"], json!([{"name": "s"}, {}]));
    }
}
