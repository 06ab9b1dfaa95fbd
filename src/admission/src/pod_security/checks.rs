//! The checks of the Pod Security Standards, each in the words in which Kubernetes refuses.

use serde_json::Value;

use super::Level;
use apimachinery::pod_resources::containers;

use crate::text;

/// What a check found: its reason, and what exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is violated.
    pub reason: String,
    /// Where and how; empty where the reason says it all.
    pub detail: String,
}

fn violation(reason: &str, detail: impl Into<String>) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail: detail.into() })
}

type Check = fn(&Pod<'_>) -> Option<Violation>;

const BASELINE: &[Check] = &[
    app_armor,
    added_capabilities,
    host_namespaces,
    host_path_volumes,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    se_linux,
    unconfined_seccomp,
    sysctls,
    windows_host_process,
];

/// Those of the baseline that have no stricter counterpart, then the stricter ones.
const RESTRICTED: &[Check] = &[
    app_armor,
    host_namespaces,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    se_linux,
    sysctls,
    windows_host_process,
    privilege_escalation,
    dropped_capabilities,
    restricted_volumes,
    run_as_non_root,
    run_as_user,
    required_seccomp,
];

/// Everything in which a pod (its metadata and specification) violates `level`.
pub fn violations(level: Level, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let checks = match level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => BASELINE,
        Level::Restricted => RESTRICTED,
    };
    let wrapped = serde_json::json!({"metadata": metadata, "spec": spec});
    let pod = Pod(&wrapped);
    checks.iter().filter_map(|check| check(&pod)).collect()
}

struct Pod<'a>(&'a Value);

impl<'a> Pod<'a> {
    fn spec(&self) -> &'a Value {
        &self.0["spec"]
    }

    /// Init containers first, as Kubernetes visits them.
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| containers(self.0, list))
    }

    fn named(&self, bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| bad(container)).map(|container| text(container, "/name")).collect()
    }

    fn is_windows(&self) -> bool {
        text(self.spec(), "/os/name") == "windows"
    }
}

fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("{:?}", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn many<'w>(one: &'w str, more: &'w str, count: usize) -> &'w str {
    if count == 1 { one } else { more }
}

/// `container "a"` or `containers "a", "b"`.
fn the(names: &[&str]) -> String {
    format!("{} {}", many("container", "containers", names.len()), quoted(names))
}

/// Who set something: the pod, containers, or both.
fn setters(pod: bool, containers: &[&str]) -> String {
    let mut setters = Vec::new();
    if pod {
        setters.push("pod".to_owned());
    }
    if !containers.is_empty() {
        setters.push(the(containers));
    }
    setters.join(" and ")
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values.dedup();
    values
}

fn strings<'v>(value: &'v Value, pointer: &str) -> Vec<&'v str> {
    let list = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| pod.spec()[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() { None } else { violation("host namespaces", set.join(", ")) }
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.named(|container| container["securityContext"]["privileged"] == true);
    if bad.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", the(&bad)))
}

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add capabilities beyond `allowed`, and which.
fn added<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, Vec<String>) {
    const ADD: &str = "/securityContext/capabilities/add";
    let bad = pod.named(|container| strings(container, ADD).iter().any(|added| !allowed.contains(added)));
    let which = pod.containers().flat_map(|container| strings(container, ADD));
    (bad, sorted(which.filter(|added| !allowed.contains(added)).map(str::to_owned).collect()))
}

fn added_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let (bad, which) = added(pod, CAPABILITIES);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must not include {} in securityContext.capabilities.add", the(&bad), quoted(&which));
    violation("non-default capabilities", detail)
}

fn dropped_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let missing = pod.named(|container| !strings(container, "/securityContext/capabilities/drop").contains(&"ALL"));
    let (adding, which) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !missing.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", the(&missing)));
    }
    if !adding.is_empty() {
        let which = quoted(&which);
        details.push(format!("{} must not include {which} in securityContext.capabilities.add", the(&adding)));
    }
    if details.is_empty() { None } else { violation("unrestricted capabilities", details.join("; ")) }
}

fn volumes<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> {
    pod.spec()["volumes"].as_array().into_iter().flatten()
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let bad: Vec<&str> =
        volumes(pod).filter(|volume| !volume["hostPath"].is_null()).map(|volume| text(volume, "/name")).collect();
    if bad.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", many("volume", "volumes", bad.len()), quoted(&bad)))
}

const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn restricted_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let kind = |volume: &Value| -> Option<String> {
        let fields = volume.as_object()?;
        let source = fields.iter().find(|(name, value)| *name != "name" && !value.is_null())?.0;
        (!VOLUMES.contains(&source.as_str())).then(|| source.clone())
    };
    let bad: Vec<(&str, String)> =
        volumes(pod).filter_map(|volume| Some((text(volume, "/name"), kind(volume)?))).collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|(name, _)| *name).collect();
    let kinds = sorted(bad.iter().map(|(_, kind)| kind.clone()).collect());
    let detail = format!(
        "{} {} {} {} {}",
        many("volume", "volumes", names.len()),
        quoted(&names),
        many("uses", "use", names.len()),
        many("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    violation("restricted volume types", detail)
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<i64> {
        let list = container["ports"].as_array().into_iter().flatten();
        list.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect()
    };
    let bad = pod.named(|container| !ports(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let which = sorted(pod.containers().flat_map(ports).map(|port| port.to_string()).collect());
    let detail = format!(
        "{} {} {} {}",
        the(&bad),
        many("uses", "use", bad.len()),
        many("hostPort", "hostPorts", which.len()),
        which.join(", ")
    );
    violation("hostPort", detail)
}

fn host_probes(pod: &Pod<'_>) -> Option<Violation> {
    let hosts = |container: &Value| -> Vec<String> {
        let places =
            ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
        let handlers = places.iter().filter_map(|place| container.pointer(place));
        let named = handlers.flat_map(|handler| [text(handler, "/httpGet/host"), text(handler, "/tcpSocket/host")]);
        named.filter(|host| !host.is_empty()).map(str::to_owned).collect()
    };
    let bad = pod.named(|container| !hosts(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let which = sorted(pod.containers().flat_map(hosts).collect());
    let detail = format!(
        "{} {} probe or lifecycle {} {}",
        the(&bad),
        many("uses", "use", bad.len()),
        many("host", "hosts", which.len()),
        quoted(&which)
    );
    violation("probe or lifecycle host", detail)
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let set = |container: &Value| text(container, "/securityContext/procMount").to_owned();
    let is_bad = |container: &Value| !matches!(set(container).as_str(), "" | "Default");
    let bad = pod.named(is_bad);
    if bad.is_empty() {
        return None;
    }
    let which = sorted(pod.containers().filter(|container| is_bad(container)).map(set).collect());
    let detail = format!("{} must not set securityContext.procMount to {}", the(&bad), quoted(&which));
    violation("procMount", detail)
}

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    const TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let options = |holder: &Value| holder["securityContext"]["seLinuxOptions"].clone();
    let is_bad = |holder: &Value| {
        let options = options(holder);
        !TYPES.contains(&text(&options, "/type"))
            || !text(&options, "/user").is_empty()
            || !text(&options, "/role").is_empty()
    };
    let of_pod = is_bad(pod.spec());
    let bad = pod.named(is_bad);
    if !of_pod && bad.is_empty() {
        return None;
    }
    let all: Vec<Value> =
        std::iter::once(pod.spec()).chain(pod.containers()).filter(|holder| is_bad(holder)).map(options).collect();
    let types = all.iter().map(|options| text(options, "/type")).filter(|name| !TYPES.contains(name));
    let types = sorted(types.map(str::to_owned).collect());
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", many("type", "types", types.len()), quoted(&types)));
    }
    for field in ["user", "role"] {
        if all.iter().any(|options| !text(options, &format!("/{field}")).is_empty()) {
            data.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", setters(of_pod, &bad), data.join("; "));
    violation("seLinuxOptions", detail)
}

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let profile = |holder: &Value| text(holder, "/securityContext/appArmorProfile/type").to_owned();
    let is_bad = |holder: &Value| !matches!(profile(holder).as_str(), "" | "RuntimeDefault" | "Localhost");
    let of_pod = is_bad(pod.spec());
    let bad = pod.named(is_bad);
    let mut details = Vec::new();
    if of_pod || !bad.is_empty() {
        let holders = std::iter::once(pod.spec()).chain(pod.containers()).filter(|holder| is_bad(holder));
        let which = sorted(holders.map(profile).collect());
        let setters = setters(of_pod, &bad);
        details.push(format!("{setters} must not set securityContext.appArmorProfile.type to {}", quoted(&which)));
    }
    let annotations = pod.0["metadata"]["annotations"].as_object();
    let forbidden: Vec<String> = annotations
        .into_iter()
        .flatten()
        .filter(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            key.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && !matches!(value, "" | "runtime/default")
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or_default()))
        .collect();
    if !forbidden.is_empty() {
        let word = many("annotation", "annotations", forbidden.len());
        details.push(format!("{word} {}", forbidden.join(", ")));
    }
    if details.is_empty() {
        return None;
    }
    let count = bad.len() + forbidden.len() + usize::from(of_pod);
    let reason = many("forbidden AppArmor profile", "forbidden AppArmor profiles", count);
    violation(reason, details.join("; "))
}

fn seccomp(holder: &Value) -> &str {
    text(holder, "/securityContext/seccompProfile/type")
}

/// Who sets a seccomp profile that is not allowed.
fn bad_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let is_bad = |holder: &Value| !matches!(seccomp(holder), "" | "RuntimeDefault" | "Localhost");
    let of_pod = is_bad(pod.spec());
    let bad = pod.named(is_bad);
    if !of_pod && bad.is_empty() {
        return None;
    }
    let holders = std::iter::once(pod.spec()).chain(pod.containers()).filter(|holder| is_bad(holder));
    let which = sorted(holders.map(|holder| seccomp(holder).to_owned()).collect());
    let setters = setters(of_pod, &bad);
    violation(
        "seccompProfile",
        format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(&which)),
    )
}

fn unconfined_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    bad_seccomp(pod)
}

fn required_seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    if let Some(bad) = bad_seccomp(pod) {
        return Some(bad);
    }
    if !seccomp(pod.spec()).is_empty() {
        return None;
    }
    let silent = pod.named(|container| seccomp(container).is_empty());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        the(&silent)
    );
    violation("seccompProfile", detail)
}

const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let list = pod.spec()["securityContext"]["sysctls"].as_array().into_iter().flatten();
    let bad: Vec<&str> = list.map(|sysctl| text(sysctl, "/name")).filter(|name| !SYSCTLS.contains(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let is_bad = |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let of_pod = is_bad(pod.spec());
    let bad = pod.named(is_bad);
    if !of_pod && bad.is_empty() {
        return None;
    }
    let setters = setters(of_pod, &bad);
    violation("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let bad = pod.named(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", the(&bad));
    violation("allowPrivilegeEscalation != false", detail)
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let set = |holder: &Value| holder["securityContext"]["runAsNonRoot"].as_bool();
    let of_pod = set(pod.spec());
    let bad = pod.named(|container| set(container) == Some(false));
    if of_pod == Some(false) || !bad.is_empty() {
        let setters = setters(of_pod == Some(false), &bad);
        return violation(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.named(|container| set(container).is_none());
    if of_pod == Some(true) || silent.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", the(&silent)))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    let is_root = |holder: &Value| holder["securityContext"]["runAsUser"] == 0;
    let of_pod = is_root(pod.spec());
    let bad = pod.named(is_root);
    if !of_pod && bad.is_empty() {
        return None;
    }
    violation("runAsUser=0", format!("{} must not set runAsUser=0", setters(of_pod, &bad)))
}
