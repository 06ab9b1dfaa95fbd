//! TLS: for servers, and to servers whose authority is not known beforehand, since nobody vouches for them or only the hash
//! of the authority does.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};
use sha2::{Digest, Sha256};

/// Certificates or a key with which nobody can serve.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// One that is no PEM.
    #[error("the {what} is not valid PEM: {source}")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates and keys that do not go together.
    #[error("the serving certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// An authority for clients that cannot be used.
    #[error("the client authority cannot be used: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// Whether a client may come in that shows no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// It proves itself otherwise, or is nobody.
    Enter,
    /// Only who shows a certificate of the authority comes in.
    StayOut,
}

/// How a server identifies itself, whose client certificates it believes, and which protocols it speaks (ALPN). The first
/// three are PEM; certificates may be a chain, and authorities several.
///
/// # Errors
/// When one of the three cannot be used.
pub fn server_config(
    certificates: &str,
    key: &str,
    client_authority: &str,
    strangers: Strangers,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, ServingError> {
    let pem = |what: &'static str| move |source| ServingError::Pem { what, source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(pem("serving certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("serving key"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(client_authority.as_bytes()) {
        roots.add(certificate.map_err(pem("client authority"))?)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match strangers {
        Strangers::Enter => verifier.allow_unauthenticated(),
        Strangers::StayOut => verifier,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

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

impl WrongAuthority {
    /// What a handshake failed of, if it was that.
    pub fn of(error: &io::Error) -> Option<&Self> {
        let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(CertificateError::Other(reason)) = tls else { return None };
        reason.0.downcast_ref()
    }
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
