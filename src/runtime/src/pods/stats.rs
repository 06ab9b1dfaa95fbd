//! What running containers use, in CRI's words.

use cri::v1;
use runtime_wasm::Stats;
use tonic::Status;

use super::{Container, Life, Pods, Sandbox, containers::running, filter};

impl Pods {
    /// What one container uses.
    ///
    /// # Errors
    /// When there is none of that id, or it does not run.
    pub fn container_stats(&self, id: &str) -> Result<v1::ContainerStats, Status> {
        let container = self.container(id)?;
        let stats = running(&container)?.stats();
        Ok(self.describe(&container, stats))
    }

    /// What all running containers use that the filter lets through.
    pub fn list_container_stats(&self, filter: &v1::ContainerStatsFilter) -> Vec<v1::ContainerStats> {
        let containers: Vec<_> = {
            let table = self.table.lock();
            let of_pods = table.candidates(Some(&filter.label_selector)).flat_map(|pod| pod.containers.clone());
            of_pods
                .filter(|container| {
                    filter::id_matches(&filter.id, container.id())
                        && filter::id_matches(&filter.pod_sandbox_id, container.sandbox.id())
                        && filter::labels_match(&filter.label_selector, &container.record.labels)
                })
                .collect()
        };
        containers.iter().filter_map(|container| self.stats_if_running(container)).collect()
    }

    /// What the containers of one sandbox use together.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn sandbox_stats(&self, id: &str) -> Result<v1::PodSandboxStats, Status> {
        self.sandbox(id).map(|sandbox| self.sum(&sandbox))
    }

    /// The same of all ready sandboxes that the filter lets through.
    pub fn list_sandbox_stats(&self, filter: &v1::PodSandboxStatsFilter) -> Vec<v1::PodSandboxStats> {
        let sandboxes: Vec<_> = {
            let table = self.table.lock();
            let sandboxes = table.candidates(Some(&filter.label_selector)).map(|pod| pod.sandbox.clone());
            sandboxes
                .filter(|sandbox| {
                    sandbox.is_ready()
                        && filter::id_matches(&filter.id, sandbox.id())
                        && filter::labels_match(&filter.label_selector, &sandbox.record.config.labels)
                })
                .collect()
        };
        sandboxes.iter().map(|sandbox| self.sum(sandbox)).collect()
    }

    fn stats_if_running(&self, container: &Container) -> Option<v1::ContainerStats> {
        let stats = match &*container.life.lock() {
            Life::Running { guest, .. } => guest.stats(),
            Life::Created(_) | Life::Exited { .. } => return None,
        };
        Some(self.describe(container, stats))
    }

    fn describe(&self, container: &Container, stats: Stats) -> v1::ContainerStats {
        let now = self.now();
        let last = container.sample.lock().replace((now, stats.cpu_ns));
        let rate = last.and_then(|last| rate(last, (now, stats.cpu_ns)));
        let limit = container.resources.lock().as_ref().map_or(0, |resources| resources.memory_limit_in_bytes);
        let limit = u64::try_from(limit).ok().filter(|limit| *limit > 0);
        let record = &container.record;
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: record.id.clone(),
                metadata: Some(record.metadata.clone()),
                labels: record.labels.clone(),
                annotations: record.annotations.clone(),
            }),
            cpu: Some(v1::CpuUsage {
                timestamp: now,
                usage_core_nano_seconds: number(stats.cpu_ns),
                usage_nano_cores: rate.and_then(number),
            }),
            memory: Some(v1::MemoryUsage {
                timestamp: now,
                working_set_bytes: number(stats.memory_bytes),
                usage_bytes: number(stats.memory_bytes),
                rss_bytes: number(stats.memory_bytes),
                available_bytes: limit.and_then(|limit| number(limit.saturating_sub(stats.memory_bytes))),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn sum(&self, sandbox: &Sandbox) -> v1::PodSandboxStats {
        let containers: Vec<_> =
            self.containers_in(sandbox).iter().filter_map(|container| self.stats_if_running(container)).collect();
        let add = |of: fn(&v1::ContainerStats) -> Option<u64>| number(containers.iter().filter_map(of).sum());
        let cpu = v1::CpuUsage {
            timestamp: self.now(),
            usage_core_nano_seconds: add(|stats| Some(stats.cpu.as_ref()?.usage_core_nano_seconds?.value)),
            usage_nano_cores: add(|stats| Some(stats.cpu.as_ref()?.usage_nano_cores?.value)),
        };
        let memory = add(|stats| Some(stats.memory.as_ref()?.working_set_bytes?.value));
        let memory = v1::MemoryUsage {
            timestamp: self.now(),
            working_set_bytes: memory,
            usage_bytes: memory,
            rss_bytes: memory,
            ..Default::default()
        };
        let config = &sandbox.record.config;
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes {
                id: sandbox.id().to_owned(),
                metadata: config.metadata.clone(),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
            }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: Some(cpu),
                memory: Some(memory),
                containers,
                ..Default::default()
            }),
            windows: None,
        }
    }
}

fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

/// Nanoseconds of a core a second, between two measurements that are apart.
fn rate(before: (i64, u64), now: (i64, u64)) -> Option<u64> {
    let elapsed = u64::try_from(now.0 - before.0).ok().filter(|elapsed| *elapsed > 0)?;
    let used = u128::from(now.1.saturating_sub(before.1));
    u64::try_from(used * 1_000_000_000 / u128::from(elapsed)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_a_second() {
        assert_eq!(rate((0, 0), (2_000_000_000, 1_000_000_000)), Some(500_000_000));
        assert_eq!(rate((5, 9), (5, 10)), None);
    }
}
