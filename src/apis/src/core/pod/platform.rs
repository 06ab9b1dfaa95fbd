//! Which operating system a pod is for, and what only one of them has.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::json::{field, flag, has, list, some, text};

const LINUX_ONLY: &str = "cannot be set for a windows pod";
const WINDOWS_ONLY: &str = "windows options cannot be set for a linux pod";
/// Containers in the order in which they are visited.
const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

/// The operating system where one is named; `path` is that of the spec.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let Some(os) = some(spec, "os") else { return };
    let name = text(os, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("os").child("name"), ""));
        return;
    }
    match name {
        "linux" => check_linux(errors, path, spec),
        "windows" => check_windows(errors, path, spec),
        other => errors.push(FieldError::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}

fn each_context<'a>(path: &Path, spec: &'a Value) -> impl Iterator<Item = (Path, &'a Value)> {
    LISTS.iter().flat_map(move |name| {
        let path = path.child(name);
        let containers = list(spec, name).iter().enumerate();
        containers.filter_map(move |(index, container)| {
            Some((path.index(index).child("securityContext"), some(container, "securityContext")?))
        })
    })
}

fn check_linux(errors: &mut ErrorList, path: &Path, spec: &Value) {
    if has(field(spec, "securityContext"), "windowsOptions") {
        errors.push(FieldError::forbidden(&path.child("securityContext").child("windowsOptions"), WINDOWS_ONLY));
    }
    for (path, context) in each_context(path, spec) {
        if has(context, "windowsOptions") {
            errors.push(FieldError::forbidden(&path.child("windowsOptions"), WINDOWS_ONLY));
        }
    }
}

/// What a Windows pod may not have, in the order in which it is told; each in the spec or in its security context.
const LINUX_FIELDS: &[(&str, bool)] = &[
    ("appArmorProfile", true),
    ("seLinuxOptions", true),
    ("hostUsers", false),
    ("hostPID", false),
    ("hostIPC", false),
    ("seccompProfile", true),
    ("fsGroup", true),
    ("fsGroupChangePolicy", true),
    ("sysctls", true),
    ("shareProcessNamespace", false),
    ("runAsUser", true),
    ("runAsGroup", true),
    ("supplementalGroups", true),
    ("supplementalGroupsPolicy", true),
    ("seLinuxChangePolicy", true),
];
/// The same of its containers.
const LINUX_CONTAINER_FIELDS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn check_windows(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let context = field(spec, "securityContext");
    let context_path = path.child("securityContext");
    for (name, in_context) in LINUX_FIELDS {
        let (holder, path) = if *in_context { (context, &context_path) } else { (spec, path) };
        let set = match *name {
            "hostPID" | "hostIPC" => flag(holder, name),
            "sysctls" => !list(holder, name).is_empty(),
            _ => has(holder, name),
        };
        if set {
            errors.push(FieldError::forbidden(&path.child(name), LINUX_ONLY));
        }
    }
    for (path, context) in each_context(path, spec) {
        for name in LINUX_CONTAINER_FIELDS.iter().filter(|name| has(context, name)) {
            errors.push(FieldError::forbidden(&path.child(name), LINUX_ONLY));
        }
    }
}

/// A Windows pod is a process of the host with all of its containers or with none; `path` is that of the spec.
pub(crate) fn check_host_process(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let of = |context: &Value| some(field(context, "windowsOptions"), "hostProcess").and_then(Value::as_bool);
    let of_pod = of(field(spec, "securityContext"));
    let (mut with, mut without) = (of_pod == Some(true), false);
    let mut all = 0;
    for list_name in LISTS {
        for (index, container) in list(spec, list_name).iter().enumerate() {
            all += 1;
            let own = of(field(container, "securityContext"));
            if let (Some(of_pod), Some(own)) = (of_pod, own)
                && of_pod != own
            {
                let path = path.child(list_name).index(index).child("securityContext").child("windowsOptions");
                let why = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
                errors.push(FieldError::invalid(&path.child("hostProcess"), own, why));
            }
            match own.or(of_pod) {
                Some(true) => with = true,
                _ => without = true,
            }
        }
    }
    if !with || all == 0 {
        return;
    }
    if without {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", why));
    }
    if !flag(spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, why));
    }
}

/// A pod with users of its own has nothing else of the host's; `path` is that of the spec.
pub(crate) fn check_host_users(errors: &mut ErrorList, path: &Path, spec: &Value) {
    if some(spec, "hostUsers") != Some(&Value::Bool(false)) {
        return;
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        if !list(container, "volumeDevices").is_empty() {
            let path = path.child("containers").index(index).child("volumeDevices");
            errors.push(FieldError::forbidden(&path, "when `hostUsers` is false"));
        }
    }
    for name in ["hostNetwork", "hostPID", "hostIPC"] {
        if flag(spec, name) {
            errors.push(FieldError::forbidden(&path.child(name), "when `hostUsers` is false"));
        }
    }
}
