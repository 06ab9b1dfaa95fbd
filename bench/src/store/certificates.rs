//! An authority, and what it signed: both servers and the client show the same kind.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::error::BenchError;

/// All PEM.
pub struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Other(format!("certificates: {error}"))
}

impl Certificates {
    /// New ones. One certificate serves the server and the client.
    pub fn new() -> Result<Self, BenchError> {
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        let authority = params.self_signed(&key).map_err(failed)?.pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().map_err(failed)?;
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        Ok(Self { authority, certificate, key: key.serialize_pem() })
    }

    /// Writes them where the servers read them.
    pub fn write(&self, folder: &Path) -> Result<(), BenchError> {
        for (name, text) in [("ca", &self.authority), ("cert", &self.certificate), ("key", &self.key)] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(BenchError::file(&path))?;
        }
        Ok(())
    }

    /// How the client shows them.
    pub fn client(&self) -> Result<ClientConfig, BenchError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).map_err(failed)?).map_err(failed)?;
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(failed)?];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(failed)?;
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = builder.with_client_auth_cert(chain, key).map_err(failed)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
