//! `/stats/summary`: what pods and the node use.

use std::collections::HashMap;

use cri::{labels, v1};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{context::Context, pod::traits::PodExt, pods::Pods, status::seconds};

/// What pods and the node use, as a kubelet tells it.
pub(super) async fn summary(context: &Context, pods: &Pods) -> Result<Value, tonic::Status> {
    let stats =
        context.cri.runtime.clone().list_container_stats(v1::ListContainerStatsRequest { filter: None }).await?;
    let mut by_pod: HashMap<String, Vec<v1::ContainerStats>> = HashMap::new();
    for stats in stats.into_inner().stats {
        let uid = stats.attributes.as_ref().and_then(|attributes| attributes.labels.get(labels::POD_UID)).cloned();
        by_pod.entry(uid.unwrap_or_default()).or_default().push(stats);
    }
    let now = context.config.clock.now();
    let mut shown = Vec::new();
    for snapshot in pods.all() {
        let pod = &snapshot.pod;
        let containers = by_pod.remove(pod.uid()).unwrap_or_default();
        let start = pod.status.as_ref().and_then(|status| status.start_time.clone());
        shown.push(json!({
            "podRef": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
            "startTime": start,
            "cpu": sum(now, &containers, cpu),
            "memory": sum(now, &containers, memory),
            "containers": containers.iter().map(|stats| {
                let id = stats.attributes.as_ref().map(|attributes| attributes.id.as_str()).unwrap_or_default();
                let record = snapshot.observed.containers.iter().find(|container| container.id == id);
                json!({
                    "name": record.map(|record| record.name.clone()),
                    "startTime": record.and_then(|record| seconds(record.started_at)),
                    "cpu": dated(now, cpu(stats)),
                    "memory": dated(now, memory(stats)),
                })
            }).collect::<Vec<_>>(),
        }));
    }
    Ok(json!({"node": node(context, now), "pods": shown}))
}

type Figures = Vec<(&'static str, u64)>;

fn cpu(stats: &v1::ContainerStats) -> Figures {
    let cpu = stats.cpu.unwrap_or_default();
    let figures = [("usageNanoCores", cpu.usage_nano_cores), ("usageCoreNanoSeconds", cpu.usage_core_nano_seconds)];
    present(figures)
}

fn memory(stats: &v1::ContainerStats) -> Figures {
    let memory = stats.memory.unwrap_or_default();
    present([
        ("usageBytes", memory.usage_bytes),
        ("workingSetBytes", memory.working_set_bytes),
        ("rssBytes", memory.rss_bytes),
    ])
}

fn present<const N: usize>(figures: [(&'static str, Option<v1::UInt64Value>); N]) -> Figures {
    figures.into_iter().filter_map(|(name, value)| Some((name, value?.value))).collect()
}

fn dated(now: Timestamp, figures: Figures) -> Value {
    let mut shown = json!({"time": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    for (name, value) in figures {
        shown[name] = json!(value);
    }
    shown
}

fn sum(now: Timestamp, containers: &[v1::ContainerStats], of: fn(&v1::ContainerStats) -> Figures) -> Value {
    let mut total: Figures = Vec::new();
    for (name, value) in containers.iter().flat_map(of) {
        match total.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value,
            None => total.push((name, value)),
        }
    }
    dated(now, total)
}

fn node(context: &Context, now: Timestamp) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    let kibibytes = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()
    };
    let available = kibibytes("MemAvailable").unwrap_or(0) * 1024;
    let used = (kibibytes("MemTotal").unwrap_or(0) * 1024).saturating_sub(available);
    // Jiffies of 10 ms: user, nice, system, and so on; the fourth and fifth are idle.
    let stat = read("/proc/stat");
    let jiffies = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).enumerate();
    let busy: u64 = jiffies
        .filter(|(place, _)| ![3, 4, 8, 9].contains(place))
        .filter_map(|(_, text)| text.parse::<u64>().ok())
        .sum();
    let memory = vec![("availableBytes", available), ("usageBytes", used), ("workingSetBytes", used)];
    json!({
        "nodeName": context.config.node_name,
        "cpu": dated(now, vec![("usageCoreNanoSeconds", busy.saturating_mul(10_000_000))]),
        "memory": dated(now, memory),
    })
}
