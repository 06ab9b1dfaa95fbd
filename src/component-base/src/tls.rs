//! TLS to servers whose authority is not known beforehand: nobody vouches for them, or the hash of the authority does.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};

/// Takes any certificate: for what a pod serves, of which Kubernetes' probes and proxy ask no more. Signatures are checked,
/// so that the other end at least has the key of what it shows.
pub fn unverified() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The chain that a server shows has no certificate with the hash that was given beforehand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authority has the hash {wanted}, and what is shown has {shown}")]
pub struct WrongAuthority {
    /// The hash of the authority that was expected, hex.
    pub wanted: String,
    /// The hash of the last certificate that was shown, hex.
    pub shown: String,
}

/// The authority that a [`pinned`] configuration met.
#[derive(Debug)]
pub struct Pinned {
    hash: [u8; 32],
    met: OnceLock<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// Its certificate, after a handshake that went well.
    pub fn authority(&self) -> Option<&CertificateDer<'static>> {
        self.met.get()
    }
}

/// Takes a server whose chain holds an authority with this SHA-256, and is in order below it. A server that does not send
/// its root cannot be taken.
pub fn pinned(hash: [u8; 32]) -> (ClientConfig, Arc<Pinned>) {
    let provider = Arc::new(ring::default_provider());
    let pinned = Arc::new(Pinned { hash, met: OnceLock::new(), provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    (config, pinned)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let hash = |certificate: &CertificateDer<'_>| <[u8; 32]>::from(Sha256::digest(certificate));
        let Some(authority) = intermediates.iter().find(|certificate| hash(certificate) == self.hash) else {
            let shown = hex::encode(hash(intermediates.last().unwrap_or(end_entity)));
            let wrong = WrongAuthority { wanted: hex::encode(self.hash), shown };
            return Err(CertificateError::Other(OtherError(Arc::new(wrong))).into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let below = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified = below.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.met.get_or_init(|| authority.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        AnyCertificate(self.provider.clone()).verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        AnyCertificate(self.provider.clone()).verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
