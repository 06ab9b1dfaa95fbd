//! A certificate with its key, in one file: neither is ever there without the other.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::*};

use crate::files::{self, FileError};

/// A certificate and its key, one PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pem: String,
    begins: Timestamp,
    ends: Timestamp,
    hosts: BTreeSet<String>,
}

impl Pair {
    /// Of a certificate (and its chain) and a key, both PEM.
    ///
    /// # Errors
    /// Why the certificate cannot be read.
    pub fn new(certificate: &str, key: &str) -> Result<Self, String> {
        Self::parse(format!("{}\n{}", certificate.trim_end(), key.trim_start()))
    }

    fn parse(pem: String) -> Result<Self, String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let moment = |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string());
        let (begins, ends) = (moment(certificate.validity().not_before)?, moment(certificate.validity().not_after)?);
        let names = certificate.subject_alternative_name().ok().flatten();
        let hosts = names.into_iter().flat_map(|names| &names.value.general_names).filter_map(host).collect();
        Ok(Self { pem, begins, ends, hosts })
    }

    /// What a file holds; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let corrupt = |reason| FileError::Corrupt { path: path.to_owned(), reason };
        files::read(path)?.map(|text| Self::parse(text).map_err(corrupt)).transpose()
    }

    /// Keeps it in a file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        files::write(path, self.pem.as_bytes())
    }

    /// Both, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Until when it is good.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// The names and addresses that it is for.
    pub fn hosts(&self) -> &BTreeSet<String> {
        &self.hosts
    }

    /// When to ask for another: at two thirds of its life, a twentieth of it earlier or later as `chance` (0 to 1) has it, so
    /// that nodes that were made together do not ask together.
    pub fn renew_at(&self, chance: f64) -> Timestamp {
        let life = self.ends.duration_since(self.begins);
        let part = 2.0 / 3.0 + (chance.clamp(0.0, 1.0) - 0.5) / 10.0;
        self.begins.checked_add(life.mul_f64(part)).unwrap_or(self.ends)
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_knows_its_names_and_is_renewed_at_two_thirds_of_its_life() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["n".to_owned(), "10.0.0.1".to_owned()]).expect("names");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        let certificate = params.self_signed(&key).expect("signed");
        let pair = Pair::new(&certificate.pem(), &key.serialize_pem()).expect("a pair");
        assert_eq!(pair.hosts().iter().map(String::as_str).collect::<Vec<_>>(), ["10.0.0.1", "n"]);
        for (chance, wanted) in [(0.5, "2026-01-21T"), (0.0, "2026-01-19T12"), (1.0, "2026-01-22T12")] {
            assert!(pair.renew_at(chance).to_string().starts_with(wanted), "{}", pair.renew_at(chance));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.pem");
        pair.write(&path).expect("written");
        assert!(Pair::read(&path).expect("read") == Some(pair));
        std::fs::write(&path, "nonsense").expect("written");
        assert!(Pair::read(&path).err().expect("refused").to_string().contains("x.pem"));
    }
}
