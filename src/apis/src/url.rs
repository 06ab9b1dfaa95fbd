//! How kube-apiserver calls out: by URL, or to a Service.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    json::{has, int, text},
};

const FORM: &str = "; desired format: https://host[/path]";

/// A URL that is called over TLS.
pub(crate) fn check(url: &str, path: &Path, errors: &mut ErrorList) {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        Some((scheme, _)) if !scheme.contains('/') => {
            let why = if scheme.is_empty() {
                "missing protocol scheme"
            } else {
                "first path segment in URL cannot contain colon"
            };
            let detail = format!("url must be a valid URL: parse {url:?}: {why}{FORM}");
            errors.push(FieldError::required(path, detail));
            return;
        }
        _ => ("", rest),
    };
    let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let mut refuse = |value: &str, detail: &str| errors.push(FieldError::invalid(path, value, detail));
    if scheme != "https" {
        refuse(scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        refuse(host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        refuse(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        refuse(query, "query parameters are not permitted in the URL");
    }
}

/// A Service that is called, by name, namespace, path and port.
pub(crate) fn check_service(service: &Value, path: &Path, errors: &mut ErrorList) {
    // Kubernetes takes the one for the other when it says which of the two is missing.
    for (name, told) in [("namespace", "name"), ("name", "namespace")] {
        checks::required(errors, &path.child(told), text(service, name));
    }
    let port = int(service, "port").unwrap_or_default();
    let problems = names::is_valid_port_number(port);
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    if has(service, "path") {
        check_path(text(service, "path"), &path.child("path"), errors);
    }
}

fn check_path(given: &str, path: &Path, errors: &mut ErrorList) {
    if matches!(given, "" | "/") {
        return;
    }
    let mut refuse = |value: &str, detail: String| errors.push(FieldError::invalid(path, value, detail));
    if given == "//" {
        refuse(given, "segment[0] may not be empty".into());
        return;
    }
    if !given.starts_with('/') {
        refuse(given, "must start with a '/'".into());
    }
    let trimmed = given.get(1..).unwrap_or_default();
    let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
    for (index, segment) in trimmed.split('/').enumerate() {
        if segment.is_empty() {
            refuse(given, format!("segment[{index}] may not be empty"));
            continue;
        }
        for problem in names::is_dns1123_subdomain(segment) {
            refuse(given, format!("segment[{index}]: {problem}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_path() {
        let count = |url: &str| {
            let mut errors = ErrorList::new();
            check(url, &Path::new("u"), &mut errors);
            errors.len()
        };
        for (url, expected) in [
            ("https://a.example", 0),
            ("https://a.example:8443/b/c", 0),
            ("https://[::1]:1/x", 0),
            ("http://a.example", 1),
            ("x", 2),
            ("https:///x", 1),
            ("https://u:p@a.example/?q=1#f", 3),
            ("1a:b", 1),
            (":b", 1),
        ] {
            assert_eq!(count(url), expected, "of {url}");
        }
    }

    #[test]
    fn a_path_has_no_empty_segments() {
        let count = |given: &str| {
            let mut errors = ErrorList::new();
            check_path(given, &Path::new("p"), &mut errors);
            errors.len()
        };
        for (given, expected) in [("", 0), ("/", 0), ("/a/b/", 0), ("//", 1), ("/a//b", 1), ("a", 2), ("/A b", 1)] {
            assert_eq!(count(given), expected, "of {given}");
        }
    }
}
