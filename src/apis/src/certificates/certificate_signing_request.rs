//! CertificateSigningRequests.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    checks,
    conditions::STATES,
    json::{field, has, int, keep, list, text},
    kind::Kind,
    metadata,
};

const SECONDS_MIN: i64 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub(crate) struct CertificateSigningRequest;

impl Kind for CertificateSigningRequest {
    fn has_status(&self) -> bool {
        true
    }

    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn prepare_for_update(&self, subresource: Option<&str>, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        match subresource {
            // Who reports the certificate does not decide whether there is to be one, and the other way about.
            Some("status") => keep_decisions(new, old),
            Some("approval") => keep_certificate(new, old),
            _ => {}
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        if let Some(why) = not_a_request(text(spec, "request")) {
            errors.push(FieldError::invalid(&path.child("request"), field(spec, "request").clone(), why));
        }
        check_usages(list(spec, "usages"), &path.child("usages"), errors);
        let (at, signer) = (path.child("signerName"), text(spec, "signerName"));
        if signer == "kubernetes.io/legacy-unknown" {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.push(FieldError::invalid(&at, signer, detail));
        } else {
            check_signer(signer, &at, errors);
        }
        if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < SECONDS_MIN) {
            let detail = format!("may not specify a duration less than {SECONDS_MIN} seconds (10 minutes)");
            errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource.is_none() {
            return;
        }
        let (path, status, before) = (Path::new("status"), field(new, "status"), field(old, "status"));
        check_conditions(list(status, "conditions"), &path.child("conditions"), errors);
        if !text(before, "certificate").is_empty() && text(status, "certificate") != text(before, "certificate") {
            let detail = "updates may not set certificate content to a new value";
            errors.push(FieldError::forbidden(&path.child("certificate"), detail));
        }
    }
}

fn is_decision(condition: &Value) -> bool {
    matches!(text(condition, "type"), "Approved" | "Denied")
}

fn keep_decisions(new: &mut Value, old: &Value) {
    let decided: Vec<Value> =
        list(field(old, "status"), "conditions").iter().filter(|one| is_decision(one)).cloned().collect();
    let Some(status) = new.get_mut("status").filter(|status| status.is_object()) else { return };
    let mut conditions: Vec<Value> =
        list(status, "conditions").iter().filter(|one| !is_decision(one)).cloned().collect();
    conditions.splice(0..0, decided);
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
}

fn keep_certificate(new: &mut Value, old: &Value) {
    if let Some(status) = new.get_mut("status") {
        keep(status, field(old, "status"), "certificate");
    }
}

/// Why bytes are no request for a certificate.
fn not_a_request(encoded: &str) -> Option<&'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    (!text.lines().any(|line| line.trim() == BEGIN)).then_some("PEM block type must be CERTIFICATE REQUEST")
}

fn check_usages(usages: &[Value], path: &Path, errors: &mut ErrorList) {
    if usages.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let mut seen = HashSet::new();
    for (index, usage) in usages.iter().enumerate() {
        let usage = usage.as_str().unwrap_or_default();
        checks::one_of(errors, &path.index(index), usage, USAGES);
        if !seen.insert(usage) {
            errors.push(FieldError::duplicate(&path.index(index), usage));
        }
    }
}

/// Who signs is named by a domain and a path: `example.com/signer`.
fn check_signer(signer: &str, path: &Path, errors: &mut ErrorList) {
    if !checks::required(errors, path, signer) {
        return;
    }
    let parts: Vec<&str> = signer.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, signer, detail));
        return;
    };
    if domain.len() > names::SUBDOMAIN_MAX {
        errors.push(FieldError::too_long(path, names::SUBDOMAIN_MAX));
    }
    let labels: Vec<&str> = domain.split('.').collect();
    if labels.len() < 2 {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, *domain, detail));
    }
    let mut say = |whole: &str, label: &str, problems: Vec<String>| {
        for problem in problems {
            errors.push(FieldError::invalid(path, whole, format!("validating label {label:?}: {problem}")));
        }
    };
    for label in labels {
        say(domain, label, names::is_dns1123_label(label));
    }
    for label in rest.split('.') {
        say(rest, label, names::is_dns1123_subdomain(label));
    }
    let longest = names::SUBDOMAIN_MAX + names::LABEL_MAX + 1;
    if rest.len() > longest {
        errors.push(FieldError::too_long(path, longest));
    }
}

fn check_conditions(conditions: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let (kind, state) = (text(condition, "type"), text(condition, "status"));
        checks::required(errors, &path.child("type"), kind);
        checks::required_one_of(errors, &path.child("status"), state, STATES);
        if matches!(kind, "Approved" | "Denied" | "Failed") && STATES.contains(&state) && state != "True" {
            errors.push(FieldError::not_supported(&path.child("status"), state, &["True"]));
        }
        if has(condition, "type") && !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
    }
    if seen.contains("Approved") && seen.contains("Denied") {
        let detail = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid(path, "Denied", detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(signer: &str, usages: &[&str]) -> Value {
        let pem = STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n");
        json!({"metadata": {"name": "c"}, "spec": {"request": pem, "signerName": signer, "usages": usages}})
    }

    #[test]
    fn a_request_names_who_signs_and_what_for() {
        let count =
            |object: &Value| crate::validate_create("certificates.k8s.io", "CertificateSigningRequest", object).len();
        assert_eq!(count(&request("kubernetes.io/kubelet-serving", &["server auth"])), 0);
        assert_eq!(count(&request("x", &["server auth"])), 1);
        assert_eq!(count(&request("a/b", &["server auth"])), 1);
        assert_eq!(count(&request("kubernetes.io/x", &["x", "signing", "signing"])), 2);
        assert_eq!(count(&request("kubernetes.io/x", &[])), 1);
    }

    #[test]
    fn who_reports_does_not_decide() {
        let old = json!({"metadata": {"name": "c"}, "spec": {}, "status": {"conditions": [{"type": "Approved", "status": "True"}]}});
        let mut new = old.clone();
        new["status"] = json!({"conditions": [{"type": "Denied", "status": "True"}], "certificate": "YQ=="});
        crate::prepare_for_update("certificates.k8s.io", "CertificateSigningRequest", Some("status"), &mut new, &old);
        assert_eq!(
            new["status"],
            json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "YQ=="})
        );
    }
}
