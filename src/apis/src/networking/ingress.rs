//! Ingresses.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use crate::{
    checks,
    core::service::validate::load_balancer_status,
    ip,
    json::{field, has, int, list, some, text},
    kind::Kind,
    metadata,
};

const CLASS: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

pub(crate) struct Ingress;

impl Kind for Ingress {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"loadBalancer": {}})
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
        let spec = field(object, "spec");
        if let (Some(annotation), Some(class)) = (meta::annotation(object, CLASS), some(spec, "ingressClassName"))
            && class != annotation
        {
            let path = Path::new("annotations").child(CLASS);
            errors.push(FieldError::invalid(
                &path,
                annotation,
                "must match `ingressClassName` when both are specified",
            ));
        }
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
        if subresource != Some("status") {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            let of = |object| field(field(object, "status"), "loadBalancer");
            load_balancer_status(of(new), of(old), None, &Path::new("status").child("loadBalancer"), errors);
        } else {
            validate(new, errors);
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        if old.is_none() && meta::annotation(object, CLASS).is_some() && !has(field(object, "spec"), "ingressClassName")
        {
            warnings.push(format!(
                "annotation {} is deprecated, please use 'spec.ingressClassName' instead",
                quoted(CLASS)
            ));
        }
    }
}

fn quoted(text: &str) -> String {
    apimachinery::gotext::quote(text)
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let rules = list(spec, "rules");
    if rules.is_empty() && !has(spec, "defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, field(spec, "rules").clone(), detail));
    }
    if has(spec, "defaultBackend") {
        check_backend(field(spec, "defaultBackend"), &path.child("defaultBackend"), errors);
    }
    for (index, rule) in rules.iter().enumerate() {
        check_rule(rule, &path.child("rules").index(index), errors);
    }
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, host) in list(tls, "hosts").iter().enumerate() {
            check_host(host.as_str().unwrap_or_default(), &path.child("hosts").index(index), errors);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            checks::dns_subdomain(errors, &path.child("secretName"), secret);
        }
    }
    if has(spec, "ingressClassName") {
        checks::dns_subdomain(errors, &path.child("ingressClassName"), text(spec, "ingressClassName"));
    }
}

fn check_host(host: &str, path: &Path, errors: &mut ErrorList) {
    let problems =
        if host.contains('*') { names::is_wildcard_dns1123_subdomain(host) } else { names::is_dns1123_subdomain(host) };
    checks::invalid(errors, path, host, problems);
}

fn check_rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let host = text(rule, "host");
    if !host.is_empty() {
        let path = path.child("host");
        if ip::parse(host).is_some() {
            errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
        }
        check_host(host, &path, errors);
    }
    if has(rule, "http") {
        let path = path.child("http").child("paths");
        let paths = list(field(rule, "http"), "paths");
        if paths.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        for (index, one) in paths.iter().enumerate() {
            check_path(one, &path.index(index), errors);
        }
    }
}

fn check_path(one: &Value, path: &Path, errors: &mut ErrorList) {
    let (given, at) = (text(one, "path"), path.child("path"));
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(&at, given, detail));
    if !has(one, "pathType") {
        errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
    } else {
        match text(one, "pathType") {
            "Exact" | "Prefix" => {
                if !given.starts_with('/') {
                    refuse("must be an absolute path");
                }
                for part in ["//", "/./", "/../", "%2f", "%2F"] {
                    if given.contains(part) {
                        refuse(&format!("must not contain '{part}'"));
                    }
                }
                for end in ["/..", "/."] {
                    if given.ends_with(end) {
                        refuse(&format!("cannot end with '{end}'"));
                    }
                }
            }
            "ImplementationSpecific" => {
                if !given.is_empty() && !given.starts_with('/') {
                    refuse("must be an absolute path");
                }
            }
            other => errors.push(FieldError::not_supported(&path.child("pathType"), other, PATH_TYPES)),
        }
    }
    check_backend(field(one, "backend"), &path.child("backend"), errors);
}

fn check_backend(backend: &Value, path: &Path, errors: &mut ErrorList) {
    match (has(backend, "resource"), has(backend, "service")) {
        (true, true) => errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends")),
        (true, false) => check_reference(field(backend, "resource"), &path.child("resource"), errors),
        (false, true) => check_service(field(backend, "service"), path, errors),
        (false, false) => errors.push(FieldError::invalid(path, "", "resource or service backend is required")),
    }
}

fn check_service(service: &Value, backend: &Path, errors: &mut ErrorList) {
    let path = backend.child("service");
    let name = text(service, "name");
    if checks::required(errors, &path.child("name"), name) {
        checks::dns_label(errors, &path.child("name"), name);
    }
    let (path, port) = (path.child("port"), field(service, "port"));
    let (name, number) = (text(port, "name"), int(port, "number").unwrap_or_default());
    match (name, number) {
        ("", 0) => errors.push(FieldError::required(backend, "port name or number is required")),
        ("", number) => checks::port_number(errors, &path.child("number"), number),
        (name, 0) => checks::invalid(errors, &path.child("name"), name, names::is_valid_port_name(name)),
        _ => errors.push(FieldError::invalid(backend, "", "cannot set both port name & port number")),
    }
}

/// A reference to an object of any kind.
pub(crate) fn check_reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    if has(reference, "apiGroup") {
        checks::dns_subdomain(errors, &path.child("apiGroup"), text(reference, "apiGroup"));
    }
    for name in ["kind", "name"] {
        let (path, value) = (path.child(name), text(reference, name));
        if checks::required(errors, &path, value) {
            checks::invalid(errors, &path, value, names::is_path_segment_name(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: Value) -> Vec<String> {
        let object = json!({"metadata": {"name": "i"}, "spec": spec});
        let errors = crate::validate_create("networking.k8s.io", "Ingress", &object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_path_leads_to_one_backend() {
        let path = |path: &str, kind: &str, backend: Value| {
            said(
                json!({"rules": [{"host": "*.a.example", "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}]}),
            )
        };
        let service = json!({"service": {"name": "s", "port": {"number": 80}}});
        assert!(path("/a", "Prefix", service.clone()).is_empty());
        assert!(path("", "ImplementationSpecific", service.clone()).is_empty());
        assert_eq!(path("/a//b/..", "Exact", service.clone()).len(), 2);
        assert_eq!(path("/", "x", service).len(), 1);
        assert_eq!(path("/", "Exact", json!({})), ["spec.rules[0].http.paths[0].backend: Invalid value"]);
        assert_eq!(path("/", "Exact", json!({"resource": {"kind": "K"}})).len(), 1);
        assert_eq!(said(json!({})), ["spec: Invalid value"]);
    }
}
