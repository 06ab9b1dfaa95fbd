//! What becomes of a certificate signing request: whether it is approved by itself, may be signed, and when it goes.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// How long a request is kept when nobody decides, and after it was decided.
const PENDING: SignedDuration = SignedDuration::from_hours(24);
const DECIDED: SignedDuration = SignedDuration::from_hours(1);

/// Whom a request is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The common name.
    pub common_name: String,
    /// The organizations.
    pub organizations: Vec<String>,
    /// How many alternative names of each sort it has: DNS, IP, email, URI.
    pub names: [usize; 4],
    /// Its DNS names and addresses, as texts.
    pub hosts: Vec<String>,
}

/// Reads a request (PEM).
///
/// # Errors
/// When it is none.
pub fn subject(request: &[u8]) -> Result<Subject, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(request)
        .map_err(|error| format!("PEM block type must be CERTIFICATE REQUEST: {error}"))?;
    let parsed = X509CertificationRequest::from_der(&pem.contents)
        .map_err(|error| format!("malformed certificate request: {error}"))?;
    let info = &parsed.1.certification_request_info;
    let texts = |mut attributes: Box<dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>> + '_>| {
        let mut texts = Vec::new();
        for attribute in attributes.by_ref() {
            texts.extend(attribute.as_str().ok().map(str::to_owned));
        }
        texts
    };
    let mut subject = Subject {
        common_name: texts(Box::new(info.subject.iter_common_name())).pop().unwrap_or_default(),
        organizations: texts(Box::new(info.subject.iter_organization())),
        ..Subject::default()
    };
    for extension in parsed.1.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => {
                        subject.names[0] += 1;
                        subject.hosts.push((*name).to_owned());
                    }
                    GeneralName::IPAddress(bytes) => {
                        subject.names[1] += 1;
                        let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                        let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                        subject.hosts.push(address.map_or_else(|_| "?".to_owned(), |address| address.to_string()));
                    }
                    GeneralName::RFC822Name(_) => subject.names[2] += 1,
                    GeneralName::URI(_) => subject.names[3] += 1,
                    _ => {}
                }
            }
        }
    }
    Ok(subject)
}

/// A condition of a request.
pub fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(csr).iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// Whether it has been signed.
pub fn is_issued(csr: &CertificateSigningRequest) -> bool {
    csr.status
        .as_ref()
        .and_then(|status| status.certificate.as_ref())
        .is_some_and(|certificate| !certificate.0.is_empty())
}

/// Permissions of which one lets a kubelet's request through by itself, with what is said then; the first that is granted counts.
pub fn permissions(csr: &CertificateSigningRequest, subject: &Subject) -> Vec<(&'static str, &'static str)> {
    let own = csr.spec.username.as_deref() == Some(&subject.common_name);
    if csr.spec.signer_name != KUBELET_CLIENT || check(csr, subject).is_err() {
        return Vec::new();
    }
    let itself = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
    let any = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    if own { vec![itself, any] } else { vec![any] }
}

/// The node that a request is for.
pub fn node_of(subject: &Subject) -> Option<&str> {
    subject.common_name.strip_prefix(NODE)
}

/// Whether this cluster signs for the name that the request says.
pub fn is_ours(csr: &CertificateSigningRequest) -> bool {
    matches!(csr.spec.signer_name.as_str(), KUBELET_CLIENT | KUBELET_SERVING | CLIENT)
}

/// Whether a request is one that its signer signs.
///
/// # Errors
/// Why it is not.
pub fn check(csr: &CertificateSigningRequest, subject: &Subject) -> Result<(), String> {
    let usages: Vec<&str> = csr.spec.usages.iter().flatten().map(String::as_str).collect();
    let exactly = |wanted: &str| {
        let allowed = ["digital signature", "key encipherment", wanted];
        let complete = usages.contains(&"digital signature") && usages.contains(&wanted);
        if complete && usages.iter().all(|usage| allowed.contains(usage)) {
            Ok(())
        } else {
            Err(format!("usages did not match [{}]", allowed.join(" ")))
        }
    };
    let [dns, ips, emails, uris] = subject.names;
    let node = || {
        if subject.organizations != [NODES] {
            return Err("subject organization is not system:nodes".to_owned());
        }
        if !subject.common_name.starts_with(NODE) {
            return Err("subject common name does not begin with system:node: ".to_owned());
        }
        Ok(())
    };
    let none = |count: usize, what: &str| {
        if count == 0 { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
    };
    match csr.spec.signer_name.as_str() {
        CLIENT => {
            let optional = ["digital signature", "key encipherment", "client auth"];
            if usages.contains(&"client auth") && usages.iter().all(|usage| optional.contains(usage)) {
                Ok(())
            } else {
                Err(format!("invalid usages for client certificate: [{}]", usages.join(" ")))
            }
        }
        KUBELET_CLIENT => {
            node()?;
            none(dns, "DNS")?;
            none(emails, "email")?;
            none(ips, "IP")?;
            none(uris, "URI")?;
            exactly("client auth")
        }
        KUBELET_SERVING => {
            node()?;
            if dns + ips == 0 {
                return Err("DNS or IP subjectAltName is required".to_owned());
            }
            none(emails, "email")?;
            none(uris, "URI")?;
            exactly("server auth")
        }
        other => Err(format!("no such signer: {other}")),
    }
}

/// When a request goes; `None` when that is not known yet.
pub fn expiry(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    if conditions(csr).is_empty() {
        return csr.metadata.creation_timestamp.as_ref()?.0.checked_add(PENDING).ok();
    }
    let decided = conditions(csr).iter().filter(|condition| match condition.type_.as_str() {
        "Approved" => is_issued(csr),
        "Denied" | "Failed" => true,
        _ => false,
    });
    let times = decided.filter_map(|condition| condition.last_update_time.as_ref()?.0.checked_add(DECIDED).ok());
    times.min()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn csr(signer: &str, usages: &[&str], status: Value) -> CertificateSigningRequest {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"signerName": signer, "usages": usages, "request": "", "username": "system:node:n"}, "status": status,
        }))
        .expect("a request")
    }

    fn node(names: [usize; 4]) -> Subject {
        Subject {
            common_name: "system:node:n".into(),
            organizations: vec!["system:nodes".into()],
            names,
            hosts: Vec::new(),
        }
    }

    #[test]
    fn each_signer_signs_its_own_sort() {
        let client = ["digital signature", "client auth"];
        let serving = ["digital signature", "key encipherment", "server auth"];
        let cases: [(&str, &[&str], Subject, Option<&str>); 7] = [
            (KUBELET_CLIENT, &client, node([0; 4]), None),
            (KUBELET_CLIENT, &client, node([1, 0, 0, 0]), Some("DNS subjectAltNames are not allowed")),
            (KUBELET_CLIENT, &client, Subject::default(), Some("subject organization is not system:nodes")),
            (
                KUBELET_CLIENT,
                &serving,
                node([0; 4]),
                Some("usages did not match [digital signature key encipherment client auth]"),
            ),
            (KUBELET_SERVING, &serving, node([1, 1, 0, 0]), None),
            (KUBELET_SERVING, &serving, node([0; 4]), Some("DNS or IP subjectAltName is required")),
            (
                CLIENT,
                &serving,
                Subject::default(),
                Some("invalid usages for client certificate: [digital signature key encipherment server auth]"),
            ),
        ];
        for (signer, usages, subject, error) in cases {
            assert_eq!(check(&csr(signer, usages, json!({})), &subject).err().as_deref(), error, "{signer}");
        }
    }

    #[test]
    fn a_node_may_ask_for_itself() {
        let asked = csr(KUBELET_CLIENT, &["digital signature", "client auth"], json!({}));
        let ways: Vec<_> = permissions(&asked, &node([0; 4])).iter().map(|(permission, _)| *permission).collect();
        assert_eq!(ways, ["selfnodeclient", "nodeclient"]);
        let other = Subject { common_name: "system:node:m".into(), ..node([0; 4]) };
        assert_eq!(permissions(&asked, &other).len(), 1);
        assert!(permissions(&csr(CLIENT, &["client auth"], json!({})), &node([0; 4])).is_empty());
    }

    #[test]
    fn requests_go_when_they_are_decided_or_nobody_cares() {
        let decided = |kind: &str, certificate: &str| {
            let condition = json!({"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T05:00:00Z"});
            expiry(&csr(CLIENT, &[], json!({"conditions": [condition], "certificate": certificate})))
                .map(|at| at.to_string())
        };
        assert_eq!(
            expiry(&csr(CLIENT, &[], json!({}))).map(|at| at.to_string()).as_deref(),
            Some("2026-01-02T00:00:00Z")
        );
        assert_eq!(decided("Denied", "").as_deref(), Some("2026-01-01T06:00:00Z"));
        assert_eq!(decided("Approved", "eA==").as_deref(), Some("2026-01-01T06:00:00Z"));
        assert_eq!(decided("Approved", ""), None, "it is to be signed");
    }
}
