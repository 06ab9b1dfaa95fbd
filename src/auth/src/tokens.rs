//! Service-account tokens: JSON Web Tokens with the claims of kube-apiserver, signed with the cluster's own key.

use std::path::Path;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pki::{self, PkiError};

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: one of the same name that is made anew is another.
    pub uid: String,
}

/// What a token lives and dies with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundObject {
    /// `Pod`, `Secret` or `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The node of a bound pod, with its uid.
    pub node: Option<(String, String)>,
}

/// A name with its uid, in claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// The uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// Kubernetes' own claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The account's namespace.
    pub namespace: String,
    /// The account.
    pub serviceaccount: Reference,
    /// The pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The node that it, or its pod, is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
}

/// All claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom.
    pub aud: Vec<String>,
    /// Until when, in seconds since 1970.
    pub exp: i64,
    /// Since when.
    pub iat: i64,
    /// By whom.
    pub iss: String,
    /// Its own identifier.
    pub jti: String,
    /// Kubernetes' claims.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// Not before.
    pub nbf: i64,
    /// The account's user name.
    pub sub: String,
}

/// Why a token is worth nothing, or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is malformed, expired or signed by another.
    #[error("token: {0}")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// It is for others.
    #[error("token is for {found:?}, not for {wanted:?}")]
    Audience {
        /// Whom it names.
        found: Vec<String>,
        /// Who asks.
        wanted: Vec<String>,
    },
    /// It has expired, or is not good yet.
    #[error("token is not valid at this time")]
    Time,
}

/// Signs and verifies tokens.
pub struct TokenSigner {
    issuer: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    jwks: Value,
    entropy: component_base::SharedEntropy,
}

impl TokenSigner {
    /// Reads the key from `path`, or makes it there.
    ///
    /// # Errors
    /// When the file cannot be used or holds something else.
    pub fn open_or_create(path: &Path, issuer: &str, entropy: component_base::SharedEntropy) -> Result<Self, PkiError> {
        if !path.exists() {
            pki::write_private(path, KeyPair::generate()?.serialize_pem().as_bytes())?;
        }
        let corrupt = |reason: String| PkiError::Corrupt { path: path.to_owned(), reason };
        let pem = std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })?;
        let key = KeyPair::from_pem(&pem).map_err(|error| corrupt(error.to_string()))?;
        let point = key.public_key_raw();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err(corrupt("it is no P-256 key".to_owned()));
        };
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info()));
        let jwks = json!({"keys": [{"use": "sig", "kty": "EC", "kid": key_id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)}]});
        let signing = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|error| corrupt(error.to_string()))?;
        let verifying =
            DecodingKey::from_ec_pem(key.public_key_pem().as_bytes()).map_err(|error| corrupt(error.to_string()))?;
        Ok(Self { issuer: issuer.to_owned(), signing, verifying, key_id, jwks, entropy })
    }

    /// Who it signs for.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key, as clients of other systems read it.
    pub fn jwks(&self) -> Value {
        self.jwks.clone()
    }

    /// A token for `account`, good for `seconds` from `now`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign(
        &self,
        account: &ServiceAccountRef,
        bound: Option<&BoundObject>,
        audiences: &[String],
        seconds: i64,
        now: Timestamp,
    ) -> Result<String, TokenError> {
        let of_kind = |kind: &str| {
            let bound = bound.filter(|bound| bound.kind == kind)?;
            Some(Reference { name: bound.name.clone(), uid: bound.uid.clone() })
        };
        let pods_node = bound.and_then(|bound| bound.node.clone()).map(|(name, uid)| Reference { name, uid });
        let now = now.as_second();
        let claims = Claims {
            aud: audiences.to_vec(),
            exp: now.saturating_add(seconds),
            iat: now,
            iss: self.issuer.clone(),
            jti: self.entropy.uuid(),
            kubernetes: KubernetesClaims {
                namespace: account.namespace.clone(),
                serviceaccount: Reference { name: account.name.clone(), uid: account.uid.clone() },
                pod: of_kind("Pod"),
                secret: of_kind("Secret"),
                node: of_kind("Node").or(pods_node),
            },
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", account.namespace, account.name),
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, &claims, &self.signing)?)
    }

    /// The claims of a token that this cluster signed, is good at `now`, and is for one of `audiences`.
    ///
    /// # Errors
    /// When it is none of that.
    pub fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        // Time is judged by the clock that is handed in, audiences below with both sides named.
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)?.claims;
        let now = now.as_second();
        if now >= claims.exp || now < claims.nbf {
            return Err(TokenError::Time);
        }
        if !claims.aud.iter().any(|audience| audiences.contains(audience)) {
            return Err(TokenError::Audience { found: claims.aud, wanted: audiences.to_vec() });
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use component_base::OsEntropy;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_and_audience_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let open =
            || TokenSigner::open_or_create(&folder.path().join("sa.key"), "me", Arc::new(OsEntropy)).expect("a key");
        let (signer, now) = (open(), Timestamp::from_second(1_000_000).expect("a time"));
        let account = ServiceAccountRef { namespace: "default".into(), name: "a".into(), uid: "1".into() };
        let mine = ["me".to_owned()];
        let token = signer.sign(&account, None, &mine, 600, now).expect("signed");
        let later = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).expect("a time");
        let claims = open().verify(&token, &mine, later(599)).expect("the key is kept");
        assert_eq!(claims.sub, "system:serviceaccount:default:a");
        assert!(matches!(signer.verify(&token, &mine, later(600)), Err(TokenError::Time)));
        assert!(matches!(signer.verify(&token, &["other".into()], now), Err(TokenError::Audience { .. })));
        assert!(signer.verify(&format!("{token}x"), &mine, now).is_err());
    }
}
