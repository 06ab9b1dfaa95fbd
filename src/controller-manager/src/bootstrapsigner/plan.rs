//! The signatures that let who has a bootstrap token trust what `cluster-info` says. Pure.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use sha2::Sha256;

/// The type of Secrets that are tokens.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// What is signed.
const KUBECONFIG: &str = "kubeconfig";
/// What a signature is called, before the token's id.
const SIGNATURE: &str = "jws-kubeconfig-";
/// What the name of a token's Secret begins with, before the token's id.
const NAME: &str = "bootstrap-token-";

/// A token that signs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    id: String,
    secret: String,
    /// When it is over.
    pub expiry: Option<Timestamp>,
}

/// The token that a Secret is; `None` when it is none, is not for signing, or is over.
pub fn token(secret: &Secret, now: Timestamp) -> Option<Token> {
    let field = |name: &str| {
        let value = secret.data.as_ref()?.get(name)?;
        std::str::from_utf8(&value.0).ok().map(str::to_owned).filter(|value| !value.is_empty())
    };
    let (id, value) = (field("token-id")?, field("token-secret")?);
    let expiry = match field("expiration") {
        Some(expiry) => Some(expiry.parse::<Timestamp>().ok()?),
        None => None,
    };
    let named = secret.metadata.name.as_deref().and_then(|name| name.strip_prefix(NAME)) == Some(&id);
    let good = secret.type_.as_deref() == Some(TYPE)
        && named
        && field("usage-bootstrap-signing").as_deref() == Some("true")
        && expiry.is_none_or(|expiry| expiry > now);
    good.then_some(Token { id, secret: value, expiry })
}

/// What `cluster-info` says, with a signature by each token and none besides; `None` when it is so.
pub fn signed(info: &ConfigMap, tokens: &[Token]) -> Option<BTreeMap<String, String>> {
    let present = info.data.clone().unwrap_or_default();
    let mut wanted: BTreeMap<_, _> = present
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(content) = present.get(KUBECONFIG) {
        wanted.extend(tokens.iter().map(|token| (format!("{SIGNATURE}{}", token.id), signature(content, token))));
    }
    (wanted != present).then_some(wanted)
}

/// A JSON Web Signature by HMAC-SHA-256 whose content is left out.
fn signature(content: &str, token: &Token) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":{:?}}}"#, token.id));
    let mut mac = Hmac::<Sha256>::new_from_slice(token.secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(format!("{header}.{}", URL_SAFE_NO_PAD.encode(content)).as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{from_value, json};

    use super::*;

    fn secret(change: &[(&str, &str)]) -> Secret {
        let mut fields = BTreeMap::from([
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-signing", "true"),
        ]);
        fields.extend(change.iter().copied());
        let mut secret: Secret =
            from_value(json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE})).expect("a secret");
        let data = fields.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
        secret.data = Some(data.collect());
        secret
    }

    #[test]
    fn a_token_signs_when_it_may_and_is_not_over() {
        let now = Timestamp::from_second(1_767_225_600).expect("2026");
        let signs = |change: &[(&str, &str)]| token(&secret(change), now).is_some();
        assert!(signs(&[]));
        assert!(signs(&[("expiration", "2026-01-01T00:00:01Z")]));
        assert!(!signs(&[("expiration", "2026-01-01T00:00:00Z")]));
        assert!(!signs(&[("expiration", "soon")]));
        assert!(!signs(&[("usage-bootstrap-signing", "false")]));
        assert!(!signs(&[("token-id", "fedcba")]), "its name says another");
    }

    #[test]
    fn each_token_signs_and_what_is_over_goes() {
        let now = Timestamp::from_second(0).expect("zero");
        let tokens = [token(&secret(&[]), now).expect("a token")];
        let info = |data| -> ConfigMap { from_value(json!({"metadata": {}, "data": data})).expect("a config map") };
        let data =
            signed(&info(json!({"kubeconfig": "payload", "jws-kubeconfig-fedcba": "old"})), &tokens).expect("a change");
        // What `openssl dgst -sha256 -hmac 0123456789abcdef` says of the same.
        let jws = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..pQpAf41KnbpDpf53Otu_ufAeAbWD9CSytTS_WpoG4Mc";
        assert_eq!(json!(data), json!({"kubeconfig": "payload", "jws-kubeconfig-abcdef": jws}));
        assert_eq!(signed(&info(json!(data)), &tokens), None);
        assert_eq!(signed(&info(json!({"other": "x"})), &tokens), None, "there is nothing to sign");
    }
}
