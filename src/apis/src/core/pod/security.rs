//! Security contexts of pods and containers.

use std::{collections::HashSet, sync::LazyLock};

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use regex::Regex;
use serde_json::Value;

use super::{spec::Scope, volume::check_descending_path};
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{field, flag, int, list, some, text},
};

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// Bytes of the name of a profile of AppArmor.
const PROFILE_MAX: usize = 4095;
/// Characters of the name of a kernel's setting.
const SYSCTL_MAX: usize = 253;
const SYSCTL: &str = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
static SYSCTL_RE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("^(?:{SYSCTL})$")).expect("the pattern above is valid"));
static WINDOWS_DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    let netbios = r#"[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}"#;
    let dns = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?)*\.?";
    Regex::new(&format!("^(?:{netbios}|{dns})$")).expect("the pattern above is valid")
});

pub(super) static SECCOMP: Struct =
    Struct(&[("Type", "type", Shape::Text), ("LocalhostProfile", "localhostProfile", Shape::Any)]);
pub(super) static APP_ARMOR: Struct =
    Struct(&[("Type", "type", Shape::Text), ("LocalhostProfile", "localhostProfile", Shape::Any)]);
static CAPABILITIES: Struct = Struct(&[("Add", "add", Shape::Any), ("Drop", "drop", Shape::Any)]);
pub(super) static SE_LINUX: Struct = Struct(&[
    ("User", "user", Shape::Text),
    ("Role", "role", Shape::Text),
    ("Type", "type", Shape::Text),
    ("Level", "level", Shape::Text),
]);
pub(super) static WINDOWS: Struct = Struct(&[
    ("GMSACredentialSpecName", "gmsaCredentialSpecName", Shape::Any),
    ("GMSACredentialSpec", "gmsaCredentialSpec", Shape::Any),
    ("RunAsUserName", "runAsUserName", Shape::Any),
    ("HostProcess", "hostProcess", Shape::Any),
]);
pub(super) static CONTEXT: Struct = Struct(&[
    ("Capabilities", "capabilities", Shape::Pointer(&CAPABILITIES)),
    ("Privileged", "privileged", Shape::Any),
    ("SELinuxOptions", "seLinuxOptions", Shape::Pointer(&SE_LINUX)),
    ("WindowsOptions", "windowsOptions", Shape::Pointer(&WINDOWS)),
    ("RunAsUser", "runAsUser", Shape::Any),
    ("RunAsGroup", "runAsGroup", Shape::Any),
    ("RunAsNonRoot", "runAsNonRoot", Shape::Any),
    ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem", Shape::Any),
    ("AllowPrivilegeEscalation", "allowPrivilegeEscalation", Shape::Any),
    ("ProcMount", "procMount", Shape::Any),
    ("SeccompProfile", "seccompProfile", Shape::Pointer(&SECCOMP)),
    ("AppArmorProfile", "appArmorProfile", Shape::Pointer(&APP_ARMOR)),
]);

fn check_id(errors: &mut ErrorList, path: &Path, context: &Value, name: &str) {
    if let Some(id) = int(context, name) {
        checks::invalid(errors, &path.child(name), id, names::is_valid_user_id(id));
    }
}

/// The context of a container.
pub(crate) fn check_container(errors: &mut ErrorList, path: &Path, context: &Value, scope: &Scope<'_>) {
    if context.is_null() {
        return;
    }
    check_id(errors, path, context, "runAsUser");
    check_id(errors, path, context, "runAsGroup");
    if let Some(mount) = some(context, "procMount").and_then(Value::as_str) {
        let path = path.child("procMount");
        checks::one_of(errors, &path, mount, &["Default", "Unmasked"]);
        if scope.host_users && mount == "Unmasked" {
            errors.push(FieldError::invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    check_seccomp(errors, &path.child("seccompProfile"), field(context, "seccompProfile"));
    if some(context, "allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        let mut refuse = |why| errors.push(checks::shown(ErrorKind::Invalid, path, &CONTEXT.show(context), why));
        if flag(context, "privileged") {
            refuse("cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if list(field(context, "capabilities"), "add").iter().any(|name| name == "CAP_SYS_ADMIN") {
            refuse("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    check_windows(errors, &path.child("windowsOptions"), field(context, "windowsOptions"));
    check_app_armor(errors, &path.child("appArmorProfile"), field(context, "appArmorProfile"));
}

/// The context of a pod; `path` is that of the spec.
pub(crate) fn check_pod(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let context = field(spec, "securityContext");
    let path = &path.child("securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        check_id(errors, path, context, name);
    }
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        let group = group.as_i64().unwrap_or_default();
        let problems = names::is_valid_user_id(group);
        checks::invalid(errors, &path.child("supplementalGroups").index(index), group, problems);
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    check_sysctls(errors, &path.child("sysctls"), list(context, "sysctls"), spec);
    if let Some(policy) = some(context, "fsGroupChangePolicy").and_then(Value::as_str) {
        checks::one_of(errors, &path.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    check_seccomp(errors, &path.child("seccompProfile"), field(context, "seccompProfile"));
    check_windows(errors, &path.child("windowsOptions"), field(context, "windowsOptions"));
    check_app_armor(errors, &path.child("appArmorProfile"), field(context, "appArmorProfile"));
    if let Some(policy) = some(context, "supplementalGroupsPolicy").and_then(Value::as_str) {
        checks::one_of(errors, &path.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    if let Some(policy) = some(context, "seLinuxChangePolicy").and_then(Value::as_str) {
        checks::one_of(errors, &path.child("seLinuxChangePolicy"), policy, &["MountOption", "Recursive"]);
    }
}

fn check_sysctls(errors: &mut ErrorList, path: &Path, sysctls: &[Value], spec: &Value) {
    let mut seen = HashSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(index).child("name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if name.len() > SYSCTL_MAX || !SYSCTL_RE.is_match(name) {
            let why = format!("must have at most {SYSCTL_MAX} characters and match regex ^{SYSCTL}$");
            errors.push(FieldError::invalid(&path, name, why));
        } else if seen.contains(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        // Settings of a namespace that is the host's would be the host's settings.
        let dotted = name.replace('/', ".");
        for (set, prefixes) in
            [("hostNetwork", &["net."] as &[_]), ("hostIPC", &["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."])]
        {
            if flag(spec, set) && prefixes.iter().any(|prefix| dotted.starts_with(prefix)) {
                let why = format!("may not be specified when '{set}' is true");
                errors.push(FieldError::invalid(&path, name, why));
            }
        }
        seen.insert(name);
    }
}

fn check_seccomp(errors: &mut ErrorList, path: &Path, profile: &Value) {
    if profile.is_null() {
        return;
    }
    let kind = text(profile, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "type is required when seccompProfile is set"));
    } else {
        checks::one_of(errors, &path.child("type"), kind, PROFILES);
    }
    let path = path.child("localhostProfile");
    match some(profile, "localhostProfile").and_then(Value::as_str) {
        None if kind == "Localhost" => {
            errors.push(FieldError::required(&path, "must be set when seccomp type is Localhost"));
        }
        Some(name) if kind == "Localhost" => check_descending_path(errors, &path, name),
        Some(_) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(checks::shown(ErrorKind::Invalid, &path, &SECCOMP.show(profile), why));
        }
        None => {}
    }
}

fn check_app_armor(errors: &mut ErrorList, path: &Path, profile: &Value) {
    if profile.is_null() {
        return;
    }
    const MUST: &str = "must be set when AppArmor type is Localhost";
    let name_path = path.child("localhostProfile");
    let name = some(profile, "localhostProfile").and_then(Value::as_str);
    match (text(profile, "type"), name) {
        ("Localhost", None) => errors.push(FieldError::required(&name_path, MUST)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.push(FieldError::invalid(&name_path, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(FieldError::required(&name_path, MUST));
            }
            if name.len() > PROFILE_MAX {
                errors.push(FieldError::too_long(&name_path, PROFILE_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.push(FieldError::invalid(&name_path, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            errors.push(FieldError::required(&path.child("type"), "type is required when appArmorProfile is set"));
        }
        (kind, _) => errors.push(FieldError::not_supported(&path.child("type"), kind, PROFILES)),
    }
}

fn check_windows(errors: &mut ErrorList, path: &Path, options: &Value) {
    if let Some(name) = some(options, "gmsaCredentialSpecName").and_then(Value::as_str) {
        checks::dns_subdomain(errors, &path.child("gmsaCredentialSpecName"), name);
    }
    if let Some(spec) = some(options, "gmsaCredentialSpec").and_then(Value::as_str) {
        let why = match spec.len() {
            0 => Some("gmsaCredentialSpec cannot be an empty string"),
            length if length > 64 * 1024 => Some("gmsaCredentialSpec size must be under 64 KiB"),
            _ => None,
        };
        errors.extend(why.map(|why| FieldError::invalid(&path.child("gmsaCredentialSpec"), spec, why)));
    }
    if let Some(user) = some(options, "runAsUserName").and_then(Value::as_str) {
        let path = path.child("runAsUserName");
        let problems = windows_user_problems(user);
        errors.extend(problems.into_iter().map(|why| FieldError::invalid(&path, user, why)));
    }
}

fn windows_user_problems(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    let mut problems = Vec::new();
    if name.chars().any(char::is_control) {
        problems.push("runAsUserName cannot contain control characters");
    }
    let parts: Vec<_> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => {
            problems.push("runAsUserName cannot contain more than one backslash");
            return problems;
        }
    };
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            problems.push("runAsUserName's Domain length must be under 256 characters");
        }
        if !WINDOWS_DOMAIN.is_match(domain) {
            problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        problems.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        problems.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        problems.push("runAsUserName's User cannot contain only periods or spaces");
    }
    problems
}
