//! A pod in the words of CRI: the configuration of its sandbox and of its containers. Pure.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use cri::{labels, v1};
use k8s_openapi::{
    api::core::v1::{Capabilities, Container, Pod, SeccompProfile, SecurityContext},
    apimachinery::pkg::api::resource::Quantity,
};
use sha2::{Digest, Sha256};

use super::traits::PodExt;
use crate::{expansion::expand, quantity};

/// How names are resolved in this cluster.
#[derive(Debug, Clone, Default)]
pub struct DnsSettings {
    /// The cluster's name servers.
    pub servers: Vec<IpAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// The node's own name servers.
    pub host_servers: Vec<String>,
    /// The node's own search domains.
    pub host_searches: Vec<String>,
}

/// What of a container's specification may not change while it runs.
pub fn container_hash(container: &Container) -> String {
    let digest = Sha256::new()
        .chain_update(&container.name)
        .chain_update([0])
        .chain_update(container.image.as_deref().unwrap_or(""));
    hex::encode(&digest.finalize()[..8])
}

/// The folder of a pod's logs.
pub fn log_directory(root: &Path, pod: &Pod) -> PathBuf {
    root.join("pods").join(format!("{}_{}_{}", pod.namespace(), pod.name(), pod.uid()))
}

/// The folder of a pod's volumes and termination messages.
pub fn pod_directory(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

/// The configuration of a pod's sandbox.
pub fn sandbox_config(pod: &Pod, attempt: u32, root: &Path, dns: &DnsSettings) -> v1::PodSandboxConfig {
    let spec = pod.pod_spec();
    let security = spec.and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let privileged = pod.containers().iter().chain(pod.init_containers()).any(is_privileged);
    let port_mappings =
        pod.containers().iter().flat_map(|container| container.ports.iter().flatten()).map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        });
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        hostname: hostname(pod),
        log_directory: log_directory(root, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns_config(pod, dns)),
        port_mappings: port_mappings.collect(),
        labels: pod_labels(pod),
        annotations: pod
            .metadata
            .annotations
            .clone()
            .unwrap_or_default()
            .into_iter()
            .chain([(labels::CONFIG_SOURCE.to_owned(), "api".to_owned())])
            .collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(pod)),
                run_as_user: security.run_as_user.map(|value| v1::Int64Value { value }),
                run_as_group: security.run_as_group.map(|value| v1::Int64Value { value }),
                supplemental_groups: security
                    .supplemental_groups
                    .into_iter()
                    .flatten()
                    .chain(security.fs_group)
                    .collect(),
                privileged,
                seccomp: security.seccomp_profile.as_ref().map(seccomp),
                ..Default::default()
            }),
            sysctls: security.sysctls.into_iter().flatten().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
            ..Default::default()
        }),
        windows: None,
    }
}

/// A container's configuration, from what was prepared for it.
pub struct ContainerParts<'a> {
    /// Its pod.
    pub pod: &'a Pod,
    /// Its specification.
    pub container: &'a Container,
    /// How often it was started before.
    pub restart_count: u32,
    /// The image as the runtime named it when it was pulled.
    pub image_ref: String,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Its mounts.
    pub mounts: Vec<v1::Mount>,
    /// The node's memory, for the order in which the kernel would end processes.
    pub memory_capacity: i64,
}

/// The configuration of one container.
pub fn container_config(parts: ContainerParts<'_>) -> v1::ContainerConfig {
    let (pod, container) = (parts.pod, parts.container);
    let lookup =
        |name: &str| parts.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, lookup)).collect()
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: parts.restart_count }),
        image: Some(v1::ImageSpec {
            image: parts.image_ref,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: parts.environment.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: parts.mounts,
        labels: pod_labels(pod)
            .into_iter()
            .filter(|(key, _)| key.starts_with("io.kubernetes."))
            .chain([(labels::CONTAINER_NAME.to_owned(), container.name.clone())])
            .collect(),
        annotations: container_annotations(pod, container, parts.restart_count),
        log_path: format!("{}/{}.log", container.name, parts.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources(pod, container, parts.memory_capacity)),
            security_context: Some(security_context(pod, container)),
        }),
        ..Default::default()
    }
}

fn pod_labels(pod: &Pod) -> std::collections::HashMap<String, String> {
    let own = [(labels::POD_NAME, pod.name()), (labels::POD_NAMESPACE, pod.namespace()), (labels::POD_UID, pod.uid())];
    let users = pod.metadata.labels.clone().unwrap_or_default();
    users.into_iter().chain(own.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

fn container_annotations(
    pod: &Pod,
    container: &Container,
    restart_count: u32,
) -> std::collections::HashMap<String, String> {
    let message_path = container.termination_message_path.as_deref().unwrap_or(TERMINATION_MESSAGE_PATH);
    let mut annotations: std::collections::HashMap<String, String> = [
        (labels::CONTAINER_HASH, container_hash(container)),
        (labels::CONTAINER_RESTART_COUNT, restart_count.to_string()),
        (labels::CONTAINER_TERMINATION_MESSAGE_PATH, message_path.to_owned()),
        (
            labels::CONTAINER_TERMINATION_MESSAGE_POLICY,
            container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned()),
        ),
        (labels::POD_TERMINATION_GRACE_PERIOD, pod.termination_grace_seconds().to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Some(ports) = container.ports.as_ref().filter(|ports| !ports.is_empty())
        && let Ok(ports) = serde_json::to_string(ports)
    {
        annotations.insert(labels::CONTAINER_PORTS.to_owned(), ports);
    }
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        && let Ok(hook) = serde_json::to_string(hook)
    {
        annotations.insert(labels::CONTAINER_PRE_STOP_HANDLER.to_owned(), hook);
    }
    annotations
}

/// Where a container writes why it ended, when it does not say otherwise.
pub const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// What a pod calls itself.
pub fn hostname(pod: &Pod) -> String {
    let spec = pod.pod_spec();
    if let Some(name) = spec.and_then(|spec| spec.hostname_override.clone()).filter(|name| !name.is_empty()) {
        return name;
    }
    let name = spec.and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty()).unwrap_or(pod.name());
    // A host name has at most 63 characters and does not end in a hyphen or a dot.
    let cut = name.char_indices().nth(63).map_or(name, |(end, _)| &name[..end]);
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn dns_config(pod: &Pod, dns: &DnsSettings) -> v1::DnsConfig {
    let spec = pod.pod_spec();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let cluster_first = match policy {
        "ClusterFirst" => !pod.is_host_network(),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut config = match policy {
        "None" => v1::DnsConfig::default(),
        _ if cluster_first && !dns.servers.is_empty() => {
            let domain = &dns.domain;
            let searches = [format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.clone()];
            v1::DnsConfig {
                servers: dns.servers.iter().map(ToString::to_string).collect(),
                searches: searches.into_iter().chain(dns.host_searches.iter().cloned()).collect(),
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => v1::DnsConfig {
            servers: dns.host_servers.clone(),
            searches: dns.host_searches.clone(),
            options: Vec::new(),
        },
    };
    if let Some(extra) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        append_missing(&mut config.servers, extra.nameservers.iter().flatten().cloned());
        append_missing(&mut config.searches, extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let Some(name) = option.name.as_deref() else { continue };
            let of_that_name = |known: &String| known.split(':').next() == Some(name);
            config.options.retain(|known| !of_that_name(known));
            config.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.to_owned(),
            });
        }
    }
    config
}

fn append_missing(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

const CPU_PERIOD_MICROSECONDS: i64 = 100_000;

fn resources(pod: &Pod, container: &Container, memory_capacity: i64) -> v1::LinuxContainerResources {
    let resources = container.resources.clone().unwrap_or_default();
    let amount = |list: &Option<BTreeMap<String, Quantity>>, name: &str| {
        list.as_ref().and_then(|list| list.get(name)).and_then(quantity::milli).unwrap_or(0)
    };
    let cpu_limit = i64::try_from(amount(&resources.limits, "cpu")).unwrap_or(0);
    let cpu_request = i64::try_from(amount(&resources.requests, "cpu")).unwrap_or(0);
    let cpu_request = if cpu_request == 0 { cpu_limit } else { cpu_request };
    let memory_limit = i64::try_from(amount(&resources.limits, "memory") / 1_000).unwrap_or(i64::MAX);
    let quota = (cpu_limit.saturating_mul(CPU_PERIOD_MICROSECONDS) / 1_000).max(1_000);
    v1::LinuxContainerResources {
        cpu_period: if cpu_limit > 0 { CPU_PERIOD_MICROSECONDS } else { 0 },
        cpu_quota: if cpu_limit > 0 { quota } else { 0 },
        cpu_shares: (cpu_request.saturating_mul(1_024) / 1_000).clamp(2, 262_144),
        memory_limit_in_bytes: memory_limit,
        oom_score_adj: oom_score(pod, container, memory_capacity),
        ..Default::default()
    }
}

/// Who asks for much of the memory it is promised ends last.
fn oom_score(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    match crate::status::qos_class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1_000,
        _ => {
            let request = container
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.as_ref()?.get("memory"))
                .and_then(quantity::units)
                .unwrap_or(0);
            let share = i128::from(request) * 1_000 / i128::from(memory_capacity.max(1));
            (1_000 - i64::try_from(share).unwrap_or(0)).clamp(3, 999)
        }
    }
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|context| context.privileged).unwrap_or(false)
}

fn seccomp(profile: &SeccompProfile) -> v1::SecurityProfile {
    let (profile_type, localhost_ref) = match profile.type_.as_str() {
        "Localhost" => {
            (v1::security_profile::ProfileType::Localhost, profile.localhost_profile.clone().unwrap_or_default())
        }
        "Unconfined" => (v1::security_profile::ProfileType::Unconfined, String::new()),
        _ => (v1::security_profile::ProfileType::RuntimeDefault, String::new()),
    };
    v1::SecurityProfile { profile_type: profile_type as i32, localhost_ref }
}

fn security_context(pod: &Pod, container: &Container) -> v1::LinuxContainerSecurityContext {
    let of_pod = pod.pod_spec().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|Capabilities { add, drop }| v1::Capability {
            add_capabilities: add.unwrap_or_default(),
            drop_capabilities: drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged: own.privileged.unwrap_or(false),
        namespace_options: Some(namespaces(pod)),
        run_as_user: own.run_as_user.or(of_pod.run_as_user).map(|value| v1::Int64Value { value }),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(|value| v1::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: of_pod.supplemental_groups.into_iter().flatten().chain(of_pod.fs_group).collect(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: own.seccomp_profile.or(of_pod.seccomp_profile).as_ref().map(seccomp),
        ..Default::default()
    }
}

fn namespaces(pod: &Pod) -> v1::NamespaceOption {
    let spec = pod.pod_spec();
    let mode = |node: Option<bool>| {
        (if node.unwrap_or(false) { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod }) as i32
    };
    let pid = match spec {
        Some(spec) if spec.host_pid.unwrap_or(false) => v1::NamespaceMode::Node,
        Some(spec) if spec.share_process_namespace.unwrap_or(false) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: mode(spec.and_then(|spec| spec.host_network)),
        pid: pid as i32,
        ipc: mode(spec.and_then(|spec| spec.host_ipc)),
        ..Default::default()
    }
}
