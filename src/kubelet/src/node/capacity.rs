//! What the node has, as the operating system tells.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::{api::core::v1::NodeSystemInfo, apimachinery::pkg::api::resource::Quantity};

/// As a kubelet keeps free of memory, so that the node stays usable.
const MEMORY_RESERVED: u64 = 100 << 20;

/// What the node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Processors.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// Bytes of the file system of the kubelet's folder.
    pub storage: u64,
    /// Pods.
    pub pods: u32,
}

impl Capacity {
    /// What this machine has, and what a control group leaves of it.
    pub fn read(root: &Path, pods: u32) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total(&text)).unwrap_or(0);
        let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
        let storage = rustix::fs::statvfs(root).map_or(0, |fs| fs.f_blocks.saturating_mul(fs.f_frsize));
        Self { cpus, memory: limit.map_or(total, |limit| limit.min(total)), storage, pods }
    }

    /// As the node's status shows it.
    pub fn capacity(&self) -> BTreeMap<String, Quantity> {
        self.list(self.memory, self.storage)
    }

    /// What pods may use of it.
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.list(self.memory.saturating_sub(MEMORY_RESERVED), self.storage / 10 * 9)
    }

    fn list(&self, memory: u64, storage: u64) -> BTreeMap<String, Quantity> {
        [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{}Ki", memory / 1024)),
            ("ephemeral-storage", format!("{}Ki", storage / 1024)),
            ("pods", self.pods.to_string()),
        ]
        .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
        .into()
    }
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What the node is.
pub(super) fn system_info(version: &str, runtime: &str) -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let machine_id = [read("/etc/machine-id"), read("/var/lib/dbus/machine-id")];
    let machine_id = machine_id.into_iter().find(|id| !id.is_empty()).unwrap_or_default();
    // Only root may read it; the machine's id stands in.
    let system_uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|id| !id.is_empty());
    let os_image = read("/etc/os-release")
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned());
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime.to_owned(),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: version.to_owned(),
        system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: os_image.unwrap_or_else(|| "Linux".to_owned()),
        swap: None,
    }
}

/// As Go names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernel() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16384 * 1024));
        assert_eq!(memory_total("nothing"), None);
        let here = Capacity::read(Path::new("/"), 7);
        assert!(here.cpus > 0 && here.memory > 0 && here.storage > 0);
        assert_eq!(here.capacity()["pods"].0, "7");
    }
}
