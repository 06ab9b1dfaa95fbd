//! The cluster's authority, and the certificates and kubeconfigs that it signs.
//!
//! Everything is in one folder, readable by its owner alone. The authority is made once; leaf certificates are made when
//! they are asked for, so that a restart renews them.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use component_base::{Clock, files};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// How long the authority is good for: longer than the hardware.
const AUTHORITY_DAYS: i64 = 3650 * 2;
/// How long a leaf is good for.
const LEAF_DAYS: i64 = 365;
/// Since when what is signed on request is good: a little before now, for clocks that differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The disk refused.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold what it should: {reason}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate cannot be made of what was asked.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A certificate is asked for something that this authority does not sign for.
    #[error("cannot sign for {0:?}: ask for client auth or server auth")]
    Usage(String),
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// The key (PKCS #8).
    pub key: String,
}

/// The cluster's authority.
pub struct ClusterCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl ClusterCa {
    /// Reads the authority from `folder`, or makes it there.
    ///
    /// # Errors
    /// When the folder cannot be used or holds something else.
    pub fn open_or_create(folder: &Path, clock: &dyn Clock) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (folder.join("ca.crt"), folder.join("ca.key"));
        make_folder(folder)?;
        if !certificate_path.exists() {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name = name("coracle-ca", &[]);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages =
                vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
            validity(&mut params, clock.now(), AUTHORITY_DAYS);
            let certificate = params.self_signed(&key)?;
            // The key first: a certificate without it would be taken for the authority.
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            write_private(&certificate_path, certificate.pem().as_bytes())?;
        }
        let certificate = read(&certificate_path)?;
        let corrupt =
            |path: &Path, error: rcgen::Error| PkiError::Corrupt { path: path.to_owned(), reason: error.to_string() };
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| corrupt(&key_path, error))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(|error| corrupt(&certificate_path, error))?;
        Ok(Self { issuer, certificate })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// A client's certificate: user `user` in `groups`.
    ///
    /// # Errors
    /// When the names cannot stand in a certificate.
    pub fn client(&self, user: &str, groups: &[&str], now: Timestamp) -> Result<Certified, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, groups);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.leaf(params, now)
    }

    /// A server's certificate for `names`: host names and addresses.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server(&self, common_name: &str, names: &[String], now: Timestamp) -> Result<Certified, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, &[]);
        for alternative in names {
            params.subject_alt_names.push(match alternative.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(alternative.as_str().try_into()?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.leaf(params, now)
    }

    /// The certificate of `name` among equals, who are each both client and server of the others.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn peer(&self, name: &str, now: Timestamp) -> Result<Certified, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = self::name(name, &[]);
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.leaf(params, now)
    }

    /// Signs a certificate signing request (PEM): its subject, names and key as they stand, for `usages` as Kubernetes names them
    /// and so many seconds, at most a year.
    ///
    /// # Errors
    /// When it is malformed, or a usage is not one of clients and servers.
    pub fn sign_request(
        &self,
        request: &str,
        usages: &[String],
        seconds: Option<i64>,
        now: Timestamp,
    ) -> Result<String, PkiError> {
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        let params = &mut request.params;
        validity(params, now, LEAF_DAYS);
        // To the second, and not to the day: who renews at a part of its life looks at both ends.
        let moment = |second: i64| {
            let second = u64::try_from(second).unwrap_or_default();
            rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(second)
        };
        params.not_before = moment(now.as_second().saturating_sub(BACKDATE.as_secs()));
        if let Some(seconds) = seconds {
            params.not_after = params.not_after.min(moment(now.as_second().saturating_add(seconds)));
        }
        params.is_ca = IsCa::NoCa;
        (params.key_usages, params.extended_key_usages) = (Vec::new(), Vec::new());
        for usage in usages {
            match usage.as_str() {
                "digital signature" | "signing" => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
                "key encipherment" => params.key_usages.push(KeyUsagePurpose::KeyEncipherment),
                "client auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth),
                "server auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
                other => return Err(PkiError::Usage(other.to_owned())),
            }
        }
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    fn leaf(&self, mut params: CertificateParams, now: Timestamp) -> Result<Certified, PkiError> {
        validity(&mut params, now, LEAF_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certified { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn name(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// The organizations (groups) that a certificate signing request (base64 of PEM, as objects carry it, or PEM) asks for; none of
/// what is no request.
pub fn request_organizations(request: &str) -> Vec<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};
    let decoded = STANDARD.decode(request).unwrap_or_else(|_| request.as_bytes().to_vec());
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&decoded) else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&pem.contents) else { return Vec::new() };
    let organizations = request.certification_request_info.subject.iter_organization();
    organizations.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect()
}

/// From a little before now, for clocks that differ.
fn validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let at = |hours: i64| {
        let moment = now.checked_add(SignedDuration::from_hours(hours)).unwrap_or(now);
        let date = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(
            i32::from(date.year()),
            u8::try_from(date.month()).unwrap_or(1),
            u8::try_from(date.day()).unwrap_or(1),
        )
    };
    params.not_before = at(-24);
    params.not_after = at(days * 24);
}

/// A kubeconfig, YAML.
pub fn kubeconfig(server: &str, authority: &str, user: &str, client: &Certified) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let encode = |pem: &str| STANDARD.encode(pem);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: coracle\n  cluster:\n    certificate-authority-data: {}\n    \
         server: {server}\ncontexts:\n- name: coracle\n  context:\n    cluster: coracle\n    user: {user}\n\
         current-context: coracle\npreferences: {{}}\nusers:\n- name: {user}\n  user:\n    \
         client-certificate-data: {}\n    client-key-data: {}\n",
        encode(authority),
        encode(&client.certificate),
        encode(&client.key),
    )
}

fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// When the disk refuses.
pub fn make_folder(folder: &Path) -> Result<(), PkiError> {
    files::make_private_folder(folder).map_err(|source| PkiError::File { path: folder.to_owned(), source })
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// When the disk refuses.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    files::write_private(path, bytes).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use component_base::SystemClock;

    use super::*;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = ClusterCa::open_or_create(folder.path(), &SystemClock).expect("made");
        let again = ClusterCa::open_or_create(folder.path(), &SystemClock).expect("read");
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        let mode = fs::metadata(folder.path().join("ca.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_request_is_signed_for_what_was_asked_and_no_longer() {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = ClusterCa::open_or_create(folder.path(), &SystemClock).expect("made");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = name("system:node:n", &["system:nodes"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let request = params.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a moment");
        let usages = |usages: &[&str]| usages.iter().map(|usage| (*usage).to_owned()).collect::<Vec<_>>();
        let signed = ca.sign_request(&request, &usages(&["digital signature", "client auth"]), Some(600), now);
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(signed.expect("signed").as_bytes()).map(|it| ((), it.1)).expect("PEM");
        let certificate = pem.parse_x509().expect("a certificate");
        assert_eq!(certificate.validity().not_before.timestamp(), now.as_second() - 300);
        assert_eq!(certificate.validity().not_after.timestamp(), now.as_second() + 600);
        assert!(!certificate.is_ca());
        let extended = certificate.extended_key_usage().expect("readable").expect("there").value;
        assert!(extended.client_auth && !extended.server_auth);
        assert!(matches!(ca.sign_request(&request, &usages(&["cert sign"]), None, now), Err(PkiError::Usage(_))));
    }

    #[test]
    fn a_broken_authority_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        ClusterCa::open_or_create(folder.path(), &SystemClock).expect("made");
        fs::write(folder.path().join("ca.key"), "nonsense").expect("written");
        let error = ClusterCa::open_or_create(folder.path(), &SystemClock).err().expect("refused");
        assert!(error.to_string().contains("ca.key"), "{error}");
    }
}
