//! Who may connect.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::TlsFiles;

/// Why the server has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM.
    #[error("read {what} of the kubelet: {source}")]
    Pem {
        /// Which file.
        what: &'static str,
        /// What is wrong.
        source: std::io::Error,
    },
    /// There is no key.
    #[error("the kubelet's key file holds no key")]
    NoKey,
    /// Certificates or keys do not fit.
    #[error("the kubelet's certificates cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authority cannot be used.
    #[error("the kubelet's client authority cannot be used: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// Accepts connections whose client has a certificate of the cluster's authority; others may ask only whether the
/// kubelet is healthy.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the client authority", &files.client_ca)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(files.certificate.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(what: &'static str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    rustls_pemfile::certs(&mut &*bytes).collect::<Result<_, _>>().map_err(|source| TlsError::Pem { what, source })
}

/// What a kubelet serves with. Until there is something, connections are refused; a new one counts from the next
/// connection on.
#[derive(Debug, Default)]
pub struct ServingCertificate(ArcSwapOption<CertifiedKey>);

impl ServingCertificate {
    /// Serves with a certificate (and its chain) and its key from now on, both PEM.
    ///
    /// # Errors
    /// When they cannot be used; what was there before stays.
    pub fn set(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let pem = |source| TlsError::Pem { what: "the key", source };
        let key: PrivateKeyDer<'static> =
            rustls_pemfile::private_key(&mut &*key).map_err(pem)?.ok_or(TlsError::NoKey)?;
        let certified =
            CertifiedKey::from_der(certificates("the certificate", certificate)?, key, &ring::default_provider())?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user's name: the certificate's common name; empty without a certificate.
    pub name: String,
    /// The user's groups: the certificate's organisations.
    pub groups: Vec<String>,
}

impl Caller {
    /// Administrators and the API server's own client.
    pub fn is_trusted(&self) -> bool {
        self.name == "kube-apiserver-kubelet-client" || self.groups.iter().any(|group| group == "system:masters")
    }
}

/// Who is at the other end of a connection; its certificate was verified by the handshake.
pub(super) fn caller(stream: &TlsStream<TcpStream>) -> Caller {
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    certificate.and_then(|certificate| named(certificate)).unwrap_or_default()
}

fn named(certificate: &CertificateDer<'_>) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let name = subject.iter_common_name().filter_map(text).next().unwrap_or_default();
    Some(Caller { name, groups: subject.iter_organization().filter_map(text).collect() })
}
