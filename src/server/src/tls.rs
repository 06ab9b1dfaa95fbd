//! How a server identifies itself to kubelets and to other servers.

use std::sync::Arc;

use auth::pki::Certified;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What the authority made is no PEM.
    #[error("certificate: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Certificate and key do not go together.
    #[error("certificate: {0}")]
    Certificate(#[from] rustls::Error),
    /// What a door serves with.
    #[error(transparent)]
    Serving(#[from] component_base::tls::ServingError),
}

/// The first certificate of a PEM text, DER.
pub fn der(pem: &str) -> Result<Vec<u8>, TlsError> {
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

/// A client that shows `client`, believes `authority` (PEM) and speaks these protocols (ALPN).
pub fn client(client: &Certified, authority: &str, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let chain = vec![CertificateDer::from_pem_slice(client.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}
