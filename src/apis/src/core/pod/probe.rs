//! Probes, and what is run when a container starts and stops.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    json::{field, has, int, list, some, text},
};

/// Probes of a container by their field.
pub(crate) const PROBES: &[&str] = &["livenessProbe", "readinessProbe", "startupProbe"];

/// A probe in the field `name` of a container at `path`.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, container: &Value, name: &str) {
    let Some(probe) = some(container, name) else { return };
    let path = path.child(name);
    check_handler(errors, &path, probe, None);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        checks::non_negative(errors, &path.child(name), int(probe, name));
    }
    let grace = path.child("terminationGracePeriodSeconds");
    let seconds = int(probe, "terminationGracePeriodSeconds");
    if let Some(seconds) = seconds.filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(&grace, seconds, "must be greater than 0"));
    }
    if name == "readinessProbe" {
        if let Some(seconds) = seconds {
            errors.push(FieldError::invalid(&grace, seconds, "must not be set for readinessProbes"));
        }
    } else if let Some(count) = Some(int(probe, "successThreshold").unwrap_or_default()).filter(|count| *count != 1) {
        errors.push(FieldError::invalid(&path.child("successThreshold"), count, "must be 1"));
    }
}

/// What is run when a container starts and stops.
pub(crate) fn check_lifecycle(errors: &mut ErrorList, path: &Path, container: &Value, grace_seconds: i64) {
    let Some(lifecycle) = some(container, "lifecycle") else { return };
    let path = path.child("lifecycle");
    for name in ["postStart", "preStop"] {
        if let Some(handler) = some(lifecycle, name) {
            check_handler(errors, &path.child(name), handler, Some(grace_seconds));
        }
    }
}

/// One way to run or ask something; `sleep` is for those who know how long a pod takes to stop, `grpc` for the others.
fn check_handler(errors: &mut ErrorList, path: &Path, handler: &Value, grace_seconds: Option<i64>) {
    let kinds = ["exec", "httpGet", "tcpSocket", if grace_seconds.is_some() { "sleep" } else { "grpc" }];
    let mut first = true;
    for kind in kinds {
        let Some(action) = some(handler, kind) else { continue };
        let path = path.child(kind);
        if !first {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        first = false;
        match kind {
            "exec" => {
                if list(action, "command").is_empty() {
                    errors.push(FieldError::required(&path.child("command"), ""));
                }
            }
            "httpGet" => check_http(errors, &path, action),
            "tcpSocket" => checks::port_number_or_name(errors, &path.child("port"), field(action, "port")),
            "grpc" => checks::port_number(errors, &path.child("port"), int(action, "port").unwrap_or_default()),
            _ => {
                let seconds = int(action, "seconds").unwrap_or_default();
                let most = grace_seconds.unwrap_or_default();
                if seconds < 0 || seconds > most {
                    let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({most})");
                    errors.push(FieldError::invalid(&path, seconds, why));
                }
            }
        }
    }
    if !kinds.iter().any(|kind| has(handler, kind)) {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn check_http(errors: &mut ErrorList, path: &Path, action: &Value) {
    checks::required(errors, &path.child("path"), text(action, "path"));
    checks::port_number_or_name(errors, &path.child("port"), field(action, "port"));
    checks::one_of(errors, &path.child("scheme"), text(action, "scheme"), &["HTTP", "HTTPS"]);
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        checks::invalid(errors, &path.child("httpHeaders"), name, names::is_http_header_name(name));
    }
}
