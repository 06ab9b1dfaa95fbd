//! Ports of containers.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    json::{flag, int, list, text},
};

/// Protocols of ports.
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// The ports of one container.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, ports: &[Value]) {
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = names::is_valid_port_name(name);
            if problems.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            checks::invalid(errors, &path.child("name"), name, problems);
        }
        match int(port, "containerPort").unwrap_or_default() {
            0 => errors.push(FieldError::required(&path.child("containerPort"), "")),
            number => checks::port_number(errors, &path.child("containerPort"), number),
        }
        match int(port, "hostPort").unwrap_or_default() {
            0 => {}
            number => checks::port_number(errors, &path.child("hostPort"), number),
        }
        checks::required_one_of(errors, &path.child("protocol"), text(port, "protocol"), PROTOCOLS);
    }
}

/// Ports of the host may be asked for once among containers that run at the same time.
pub(crate) fn check_conflicts<'a>(
    errors: &mut ErrorList,
    path: &Path,
    containers: impl IntoIterator<Item = (usize, &'a Value)>,
) {
    let mut seen = HashSet::new();
    for (index, container) in containers {
        for (at, port) in list(container, "ports").iter().enumerate() {
            let number = int(port, "hostPort").unwrap_or_default();
            if number == 0 {
                continue;
            }
            let this = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if seen.contains(&this) {
                let path = path.index(index).child("ports").index(at).child("hostPort");
                errors.push(FieldError::duplicate(&path, this));
            } else {
                seen.insert(this);
            }
        }
    }
}

/// On the host's own network a port of the container is that of the host; a template may leave the latter to its pods.
pub(crate) fn check_host_network(errors: &mut ErrorList, path: &Path, spec: &Value, is_pod: bool) {
    if !flag(spec, "hostNetwork") {
        return;
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        for (at, port) in list(container, "ports").iter().enumerate() {
            let [own, of_host] = ["containerPort", "hostPort"].map(|name| int(port, name).unwrap_or_default());
            if of_host != own && (is_pod || of_host != 0) {
                let path = path.child("containers").index(index).child("ports").index(at).child("hostPort");
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path, of_host, why));
            }
        }
    }
}
