//! `PodSecurity`: the Pod Security Standards, as the labels of a namespace ask for them.

mod checks;

use std::{collections::BTreeMap, fmt};

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    status::{GroupKind, Status},
};
use auth::ObjectReader;
use serde_json::Value;

use self::checks::Violation;
use crate::{Operation, Request, text};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything is allowed.
    Privileged,
    /// What is known to lead out of the container is not.
    Baseline,
    /// Only what is known to be safe is.
    Restricted,
}

/// A level as of a version of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Policy {
    level: Level,
    version: String,
}

impl Policy {
    /// What the labels of a namespace ask for in `mode`; what they say wrongly is taken as strictly as Kubernetes does.
    fn of(namespace: &Value, mode: &str) -> Self {
        let label = |name: String| namespace["metadata"]["labels"][name].as_str().map(str::to_owned);
        let level = match label(format!("{PREFIX}{mode}")).as_deref() {
            None | Some("privileged") => Level::Privileged,
            Some("baseline") => Level::Baseline,
            Some("restricted") => Level::Restricted,
            // Only enforcement fails closed: a warning that nobody asked for helps nobody.
            Some(_) if mode == "enforce" => Level::Restricted,
            Some(_) => Level::Privileged,
        };
        let version = label(format!("{PREFIX}{mode}-version")).filter(|version| is_version(version));
        Self { level, version: version.unwrap_or_else(|| "latest".to_owned()) }
    }

    fn violations(&self, metadata: &Value, spec: &Value) -> Vec<Violation> {
        checks::violations(self.level, metadata, spec)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        write!(formatter, "{level}:{}", self.version)
    }
}

fn is_version(version: &str) -> bool {
    let minor = version.strip_prefix("v1.");
    version == "latest"
        || minor.is_some_and(|minor| {
            minor == "0" || !minor.starts_with('0') && minor.parse::<u32>().is_ok() && !minor.starts_with('+')
        })
}

fn details(violations: &[Violation]) -> String {
    let one = |violation: &Violation| {
        if violation.detail.is_empty() {
            violation.reason.clone()
        } else {
            format!("{} ({})", violation.reason, violation.detail)
        }
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// Refuses, or warns of, what the namespace does not want.
pub fn validate(request: &Request<'_>, reader: &dyn ObjectReader) -> Result<Vec<String>, Status> {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(Vec::new());
    }
    let Some(object) = request.object.as_deref() else { return Ok(Vec::new()) };
    match (request.group, request.resource, request.subresource) {
        ("", "namespaces", "") => namespace(request, object, reader),
        ("", "pods", "" | "ephemeralcontainers" | "resize") => pod(request, object, reader),
        (_, _, "") => Ok(template(request, object, reader)),
        _ => Ok(Vec::new()),
    }
}

fn pod(request: &Request<'_>, pod: &Value, reader: &dyn ObjectReader) -> Result<Vec<String>, Status> {
    if request.old.is_some_and(|old| !is_significant(pod, old)) {
        return Ok(Vec::new());
    }
    let Some(namespace) = reader.get("", "namespaces", "", request.namespace) else { return Ok(Vec::new()) };
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let enforce = Policy::of(&namespace, "enforce");
    let violations = enforce.violations(metadata, spec);
    if !violations.is_empty() {
        let why = format!("violates PodSecurity {:?}: {}", enforce.to_string(), details(&violations));
        return Err(request.forbidden(&why));
    }
    Ok(warning(&Policy::of(&namespace, "warn"), metadata, spec))
}

fn warning(policy: &Policy, metadata: &Value, spec: &Value) -> Vec<String> {
    let violations = policy.violations(metadata, spec);
    if violations.is_empty() {
        return Vec::new();
    }
    vec![format!("would violate PodSecurity {:?}: {}", policy.to_string(), details(&violations))]
}

/// Whether an update of a pod can make it worse: most of a pod cannot change, and the rest mostly does not matter.
fn is_significant(new: &Value, old: &Value) -> bool {
    let part = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            for field in
                ["activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName", "terminationGracePeriodSeconds"]
            {
                fields.remove(field);
            }
        }
        let annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        let profiles: BTreeMap<String, Value> = annotations
            .into_iter()
            .filter(|(key, _)| key.contains("seccomp.security.alpha") || key.contains("apparmor.security.beta"))
            .collect();
        (spec, profiles)
    };
    part(new) != part(old)
}

/// Warns of a workload whose pods would be refused.
fn template(request: &Request<'_>, object: &Value, reader: &dyn ObjectReader) -> Vec<String> {
    let pointer = match (request.group, request.resource) {
        ("", "podtemplates") => "/template",
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => "/spec/template",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template",
        _ => return Vec::new(),
    };
    let Some(template) = object.pointer(pointer) else { return Vec::new() };
    let Some(namespace) = reader.get("", "namespaces", "", request.namespace) else { return Vec::new() };
    warning(&Policy::of(&namespace, "warn"), &template["metadata"], &template["spec"])
}

/// The labels of a namespace that say nothing, as field and error.
fn wrong_labels(namespace: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("metadata").child("labels");
    for mode in ["enforce", "audit", "warn"] {
        let name = format!("{PREFIX}{mode}");
        if let Some(level) = namespace["metadata"]["labels"][&name].as_str()
            && !matches!(level, "privileged" | "baseline" | "restricted")
        {
            let detail = "must be one of privileged, baseline, restricted";
            errors.push(FieldError::invalid(&path.key(&name), level, detail));
        }
        let name = format!("{name}-version");
        if let Some(version) = namespace["metadata"]["labels"][&name].as_str().filter(|version| !is_version(version)) {
            errors.push(FieldError::invalid(&path.key(&name), version, "must be \"latest\" or \"v1.x\""));
        }
    }
    errors
}

fn namespace(request: &Request<'_>, new: &Value, reader: &dyn ObjectReader) -> Result<Vec<String>, Status> {
    let errors = wrong_labels(new);
    // What was wrong before may stay so, or nothing else of the namespace could be changed.
    let known = request.old.map(wrong_labels).unwrap_or_default();
    if !errors.is_empty() && errors.iter().any(|error| !known.iter().any(|old| old.to_string() == error.to_string())) {
        let errors: ErrorList = errors.into_iter().collect();
        return Err(Status::invalid(&GroupKind::new("", "Namespace"), request.name, &errors));
    }
    let Some(old) = request.old else { return Ok(Vec::new()) };
    let (enforce, before) = (Policy::of(new, "enforce"), Policy::of(old, "enforce"));
    if enforce == before || enforce.version == before.version && enforce.level <= before.level {
        return Ok(Vec::new());
    }
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in reader.list("", "pods", Some(request.name)) {
        let violations = enforce.violations(&pod["metadata"], &pod["spec"]);
        if !violations.is_empty() {
            found.entry(reasons(&violations)).or_default().push(text(&pod, "/metadata/name").to_owned());
        }
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, pods)| match pods.as_slice() {
            [pod] => format!("{pod}: {reasons}"),
            [pod, _] => format!("{pod} (and 1 other pod): {reasons}"),
            [pod, others @ ..] => format!("{pod} (and {} other pods): {reasons}", others.len()),
            [] => reasons,
        })
        .collect();
    lines.sort();
    lines.insert(
        0,
        format!(
            "existing pods in namespace {:?} violate the new PodSecurity enforce level {:?}",
            request.name,
            enforce.to_string()
        ),
    );
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn violations_are_worded_as_kubernetes_words_them() {
        let plain = json!({"containers": [{"name": "c", "image": "i"}]});
        let bad = json!({
            "hostNetwork": true, "containers": [{"name": "c", "securityContext": {"privileged": true}}],
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        });
        let host = json!({"hostPID": true, "volumes": [{"name": "h", "hostPath": {"path": "/"}}], "containers": [{"name": "c"}]});
        let good = json!({
            "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "t", "projected": {}}],
        });
        let several = json!({
            "containers": [
                {"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}], "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "KILL"]}}},
                {"name": "b", "securityContext": {"capabilities": {"add": ["NET_RAW"]}, "seccompProfile": {"type": "Unconfined"}}}],
            "securityContext": {"sysctls": [{"name": "kernel.msgmax"}], "seLinuxOptions": {"type": "spc_t", "user": "u"}},
        });
        for (level, spec, want) in [
            (Level::Privileged, &bad, ""),
            (Level::Baseline, &plain, ""),
            (Level::Restricted, &good, ""),
            (
                Level::Restricted,
                &plain,
                "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
                 unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
                 runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
                 seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
            ),
            (
                Level::Restricted,
                &bad,
                "host namespaces (hostNetwork=true), privileged (container \"c\" must not set securityContext.privileged=true), \
                 allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
                 unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])",
            ),
            (Level::Baseline, &host, "host namespaces (hostPID=true), hostPath volumes (volume \"h\")"),
            (
                Level::Baseline,
                &several,
                "non-default capabilities (containers \"a\", \"b\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add), \
                 hostPort (container \"a\" uses hostPorts 443, 80), \
                 seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set), \
                 seccompProfile (container \"b\" must not set securityContext.seccompProfile.type to \"Unconfined\"), \
                 forbidden sysctls (kernel.msgmax)",
            ),
        ] {
            assert_eq!(details(&checks::violations(level, &json!({}), spec)), want, "{level:?}");
        }
    }

    #[test]
    fn labels_that_say_nothing_are_named() {
        let namespace = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "nonsense", "pod-security.kubernetes.io/warn-version": "v2"}}});
        let errors: Vec<String> = wrong_labels(&namespace).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"nonsense\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v2\": must be \"latest\" or \"v1.x\"",
            ]
        );
        assert!(is_version("v1.36") && !is_version("v1.01") && !is_version("v1."));
    }
}
