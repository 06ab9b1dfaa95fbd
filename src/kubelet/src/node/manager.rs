//! Registers the node and reports its status when it changes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use component_base::Tasks;
use cri::v1;
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Node, NodeSpec, NodeSystemInfo},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{
    capacity::{self, Capacity},
    lease, status,
};
use crate::{context::Context, events::Severity, watching::Patience};

/// However quiet it is, the status is written that often.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// A runtime that is back within that time was never away.
const PATIENCE_WITH_RUNTIME: Duration = Duration::from_secs(10);

/// Whether the runtime is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuntimeLink {
    /// It answers.
    pub up: bool,
    /// How often it was connected; each time is another runtime.
    pub generation: u64,
}

/// Keeps the node.
pub struct NodeManager {
    context: Arc<Context>,
    capacity: Capacity,
    port: u16,
    link: watch::Receiver<RuntimeLink>,
    node: Option<Node>,
    info: NodeSystemInfo,
    /// What the runtime says is wrong with it.
    runtime_trouble: Option<String>,
    asked: u64,
    pod_cidr: Option<String>,
    down_since: Option<Instant>,
}

impl NodeManager {
    /// The kubelet serves at `port`, and `link` tells of the runtime.
    pub fn new(context: Arc<Context>, capacity: Capacity, port: u16, link: watch::Receiver<RuntimeLink>) -> Self {
        let info = capacity::system_info(&context.config.version, "");
        let down_since = Some(Instant::now());
        let runtime_trouble = Some("container runtime status check may not have completed yet".to_owned());
        Self { context, capacity, port, link, node: None, info, runtime_trouble, asked: 0, pod_cidr: None, down_since }
    }

    /// Keeps the node for ever.
    pub async fn run(mut self, tasks: Tasks) {
        self.ask_runtime().await;
        let mut patience = Patience::default();
        while let Err(error) = self.register().await {
            tracing::warn!(%error, "the node cannot be registered");
            tokio::time::sleep(patience.next().unwrap_or(REPORT_EVERY)).await;
        }
        let config = &self.context.config;
        let leasing =
            lease::keep(config.client.clone(), config.clock.clone(), config.node_name.clone(), self.node.clone());
        tasks.spawn("node-lease", leasing);
        self.context.recorder.node(self.node.as_ref(), Severity::Normal, "Starting", "Starting kubelet.");
        let api: Api<Node> = Api::all(config.client.clone());
        let own = watcher::Config::default().fields(&format!("metadata.name={}", config.node_name));
        let mut events = watcher(api, own).backoff(Patience::default()).boxed();
        let mut report_at = Instant::now() + REPORT_EVERY;
        loop {
            let heartbeat = report_at <= Instant::now();
            self.tell_pod_cidr().await;
            if self.asked != self.link.borrow().generation {
                self.ask_runtime().await;
            }
            let mut look_at = report_at;
            match self.report(heartbeat).await {
                Ok(()) if heartbeat => {
                    report_at = Instant::now() + REPORT_EVERY;
                    look_at = report_at;
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "the node's status cannot be written");
                    look_at = Instant::now() + Duration::from_secs(1);
                }
            }
            if let Some(since) = self.down_since {
                let verdict_at = since + PATIENCE_WITH_RUNTIME;
                if verdict_at > Instant::now() {
                    look_at = look_at.min(verdict_at);
                }
            }
            tokio::select! {
                Some(event) = events.next() => match event {
                    Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => self.node = Some(node),
                    Ok(watcher::Event::Delete(_)) => {
                        // Somebody deleted it, but it is here.
                        self.node = None;
                        if let Err(error) = self.register().await {
                            tracing::warn!(%error, "the node cannot be registered again");
                        }
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "the node cannot be watched"),
                },
                Ok(()) = self.link.changed() => {
                    let up = self.link.borrow_and_update().up;
                    self.down_since = if up { None } else { self.down_since.or(Some(Instant::now())) };
                }
                () = tokio::time::sleep_until(look_at) => {}
            }
        }
    }

    /// Makes the node, or takes over the one that is there.
    async fn register(&mut self) -> Result<(), kube::Error> {
        let config = &self.context.config;
        let api: Api<Node> = Api::all(config.client.clone());
        let labels = self.labels();
        let wanted = Node {
            metadata: ObjectMeta {
                name: Some(config.node_name.clone()),
                labels: Some(labels.clone()),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                taints: Some(config.taints.clone()).filter(|taints| !taints.is_empty()),
                ..Default::default()
            }),
            status: Some(self.present_status()),
        };
        let node = match api.create(&PostParams::default(), &wanted).await {
            Ok(node) => {
                tracing::info!(node = config.node_name, "the node is registered");
                node
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = json!({"metadata": {"labels": labels}});
                api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(&patch)).await?
            }
            Err(error) => return Err(error),
        };
        self.node = Some(node);
        Ok(())
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let arch = capacity::architecture();
        let own = [
            ("beta.kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("kubernetes.io/hostname", &self.context.config.node_name),
            ("kubernetes.io/os", "linux"),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        own.into_iter().chain(self.context.config.labels.clone()).collect()
    }

    fn present_status(&self) -> k8s_openapi::api::core::v1::NodeStatus {
        let config = &self.context.config;
        let down = self.down_since.is_some_and(|since| since.elapsed() >= PATIENCE_WITH_RUNTIME);
        let not_ready = if down { Some("container runtime is down".to_owned()) } else { self.runtime_trouble.clone() };
        status::generate(
            self.node.as_ref(),
            &status::Facts {
                capacity: &self.capacity,
                info: &self.info,
                address: config.node_ip.to_string(),
                hostname: &config.node_name,
                port: self.port,
                not_ready,
                now: config.clock.now(),
            },
        )
    }

    async fn report(&mut self, heartbeat: bool) -> Result<(), kube::Error> {
        let Some(node) = &self.node else { return Ok(()) };
        let wanted = self.present_status();
        let Some(patch) = status::patch(node, &wanted, heartbeat) else { return Ok(()) };
        let was_ready = is_ready(node.status.as_ref());
        let api: Api<Node> = Api::all(self.context.config.client.clone());
        let name = &self.context.config.node_name;
        let node = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
        let ready = is_ready(node.status.as_ref());
        if ready != was_ready {
            let (reason, what) = if ready { ("NodeReady", "NodeReady") } else { ("NodeNotReady", "NodeNotReady") };
            let message = format!("Node {name} status is now: {what}");
            self.context.recorder.node(Some(&node), Severity::Normal, reason, message);
        }
        self.node = Some(node);
        Ok(())
    }

    /// Asks the runtime who it is and how it is.
    async fn ask_runtime(&mut self) {
        let link = *self.link.borrow();
        if !link.up {
            return;
        }
        self.asked = link.generation;
        let mut runtime = self.context.cri.runtime.clone();
        let version = runtime.version(v1::VersionRequest { version: "v1".to_owned() }).await;
        if let Ok(version) = version {
            let version = version.into_inner();
            self.info.container_runtime_version = format!("{}://{}", version.runtime_name, version.runtime_version);
            self.context.runtime_name.store(Arc::new(version.runtime_name));
        }
        // The address range of its pods, before it is asked whether its network is ready.
        self.pod_cidr = None;
        self.tell_pod_cidr().await;
        self.ask_condition().await;
        self.down_since = None;
    }

    async fn ask_condition(&mut self) {
        let status = self.context.cri.runtime.clone().status(v1::StatusRequest { verbose: false }).await;
        self.runtime_trouble = match status {
            Ok(status) => trouble(&status.into_inner().status.unwrap_or_default()),
            Err(status) => Some(format!("container runtime status check failed: {}", status.message())),
        };
    }

    async fn tell_pod_cidr(&mut self) {
        let cidr = self.node.as_ref().and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
        if cidr.is_none() || cidr == self.pod_cidr || !self.link.borrow().up {
            return;
        }
        let network_config = v1::NetworkConfig { pod_cidr: cidr.clone().unwrap_or_default() };
        let runtime_config = Some(v1::RuntimeConfig { network_config: Some(network_config) });
        let request = v1::UpdateRuntimeConfigRequest { runtime_config };
        match self.context.cri.runtime.clone().update_runtime_config(request).await {
            Ok(_) => {
                self.pod_cidr = cidr;
                self.ask_condition().await;
            }
            Err(status) => tracing::warn!(%status, "the runtime cannot be told its address range"),
        }
    }
}

fn is_ready(status: Option<&k8s_openapi::api::core::v1::NodeStatus>) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What a kubelet says of a runtime that is not ready.
fn trouble(status: &v1::RuntimeStatus) -> Option<String> {
    let mut found = Vec::new();
    for (name, what) in
        [("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready")]
    {
        match status.conditions.iter().find(|condition| condition.r#type == name) {
            Some(condition) if condition.status => {}
            Some(condition) => {
                found.push(format!("{what}: {name}=false reason:{} message:{}", condition.reason, condition.message))
            }
            None => found.push(format!("{what}: {name} is not set")),
        }
    }
    match found.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}
