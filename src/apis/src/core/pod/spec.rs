//! A pod's spec as a whole, in the order in which kube-apiserver reads it.

use std::collections::{BTreeSet, HashSet};

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::{
    affinity, container_list, dns, platform, ports, resources, restart_rules, scheduling, security,
    volume::{self, Volumes},
};
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{entries, field, has, int, list, some, text},
    labels,
};

/// What is taken of a spec that is not taken of all.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// It is that of a pod, and not of a template.
    pub(crate) pod: bool,
}

/// What containers are read against.
pub(crate) struct Scope<'a> {
    /// The volumes that are all right, by name.
    pub(crate) volumes: Volumes<'a>,
    /// Names of claims of devices.
    pub(crate) claims: BTreeSet<&'a str>,
    /// How long the pod has to stop.
    pub(crate) grace_seconds: i64,
    /// When its containers are started again.
    pub(crate) restart_policy: &'a str,
    /// Whether its users are the host's.
    pub(crate) host_users: bool,
}

pub(super) static RESOURCE_CLAIM: Struct = Struct(&[
    ("Name", "name", Shape::Text),
    ("ResourceClaimName", "resourceClaimName", Shape::Any),
    ("ResourceClaimTemplateName", "resourceClaimTemplateName", Shape::Any),
]);

/// Checks the spec at `path`, of the object that `metadata` is of.
pub(crate) fn check_spec(
    errors: &mut ErrorList,
    path: &Path,
    spec: &Value,
    metadata: Option<&Value>,
    options: &Options,
) {
    let name = metadata.map_or("", |metadata| text(metadata, "name"));
    let grace = int(spec, "terminationGracePeriodSeconds");
    if grace.is_none() {
        errors.push(FieldError::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let volumes = volume::check(errors, &path.child("volumes"), list(spec, "volumes"), name, options);
    let claims = list(spec, "resourceClaims");
    let scope = Scope {
        volumes,
        claims: claims.iter().map(|claim| text(claim, "name")).filter(|name| !name.is_empty()).collect(),
        grace_seconds: grace.unwrap_or_default(),
        restart_policy: text(spec, "restartPolicy"),
        host_users: some(spec, "hostUsers") != Some(&Value::Bool(false)),
    };
    check_claims(errors, &path.child("resourceClaims"), claims, name);
    container_list::check_regular(errors, &path.child("containers"), list(spec, "containers"), &scope);
    container_list::check_init(errors, &path.child("initContainers"), spec, &scope);
    container_list::check_ephemeral(errors, &path.child("ephemeralContainers"), spec, &scope);
    resources::check_pod(errors, &path.child("resources"), spec, &scope);
    ports::check_host_network(errors, path, spec, options.pod);
    restart_rules::check_pod(errors, &path.child("restartPolicy"), text(spec, "restartPolicy"));
    dns::check_policy(errors, &path.child("dnsPolicy"), text(spec, "dnsPolicy"));
    labels::check(errors, &path.child("nodeSelector"), field(spec, "nodeSelector"));
    security::check_pod(errors, path, spec);
    affinity::check(errors, &path.child("affinity"), field(spec, "affinity"));
    dns::check_config(errors, &path.child("dnsConfig"), spec);
    scheduling::check_readiness_gates(errors, &path.child("readinessGates"), list(spec, "readinessGates"));
    scheduling::check_gates(errors, &path.child("schedulingGates"), list(spec, "schedulingGates"));
    let spread = list(spec, "topologySpreadConstraints");
    scheduling::check_spread(errors, &path.child("topologySpreadConstraints"), spread);
    platform::check_host_process(errors, path, spec);
    platform::check_host_users(errors, path, spec);
    check_names(errors, path, spec);
    scheduling::check_tolerations(errors, &path.child("tolerations"), list(spec, "tolerations"));
    dns::check_host_aliases(errors, &path.child("hostAliases"), list(spec, "hostAliases"));
    check_subdomain(errors, path, spec, "priorityClassName");
    if let Some(name) = some(spec, "runtimeClassName").and_then(Value::as_str) {
        checks::dns_subdomain(errors, &path.child("runtimeClassName"), name);
    }
    if let Some(policy) = some(spec, "preemptionPolicy").and_then(Value::as_str) {
        checks::required_one_of(errors, &path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    if has(spec, "overhead") {
        let path = path.child("overhead").child("limits");
        for (name, value) in entries(spec, "overhead") {
            resources::check_container_name(errors, &path.key(name), name);
            resources::check_amount(errors, &path.key(name), name, value);
        }
    }
    platform::check(errors, path, spec);
    check_hostname_override(errors, path, spec);
}

fn check_subdomain(errors: &mut ErrorList, path: &Path, spec: &Value, name: &str) {
    let value = text(spec, name);
    if !value.is_empty() {
        checks::dns_subdomain(errors, &path.child(name), value);
    }
}

/// Names of other things, and for how long the pod may run.
fn check_names(errors: &mut ErrorList, path: &Path, spec: &Value) {
    check_subdomain(errors, path, spec, "serviceAccountName");
    check_subdomain(errors, path, spec, "nodeName");
    restart_rules::check_deadline(errors, &path.child("activeDeadlineSeconds"), spec);
    for name in ["hostname", "subdomain"] {
        let value = text(spec, name);
        if !value.is_empty() {
            checks::dns_label(errors, &path.child(name), value);
        }
    }
}

fn check_hostname_override(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let Some(name) = some(spec, "hostnameOverride").and_then(Value::as_str) else { return };
    let path = path.child("hostnameOverride");
    if crate::json::flag(spec, "setHostnameAsFQDN") {
        let why = "may not be specified when setHostnameAsFQDN is true";
        errors.push(FieldError::forbidden(&path, why));
    }
    if crate::json::flag(spec, "hostNetwork") {
        errors.push(FieldError::forbidden(&path, "may not be specified when hostNetwork is true"));
    }
    if name.len() > 64 {
        errors.push(FieldError::too_long(&path, 64));
    }
    checks::dns_subdomain(errors, &path, name);
}

/// Claims of devices.
fn check_claims(errors: &mut ErrorList, path: &Path, claims: &[Value], pod: &str) {
    let mut seen = HashSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let name = text(claim, "name");
        let (by_name, by_template) = (some(claim, "resourceClaimName"), some(claim, "resourceClaimTemplateName"));
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        } else {
            let problems = names::is_dns1123_label(name);
            if !problems.is_empty() {
                checks::invalid(errors, &path.child("name"), name, problems);
            } else if by_template.is_some() && !pod.is_empty() {
                let name = format!("{pod}-{name}");
                let problems = names::is_dns1123_subdomain(&name).into_iter();
                let problems = problems.map(|why| format!("final ResourceClaim name: {why}")).collect();
                checks::invalid(errors, &path.child("name"), name, problems);
            }
        }
        let mut refuse = |why| errors.push(checks::shown(ErrorKind::Invalid, &path, &RESOURCE_CLAIM.show(claim), why));
        match (by_name, by_template) {
            (Some(_), Some(_)) => {
                refuse("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
            }
            (None, None) => refuse("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = some(claim, field).and_then(Value::as_str) {
                checks::dns_subdomain(errors, &path.child(field), name);
            }
        }
    }
}
