//! Asking the cluster for a certificate.

use futures::StreamExt;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::pair::Pair;

/// So long a request may stay undecided until the log says who could decide.
const UNDECIDED: std::time::Duration = std::time::Duration::from_secs(5);

/// What a node asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To be known to the API server.
    Client,
    /// To serve under these names and addresses.
    Serving(Vec<String>),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A key or request cannot be made.
    #[error("cannot make a certificate request: {0}")]
    Make(#[from] rcgen::Error),
    /// The credential is not accepted.
    #[error("the cluster does not know who asks (401 Unauthorized)")]
    Unauthorized,
    /// It may not ask.
    #[error("the cluster does not let it ask for a certificate: {0}")]
    Forbidden(String),
    /// The cluster cannot answer now.
    #[error("the cluster did not answer as expected: {0}")]
    Cluster(kube::Error),
    /// Somebody said no.
    #[error("the certificate request {name} was {what}: {message}")]
    Refused {
        /// Which.
        name: String,
        /// `denied`, or not signed.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// It was deleted before it was signed.
    #[error("the certificate request {0} was deleted before it was signed")]
    Gone(String),
    /// What was signed cannot be used.
    #[error("the certificate that the cluster signed cannot be used: {0}")]
    Unusable(String),
}

impl RequestError {
    /// Whether it is no use to ask again with the same credential.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Make(_) | Self::Unauthorized | Self::Forbidden(_) | Self::Refused { .. })
    }
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 401 => Self::Unauthorized,
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message),
            other => Self::Cluster(other),
        }
    }
}

/// Makes a key, has the cluster sign for it, and waits until it has.
///
/// # Errors
/// When the cluster refuses or cannot be asked. The key is forgotten then.
pub async fn certificate(client: Client, node: &str, wanted: &Wanted) -> Result<Pair, RequestError> {
    let key = KeyPair::generate()?;
    let csr = request(node, wanted, &key)?;
    let api = Api::<CertificateSigningRequest>::all(client);
    let name = api.create(&PostParams::default(), &csr).await?.name_any();
    let signed = tokio::select! {
        signed = signed(&api, &name) => signed?,
        never = remind(&name) => match never {},
    };
    Pair::new(&signed, &key.serialize_pem()).map_err(RequestError::Unusable)
}

fn request(node: &str, wanted: &Wanted, key: &KeyPair) -> Result<CertificateSigningRequest, rcgen::Error> {
    let (prefix, signer, usage, hosts) = match wanted {
        Wanted::Client => ("node-csr-", "kubernetes.io/kube-apiserver-client-kubelet", "client auth", Vec::new()),
        Wanted::Serving(hosts) => ("csr-", "kubernetes.io/kubelet-serving", "server auth", hosts.clone()),
    };
    let mut params = CertificateParams::new(hosts)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "system:nodes");
    name.push(DnType::CommonName, format!("system:node:{node}"));
    params.distinguished_name = name;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(prefix.to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(params.serialize_request(key)?.pem()?.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), usage.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

/// The certificate, as soon as it is there.
async fn signed(api: &Api<CertificateSigningRequest>, name: &str) -> Result<String, RequestError> {
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(api.clone(), own).default_backoff().boxed();
    let mut seen = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(csr) | watcher::Event::InitApply(csr)) => {
                seen = true;
                if let Some(decided) = decided(name, &csr) {
                    return decided;
                }
            }
            Ok(watcher::Event::Delete(_)) => return Err(RequestError::Gone(name.to_owned())),
            Ok(watcher::Event::InitDone) if seen => {}
            Ok(watcher::Event::InitDone) => return Err(RequestError::Gone(name.to_owned())),
            Ok(watcher::Event::Init) => seen = false,
            Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) => {
                match RequestError::from(error) {
                    RequestError::Cluster(error) => tracing::debug!(%error, name, "cannot watch; it is tried again"),
                    other => return Err(other),
                }
            }
            Err(error) => tracing::debug!(%error, name, "the watch broke; it is resumed"),
        }
    }
    Err(RequestError::Gone(name.to_owned()))
}

/// What was decided, if something was.
fn decided(name: &str, csr: &CertificateSigningRequest) -> Option<Result<String, RequestError>> {
    let status = csr.status.as_ref()?;
    for condition in status.conditions.iter().flatten() {
        let what = match condition.type_.as_str() {
            "Denied" => "denied",
            "Failed" => "not signed",
            _ => continue,
        };
        let message = condition.message.clone().or(condition.reason.clone()).unwrap_or_default();
        return Some(Err(RequestError::Refused { name: name.to_owned(), what, message }));
    }
    let certificate = status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty())?;
    let text = String::from_utf8(certificate.0.clone()).map_err(|error| RequestError::Unusable(error.to_string()));
    Some(text)
}

/// Says once what a person can do.
async fn remind(name: &str) -> std::convert::Infallible {
    tokio::time::sleep(UNDECIDED).await;
    tracing::warn!(name, "the certificate request waits: `kubectl certificate approve {name}` lets it through");
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_names_the_node_and_its_signer() {
        let key = KeyPair::generate().expect("a key");
        let client = request("n", &Wanted::Client, &key).expect("made");
        assert_eq!(client.spec.signer_name, "kubernetes.io/kube-apiserver-client-kubelet");
        assert_eq!(client.spec.usages.expect("usages"), ["digital signature", "client auth"]);
        let serving = request("n", &Wanted::Serving(vec!["10.0.0.1".into()]), &key).expect("made");
        assert_eq!(serving.spec.signer_name, "kubernetes.io/kubelet-serving");
        assert!(serving.spec.request.0.starts_with(b"-----BEGIN CERTIFICATE REQUEST"));
    }

    #[test]
    fn a_decision_is_read_from_the_status() {
        let of = |status: serde_json::Value| {
            let csr = json!({"metadata": {}, "spec": {"request": "", "signerName": "x"}, "status": status});
            decided("c", &serde_json::from_value(csr).expect("a request"))
        };
        let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "message": "because"}]});
        assert!(of(json!({})).is_none() && of(condition("Approved")).is_none(), "it is still to be signed");
        for kind in ["Denied", "Failed"] {
            let error = of(condition(kind)).expect("decided").expect_err("refused");
            assert!(error.is_final() && error.to_string().contains("because"), "{error}");
        }
        assert_eq!(of(json!({"certificate": "eA=="})).expect("decided").expect("signed"), "x");
    }
}
