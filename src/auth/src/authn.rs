//! Authentication: a client certificate, a service-account token, a bootstrap token or a join token says who asks.

use std::sync::Arc;

use component_base::{
    SharedClock,
    join_token::{self, JoinToken, NotAToken, RecordError, Refusal, TokenRecord, same_secret},
};
use serde_json::Value;
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
    /// A join token.
    #[error("join token {id:?}: {why}")]
    Join {
        /// Its ID.
        id: String,
        /// Why it is not let in.
        why: JoinError,
    },
    /// What is meant to be a join token.
    #[error(transparent)]
    NotAToken(#[from] NotAToken),
}

/// Why a join token is not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is no such token.
    #[error("there is none: it was deleted, or was never made in this cluster")]
    Unknown,
    /// It was made in another cluster.
    #[error("it is of a cluster with another authority")]
    OtherCluster,
    /// What is kept of it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is wrong or over.
    #[error(transparent)]
    Refused(#[from] Refusal),
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
        if JoinToken::is_meant(token) {
            return self.by_join_token(&token.parse()?).map(Some);
        }
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

    /// A token of `coracle token create`.
    fn by_join_token(&self, token: &JoinToken) -> Result<UserInfo, AuthError> {
        let refused = |why: JoinError| AuthError::Join { id: token.id().to_owned(), why };
        if !token.is_of(&self.authority) {
            return Err(refused(JoinError::OtherCluster));
        }
        let name = format!("{}{}", join_token::SECRET_PREFIX, token.id());
        let object = self.reader.get("", "secrets", join_token::NAMESPACE, &name);
        let object = object.filter(|object| text(object, "/type") == join_token::SECRET_TYPE);
        let object = object.ok_or_else(|| refused(JoinError::Unknown))?;
        let record = TokenRecord::read(|field| secret_field(&object, field)).map_err(|error| refused(error.into()))?;
        record.admits(token, self.clock.now()).map_err(|error| refused(error.into()))?;
        Ok(UserInfo {
            name: format!("system:bootstrap:{}", token.id()),
            groups: vec![
                "system:bootstrappers".to_owned(),
                format!("system:bootstrappers:coracle:{}", record.role.as_str()),
                "system:authenticated".to_owned(),
            ],
            ..UserInfo::default()
        })
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
        let field = |key: &str| secret_field(&object, key);
        let expired = || {
            let Some(expiry) = field("expiration") else { return false };
            expiry.parse::<jiff::Timestamp>().map_or(true, |expiry| self.clock.now() >= expiry)
        };
        let good = text(&object, "/type") == "bootstrap.kubernetes.io/token"
            && same_secret(field("token-secret")?.as_bytes(), secret.as_bytes())
            && field("usage-bootstrap-authentication").as_deref() == Some("true")
            && !expired();
        if !good {
            return None;
        }
        let mut groups = vec!["system:bootstrappers".to_owned()];
        groups.extend(bootstrap_groups(&field("auth-extra-groups").unwrap_or_default())?);
        groups.push("system:authenticated".to_owned());
        Some(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
    }
}

/// Further groups of who has a bootstrap token, from a list with commas; `None` when one of them is not for that.
fn bootstrap_groups(list: &str) -> Option<Vec<String>> {
    let allowed = |group: &str| {
        let Some(own) = group.strip_prefix("system:bootstrappers:") else { return false };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        own.len() <= 256
            && own.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-'))
            && own.bytes().next_back().is_some_and(plain)
    };
    let mut groups: Vec<_> =
        list.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.iter().all(|group| allowed(group)).then_some(groups)
}

/// A text in a Secret.
fn secret_field(secret: &Value, key: &str) -> Option<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let encoded = secret.get("data")?.get(key)?.as_str()?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
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
    use component_base::{Clock, OsEntropy, SystemClock, clock::ManualClock, join_token::JoinRole};
    use serde_json::json;

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

    #[test]
    fn a_bootstrap_token_brings_groups_below_its_own_and_no_others() {
        let groups = |list: &str| bootstrap_groups(list);
        assert_eq!(groups(""), Some(Vec::new()));
        let both = ["system:bootstrappers:a", "system:bootstrappers:kubeadm:default-node-token"];
        assert_eq!(groups(&format!("{}, {},{}", both[1], both[0], both[0])), Some(both.map(str::to_owned).to_vec()));
        for list in
            ["system:masters", "system:bootstrappers:", "system:bootstrappers:a-", "system:bootstrappers:A", "a,b"]
        {
            assert_eq!(groups(list), None, "{list}");
        }
    }

    #[test]
    fn a_join_token_is_its_role_until_it_expires_or_is_deleted() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let folder = tempfile::tempdir().expect("a folder");
        let ca = ClusterCa::open_or_create(folder.path(), &SystemClock).expect("made");
        let authority = der(ca.certificate_pem());
        let signer = TokenSigner::open_or_create(&folder.path().join("sa.key"), "me", Arc::new(OsEntropy));
        let signer = Arc::new(signer.expect("a key"));
        let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let end: jiff::Timestamp = "2026-01-02T00:00:00Z".parse().expect("a time");
        let clock = Arc::new(ManualClock::new(start));
        let token = JoinToken::generate(&OsEntropy, &authority);
        let record = TokenRecord::new(&token, JoinRole::Agent, Some(end), String::new(), &OsEntropy);
        let data: Value =
            record.data().into_iter().map(|(key, value)| (key, Value::String(STANDARD.encode(value)))).collect();
        let secret = |kind: &str| {
            let name = format!("coracle-token-{}", token.id());
            ("secrets", json!({"metadata": {"name": name}, "type": kind, "data": data}))
        };
        let ask = |objects: Vec<(&'static str, Value)>, token: &str| {
            Authenticator::new(signer.clone(), Arc::new(Objects(objects)), clock.clone(), authority.clone())
                .authenticate(None, Some(token))
                .map_err(|error| error.to_string())
        };
        let good = || vec![secret("coracle.dev/token")];
        let user = ask(good(), &token.to_string()).expect("let in").expect("someone");
        assert_eq!(user.name, format!("system:bootstrap:{}", token.id()));
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:coracle:agent", "system:authenticated"]);
        let [_, id, _, hash] = &token.to_string().split('.').map(str::to_owned).collect::<Vec<_>>()[..] else {
            panic!("four parts")
        };
        let stranger = JoinToken::generate(&OsEntropy, b"another authority").to_string();
        for (objects, token, why) in [
            (good(), format!("coracle1.{id}.{}.{hash}", "a".repeat(32)), "secret is wrong"),
            (Vec::new(), token.to_string(), "deleted"),
            (vec![secret("Opaque")], token.to_string(), "deleted"),
            (good(), stranger, "another authority"),
            (good(), "coracle1.x".to_owned(), "four parts"),
        ] {
            let error = ask(objects, &token).expect_err("refused");
            assert!(error.contains(why), "{why}: {error}");
        }
        clock.set(end);
        assert!(ask(good(), &token.to_string()).expect_err("over").contains("expired"), "its time is over");
    }
}
