//! What a WebAssembly pod cannot have. It is refused by the name of the field in the Pod, never ignored.
//!
//! A guest has no user, no processes, no devices and no system calls; what merely restricts these (a user id, dropped
//! capabilities, the default seccomp profile) holds by itself and is taken. Pure.

use cri::v1::{
    self, LinuxContainerConfig, LinuxSandboxSecurityContext, MountPropagation, NamespaceMode, NamespaceOption,
    SecurityProfile, security_profile::ProfileType,
};

/// Handlers of a RuntimeClass that mean this runtime.
pub const RUNTIME_HANDLERS: [&str; 5] = ["", "coracle", "wasm", "wasmtime", "spin"];

/// What every Linux container has without asking; a guest needs none of it.
const HARMLESS_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A field, and why it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not available for WebAssembly {what}: {why}")]
pub struct Refused {
    field: &'static str,
    what: &'static str,
    why: String,
}

type Checked = Result<(), Refused>;

/// Whether a pod of WebAssembly containers can be so.
///
/// # Errors
/// With the first field that it cannot have.
pub fn check_sandbox(config: &v1::PodSandboxConfig) -> Checked {
    let refuse = |field, why: &str| Err(Refused { field, what: "pods", why: why.to_owned() });
    if let Some(port) = config.port_mappings.iter().find(|port| port.host_port > 0) {
        let why = format!("port {} is reached by the pod's address or a Service of type NodePort", port.host_port);
        return refuse("containers[].ports[].hostPort", &why);
    }
    if config.windows.is_some() {
        return refuse("securityContext.windowsOptions", "this is not a Windows node");
    }
    let Some(linux) = &config.linux else { return Ok(()) };
    if let Some(name) = linux.sysctls.keys().next() {
        return refuse("securityContext.sysctls", &format!("{name} is a setting of a kernel that guests do not have"));
    }
    let Some(LinuxSandboxSecurityContext { namespace_options, seccomp, apparmor, selinux_options, .. }) =
        &linux.security_context
    else {
        return Ok(());
    };
    check_namespaces(namespace_options.as_ref(), "pods")?;
    if selinux_options.is_some() {
        return refuse("securityContext.seLinuxOptions", "guests are no processes that could have a label");
    }
    check_profiles([seccomp.as_ref(), apparmor.as_ref()], "pods")
}

/// Whether a WebAssembly container can be so.
///
/// # Errors
/// With the first field that it cannot have.
pub fn check_container(config: &v1::ContainerConfig) -> Checked {
    let refuse = |field, why: &str| Err(Refused { field, what: "containers", why: why.to_owned() });
    if config.stdin {
        return refuse("stdin", "attach is not there yet, so nobody could write to it");
    }
    if config.tty {
        return refuse("tty", "attach is not there yet, so nobody could read from it");
    }
    if let Some(device) = config.devices.first() {
        return refuse("devices", &format!("a guest cannot open {}", device.host_path));
    }
    if let Some(device) = config.cdi_devices.first() {
        return refuse("resources.claims", &format!("a guest cannot use the device {}", device.name));
    }
    for mount in &config.mounts {
        if mount.image.as_ref().is_some_and(|image| !image.image.is_empty()) {
            return refuse("volumes[].image", &format!("the image cannot be mounted at {} yet", mount.container_path));
        }
        if mount.propagation() == MountPropagation::PropagationBidirectional {
            return refuse("volumeMounts[].mountPropagation: Bidirectional", "guests cannot mount anything");
        }
        if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
            return refuse("hostUsers: false", "files of a volume cannot be shown with other owners");
        }
    }
    config.linux.as_ref().map_or(Ok(()), check_linux)
}

fn check_linux(linux: &LinuxContainerConfig) -> Checked {
    let refuse = |field, why: &str| Err(Refused { field, what: "containers", why: why.to_owned() });
    if let Some(resources) = &linux.resources {
        if !resources.cpuset_cpus.is_empty() || !resources.cpuset_mems.is_empty() {
            return refuse("exclusive CPUs", "guests share the node's threads");
        }
        if let Some(limit) = resources.hugepage_limits.iter().find(|limit| limit.limit > 0) {
            return refuse(
                "resources.limits.hugepages",
                &format!("guests' memory has no pages of {}", limit.page_size),
            );
        }
    }
    let Some(context) = &linux.security_context else { return Ok(()) };
    if context.privileged {
        return refuse("securityContext.privileged", "guests have no access to the host to begin with");
    }
    check_namespaces(context.namespace_options.as_ref(), "containers")?;
    if context.selinux_options.is_some() {
        return refuse("securityContext.seLinuxOptions", "guests are no processes that could have a label");
    }
    let added = context.capabilities.iter().flat_map(|capabilities| &capabilities.add_capabilities);
    let plain = |name: &str| name.strip_prefix("CAP_").unwrap_or(name).to_ascii_uppercase();
    if let Some(name) = added.map(|name| plain(name)).find(|name| !HARMLESS_CAPABILITIES.contains(&name.as_str())) {
        return refuse("securityContext.capabilities.add", &format!("guests make no system calls that {name} allows"));
    }
    check_profiles([context.seccomp.as_ref(), context.apparmor.as_ref()], "containers")
}

fn check_namespaces(options: Option<&NamespaceOption>, what: &'static str) -> Checked {
    let Some(options) = options else { return Ok(()) };
    let refuse = |field, why: &str| Err(Refused { field, what, why: why.to_owned() });
    if options.network() == NamespaceMode::Node {
        return refuse("hostNetwork", "each has an address of its own");
    }
    match options.pid() {
        NamespaceMode::Node => return refuse("hostPID", "guests cannot see processes"),
        NamespaceMode::Target => {
            return refuse("ephemeralContainers[].targetContainerName", "guests cannot see processes");
        }
        NamespaceMode::Pod | NamespaceMode::Container => {}
    }
    if options.ipc() == NamespaceMode::Node {
        return refuse("hostIPC", "guests have no inter-process communication");
    }
    Ok(())
}

fn check_profiles(profiles: [Option<&SecurityProfile>; 2], what: &'static str) -> Checked {
    for (field, profile) in
        ["securityContext.seccompProfile", "securityContext.appArmorProfile"].into_iter().zip(profiles)
    {
        if let Some(profile) = profile.filter(|profile| profile.profile_type() == ProfileType::Localhost) {
            let why = format!("the profile {:?} is for system calls, and guests make none", profile.localhost_ref);
            return Err(Refused { field, what, why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cri::v1::{Capability, Device, LinuxContainerSecurityContext, LinuxPodSandboxConfig, Mount, PortMapping};

    use super::*;

    #[test]
    fn pods_are_refused_by_the_field_they_cannot_have() {
        let with = |context: LinuxSandboxSecurityContext| v1::PodSandboxConfig {
            linux: Some(LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() }),
            ..Default::default()
        };
        let namespaces = |network: NamespaceMode, pid: NamespaceMode, ipc: NamespaceMode| {
            let (network, pid, ipc) = (network as i32, pid as i32, ipc as i32);
            let options = NamespaceOption { network, pid, ipc, ..Default::default() };
            with(LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() })
        };
        use NamespaceMode::{Container, Node, Pod};
        let port = PortMapping { container_port: 80, host_port: 80, ..Default::default() };
        let cases = [
            ("", namespaces(Pod, Container, Pod)),
            ("hostNetwork", namespaces(Node, Container, Pod)),
            ("hostPID", namespaces(Pod, Node, Pod)),
            ("hostIPC", namespaces(Pod, Container, Node)),
            // It is refused to the container that asks for it.
            ("", with(LinuxSandboxSecurityContext { privileged: true, ..Default::default() })),
            ("hostPort", v1::PodSandboxConfig { port_mappings: vec![port], ..Default::default() }),
        ];
        for (field, config) in cases {
            let said = check_sandbox(&config).err().map(|refused| refused.to_string()).unwrap_or_default();
            assert!(said.contains(field) && said.is_empty() == field.is_empty(), "{field}: {said}");
        }
    }

    #[test]
    fn containers_are_refused_by_the_field_they_cannot_have() {
        let with = |context: LinuxContainerSecurityContext| v1::ContainerConfig {
            linux: Some(LinuxContainerConfig { security_context: Some(context), ..Default::default() }),
            ..Default::default()
        };
        let adding = |name: &str| {
            let capabilities = Capability { add_capabilities: vec![name.to_owned()], ..Default::default() };
            with(LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() })
        };
        let seccomp = |kind: ProfileType| {
            let seccomp = SecurityProfile { profile_type: kind as i32, localhost_ref: "p.json".to_owned() };
            with(LinuxContainerSecurityContext { seccomp: Some(seccomp), ..Default::default() })
        };
        let device = Device { host_path: "/dev/fuse".to_owned(), ..Default::default() };
        let both_ways = Mount { propagation: MountPropagation::PropagationBidirectional as i32, ..Default::default() };
        let cases = [
            ("", adding("CAP_NET_BIND_SERVICE")),
            ("", seccomp(ProfileType::RuntimeDefault)),
            ("SYS_ADMIN", adding("SYS_ADMIN")),
            ("p.json", seccomp(ProfileType::Localhost)),
            ("privileged", with(LinuxContainerSecurityContext { privileged: true, ..Default::default() })),
            ("/dev/fuse", v1::ContainerConfig { devices: vec![device], ..Default::default() }),
            ("Bidirectional", v1::ContainerConfig { mounts: vec![both_ways], ..Default::default() }),
            ("tty", v1::ContainerConfig { tty: true, ..Default::default() }),
        ];
        for (field, config) in cases {
            let said = check_container(&config).err().map(|refused| refused.to_string()).unwrap_or_default();
            assert!(said.contains(field) && said.is_empty() == field.is_empty(), "{field}: {said}");
        }
    }
}
