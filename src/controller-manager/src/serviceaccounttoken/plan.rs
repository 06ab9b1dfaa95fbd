//! What a Secret that stands for a service account's token lacks.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};

/// The type of such Secrets.
pub const TYPE: &str = "kubernetes.io/service-account-token";
/// Names the account.
pub const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// The account is not there (any more): the Secret goes.
    Delete,
    /// It is to be replaced by this, which lacks a token if so said.
    Fill(Box<Secret>, bool),
}

/// The account that a Secret is for.
pub fn account_of(secret: &Secret) -> Option<&str> {
    let named = secret.metadata.annotations.as_ref().and_then(|all| all.get(ACCOUNT)).map(String::as_str);
    named.filter(|name| !name.is_empty() && secret.type_.as_deref() == Some(TYPE))
}

/// Decides. `account` is what has the name that the Secret says.
pub fn plan(secret: &Secret, account: Option<&ServiceAccount>, root_ca: &str) -> Step {
    let wanted =
        secret.metadata.annotations.as_ref().and_then(|all| all.get(ACCOUNT_UID)).filter(|uid| !uid.is_empty());
    let account = account.filter(|account| wanted.is_none_or(|uid| Some(uid) == account.metadata.uid.as_ref()));
    let Some(account) = account else { return Step::Delete };
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut filled = secret.clone();
    let data: &mut BTreeMap<String, ByteString> = filled.data.get_or_insert_default();
    let empty = |data: &BTreeMap<String, ByteString>, key: &str| data.get(key).is_none_or(|value| value.0.is_empty());
    let no_token = empty(data, TOKEN);
    data.insert("ca.crt".to_owned(), bytes(root_ca));
    if empty(data, "namespace") {
        data.insert("namespace".to_owned(), bytes(secret.metadata.namespace.as_deref().unwrap_or_default()));
    }
    if let Some(uid) = &account.metadata.uid {
        filled.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.to_owned(), uid.clone());
    }
    if no_token || filled != *secret { Step::Fill(Box::new(filled), no_token) } else { Step::Stay }
}

/// Puts a token in.
pub fn with_token(mut secret: Secret, token: String) -> Secret {
    secret.data.get_or_insert_default().insert(TOKEN.to_owned(), ByteString(token.into_bytes()));
    secret
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_filled_once_and_goes_with_its_account() {
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {"name": "s", "namespace": "n", "annotations": {ACCOUNT: "a"}}, "type": TYPE}),
        )
        .expect("a secret");
        let account = |uid: &str| -> ServiceAccount {
            serde_json::from_value(json!({"metadata": {"name": "a", "uid": uid}})).expect("an account")
        };
        assert_eq!(account_of(&secret), Some("a"));
        let Step::Fill(filled, true) = plan(&secret, Some(&account("1")), "PEM") else { panic!("it is empty") };
        let filled = with_token(*filled, "t".to_owned());
        let data = filled.data.as_ref().expect("data");
        assert_eq!(
            data.iter().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect::<Vec<_>>(),
            [("ca.crt", b"PEM".as_slice()), ("namespace", b"n"), ("token", b"t")]
        );
        assert_eq!(plan(&filled, Some(&account("1")), "PEM"), Step::Stay);
        assert_eq!(plan(&filled, Some(&account("2")), "PEM"), Step::Delete, "it is another account");
        assert_eq!(plan(&secret, None, "PEM"), Step::Delete);
    }
}
