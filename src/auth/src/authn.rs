//! Authentication: a client certificate, a service-account token, or a bootstrap token says who asks.

use std::sync::Arc;

use component_base::SharedClock;
use x509_parser::{certificate::X509Certificate, oid_registry, prelude::FromDer, time::ASN1Time};

use crate::{
    ObjectReader, UserInfo, text,
    tokens::{Claims, TokenError, TokenSigner},
};

/// Why a credential proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The certificate is malformed.
    #[error("client certificate: {0}")]
    Certificate(String),
    /// The certificate is of another authority.
    #[error("client certificate was not signed by the cluster's authority")]
    Authority,
    /// The certificate is not good now.
    #[error("client certificate is not valid at this time")]
    Expired,
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's account, or what it is bound to, is gone.
    #[error("the {kind} {name:?} that the token is bound to does not exist any more")]
    Gone {
        /// What.
        kind: &'static str,
        /// Which.
        name: String,
    },
}

/// Finds out who asks.
pub struct Authenticator {
    tokens: Arc<TokenSigner>,
    reader: Arc<dyn ObjectReader>,
    clock: SharedClock,
    authority: Vec<u8>,
}

impl Authenticator {
    /// Certificates must be signed by `authority` (DER); accounts and bootstrap tokens are looked up with `reader`.
    pub fn new(
        tokens: Arc<TokenSigner>,
        reader: Arc<dyn ObjectReader>,
        clock: SharedClock,
        authority: Vec<u8>,
    ) -> Self {
        Self { tokens, reader, clock, authority }
    }

    /// Who shows this certificate (DER) or this token; none when neither is shown.
    ///
    /// # Errors
    /// When what is shown proves nothing.
    pub fn authenticate(
        &self,
        certificate: Option<&[u8]>,
        bearer: Option<&str>,
    ) -> Result<Option<UserInfo>, AuthError> {
        if let Some(certificate) = certificate {
            return self.by_certificate(certificate).map(Some);
        }
        let Some(token) = bearer else { return Ok(None) };
        if let Some(user) = self.by_bootstrap_token(token) {
            return Ok(Some(user));
        }
        self.by_token(token, &[self.tokens.issuer().to_owned()]).map(|(user, _)| Some(user))
    }

    /// Who a token belongs to, for one of `audiences` (the API server itself unless given), and for which it is good.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn review_token(&self, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), AuthError> {
        let own = [self.tokens.issuer().to_owned()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let (user, claims) = self.by_token(token, wanted)?;
        let good = wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        Ok((user, good))
    }

    fn by_certificate(&self, der: &[u8]) -> Result<UserInfo, AuthError> {
        let parse = |der| {
            let parsed = X509Certificate::from_der(der).map_err(|error| AuthError::Certificate(error.to_string()));
            parsed.map(|(_, certificate)| certificate)
        };
        let (certificate, authority) = (parse(der)?, parse(&self.authority)?);
        certificate.verify_signature(Some(authority.public_key())).map_err(|_| AuthError::Authority)?;
        let now = ASN1Time::from_timestamp(self.clock.now().as_second()).map_err(|_| AuthError::Expired)?;
        if !certificate.validity().is_valid_at(now) {
            return Err(AuthError::Expired);
        }
        let for_clients = certificate.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.client_auth);
        if !for_clients {
            return Err(AuthError::Certificate("it is not for clients".to_owned()));
        }
        let subject = certificate.subject();
        let values = |oid: &oid_registry::Oid<'_>| -> Vec<String> {
            subject.iter_by_oid(oid).filter_map(|value| value.as_str().ok().map(str::to_owned)).collect()
        };
        let name = values(&oid_registry::OID_X509_COMMON_NAME).into_iter().next().unwrap_or_default();
        let mut groups = values(&oid_registry::OID_X509_ORGANIZATION_NAME);
        groups.push("system:authenticated".to_owned());
        Ok(UserInfo { name, groups, ..UserInfo::default() })
    }

    fn by_token(&self, token: &str, audiences: &[String]) -> Result<(UserInfo, Claims), AuthError> {
        let claims = self.tokens.verify(token, audiences, self.clock.now())?;
        let bound = &claims.kubernetes;
        let must_exist = |kind, resource: &str, namespace: &str, reference: &crate::tokens::Reference| {
            let found = self.reader.get("", resource, namespace, &reference.name);
            let same =
                found.is_some_and(|found| reference.uid.is_empty() || text(&found, "/metadata/uid") == reference.uid);
            if same { Ok(()) } else { Err(AuthError::Gone { kind, name: reference.name.clone() }) }
        };
        must_exist("service account", "serviceaccounts", &bound.namespace, &bound.serviceaccount)?;
        if let Some(pod) = &bound.pod {
            must_exist("pod", "pods", &bound.namespace, pod)?;
        }
        if let Some(secret) = &bound.secret {
            must_exist("secret", "secrets", &bound.namespace, secret)?;
        }
        if let Some(node) = bound.node.as_ref().filter(|_| bound.pod.is_none()) {
            must_exist("node", "nodes", "", node)?;
        }
        let mut user = service_account_user(&bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
        let mut know =
            |key: &str, value: String| user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        know("credential-id", format!("JTI={}", claims.jti));
        for (key, reference) in [("pod", &bound.pod), ("node", &bound.node)] {
            if let Some(reference) = reference {
                know(&format!("{key}-name"), reference.name.clone());
                know(&format!("{key}-uid"), reference.uid.clone());
            }
        }
        Ok((user, claims))
    }

    /// `ID.SECRET` of a Secret `bootstrap-token-ID` in `kube-system`.
    fn by_bootstrap_token(&self, token: &str) -> Option<UserInfo> {
        let (id, secret) = token.split_once('.')?;
        let shaped = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if !shaped(id, 6) || !shaped(secret, 16) {
            return None;
        }
        let object = self.reader.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
        let field = |key: &str| {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let decoded = STANDARD.decode(text(&object, &format!("/data/{key}"))).ok()?;
            String::from_utf8(decoded).ok()
        };
        let expired = || {
            let Some(expiry) = field("expiration") else { return false };
            expiry.parse::<jiff::Timestamp>().map_or(true, |expiry| self.clock.now() >= expiry)
        };
        let good = text(&object, "/type") == "bootstrap.kubernetes.io/token"
            && same_secret(field("token-secret")?.as_bytes(), secret.as_bytes())
            && field("usage-bootstrap-authentication").as_deref() == Some("true")
            && !expired();
        good.then(|| UserInfo {
            name: format!("system:bootstrap:{id}"),
            groups: vec!["system:bootstrappers".to_owned(), "system:authenticated".to_owned()],
            ..UserInfo::default()
        })
    }
}

/// Compares in a time that does not tell where they differ.
fn same_secret(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// A service account as a user.
pub fn service_account_user(namespace: &str, name: &str, uid: &str) -> UserInfo {
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ],
        ..UserInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use component_base::{Clock, OsEntropy, SystemClock};
    use serde_json::{Value, json};

    use super::*;
    use crate::pki::ClusterCa;

    struct Objects(Vec<(&'static str, Value)>);

    impl ObjectReader for Objects {
        fn get(&self, _: &str, resource: &str, _: &str, name: &str) -> Option<Arc<Value>> {
            let found = self.0.iter().find(|(of, object)| *of == resource && object["metadata"]["name"] == name);
            found.map(|(_, object)| Arc::new(object.clone()))
        }

        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Value>> {
            Vec::new()
        }
    }

    fn der(pem: &str) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM").1.contents
    }

    #[test]
    fn only_the_clusters_own_certificates_and_living_accounts_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");
        let ca = ClusterCa::open_or_create(folder.path(), &SystemClock).expect("made");
        let stranger = ClusterCa::open_or_create(other.path(), &SystemClock).expect("made");
        let tokens =
            TokenSigner::open_or_create(&folder.path().join("sa.key"), "me", Arc::new(OsEntropy)).expect("a key");
        let tokens = Arc::new(tokens);
        let reader = Arc::new(Objects(vec![("serviceaccounts", json!({"metadata": {"name": "a", "uid": "1"}}))]));
        let authenticator =
            Authenticator::new(tokens.clone(), reader, Arc::new(SystemClock), der(ca.certificate_pem()));
        let now = SystemClock.now();
        let mine = ca.client("eve", &["team"], now).expect("signed");
        let user = authenticator.authenticate(Some(&der(&mine.certificate)), None).expect("known").expect("someone");
        assert_eq!((user.name.as_str(), user.groups[0].as_str()), ("eve", "team"));
        let theirs = stranger.client("eve", &["system:masters"], now).expect("signed");
        let refused = authenticator.authenticate(Some(&der(&theirs.certificate)), None);
        assert!(matches!(refused, Err(AuthError::Authority)));
        let server = ca.server("x", &["localhost".to_owned()], now).expect("signed");
        assert!(authenticator.authenticate(Some(&der(&server.certificate)), None).is_err(), "not for clients");
        let sign = |uid: &str| {
            let account = crate::tokens::ServiceAccountRef { namespace: "n".into(), name: "a".into(), uid: uid.into() };
            tokens.sign(&account, None, &["me".to_owned()], 600, now).expect("signed")
        };
        let user = authenticator.authenticate(None, Some(&sign("1"))).expect("known").expect("someone");
        assert_eq!(user.name, "system:serviceaccount:n:a");
        assert!(matches!(authenticator.authenticate(None, Some(&sign("2"))), Err(AuthError::Gone { .. })));
        assert!(authenticator.authenticate(None, Some("nonsense")).is_err());
        assert_eq!(authenticator.authenticate(None, None).expect("nobody"), None);
    }
}
