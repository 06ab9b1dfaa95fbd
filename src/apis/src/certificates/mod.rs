//! Kinds of `certificates.k8s.io`.

mod certificate_signing_request;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "CertificateSigningRequest" => &certificate_signing_request::CertificateSigningRequest,
        _ => return None,
    })
}
