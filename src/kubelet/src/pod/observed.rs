//! What the runtime has of one pod, as last seen.
//!
//! News comes from several sides at once: container events, answers to own calls, a full list after the runtime
//! restarted. They may overtake each other, so news is merged by progress: a container only goes forward from created
//! to running to exited, a sandbox only from ready to not ready, and stale news changes nothing.

use std::path::PathBuf;

use cri::{labels, v1};

/// How far a container has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The runtime does not know.
    Unknown,
    /// Made, not started.
    Created,
    /// Started.
    Running,
    /// Ended.
    Exited,
}

/// One container that the runtime has.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedContainer {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it is in.
    pub sandbox_id: String,
    /// Its name in the pod.
    pub name: String,
    /// How often the pod's container of that name was started before.
    pub restart_count: u32,
    /// The hash of the specification it was made from.
    pub hash: String,
    /// How far it has come.
    pub phase: Phase,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Nanoseconds since 1970; 0 when it was not started.
    pub started_at: i64,
    /// Nanoseconds since 1970; 0 when it has not ended.
    pub finished_at: i64,
    /// What it ended with.
    pub exit_code: i32,
    /// Why it ended, in a word: `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// What it or the runtime says to that.
    pub message: String,
    /// The image as the pod names it.
    pub image: String,
    /// The image as the runtime names it.
    pub image_id: String,
    /// Where its log is, absolute.
    pub log_path: PathBuf,
    /// The file of its termination message on this host.
    pub termination_file: Option<PathBuf>,
    /// A missing termination message is taken from the log.
    pub message_from_log: bool,
    /// The termination message was read into `message`.
    pub message_read: bool,
}

/// One sandbox that the runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSandbox {
    /// The runtime's id.
    pub id: String,
    /// The how-manieth sandbox of its pod it is.
    pub attempt: u32,
    /// Its address is up.
    pub ready: bool,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Its addresses; none for a pod that shares the node's.
    pub ips: Vec<String>,
}

/// All that the runtime has of one pod. Newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Its sandboxes.
    pub sandboxes: Vec<ObservedSandbox>,
    /// Its containers, of all its sandboxes.
    pub containers: Vec<ObservedContainer>,
}

impl ObservedContainer {
    /// What CRI tells of a container. `None` when it is not a pod's.
    pub fn from_cri(sandbox_id: &str, status: &v1::ContainerStatus) -> Option<Self> {
        let annotation = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or_default();
        let name = status
            .labels
            .get(labels::CONTAINER_NAME)
            .cloned()
            .or_else(|| status.metadata.as_ref().map(|metadata| metadata.name.clone()))?;
        let message_path = annotation(labels::CONTAINER_TERMINATION_MESSAGE_PATH);
        let termination_file = status
            .mounts
            .iter()
            .find(|mount| !message_path.is_empty() && mount.container_path == message_path)
            .map(|mount| PathBuf::from(&mount.host_path));
        let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
        Some(Self {
            id: status.id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            name,
            restart_count: annotation(labels::CONTAINER_RESTART_COUNT).parse().unwrap_or(attempt),
            hash: annotation(labels::CONTAINER_HASH).to_owned(),
            phase: match status.state() {
                v1::ContainerState::ContainerCreated => Phase::Created,
                v1::ContainerState::ContainerRunning => Phase::Running,
                v1::ContainerState::ContainerExited => Phase::Exited,
                v1::ContainerState::ContainerUnknown => Phase::Unknown,
            },
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            image: status
                .image
                .as_ref()
                .map(
                    |image| {
                        if image.user_specified_image.is_empty() { &image.image } else { &image.user_specified_image }
                    },
                )
                .cloned()
                .unwrap_or_default(),
            image_id: if status.image_ref.is_empty() { status.image_id.clone() } else { status.image_ref.clone() },
            log_path: PathBuf::from(&status.log_path),
            termination_file,
            message_from_log: annotation(labels::CONTAINER_TERMINATION_MESSAGE_POLICY) == "FallbackToLogsOnError",
            message_read: false,
        })
    }
}

impl ObservedSandbox {
    /// What CRI tells of a sandbox.
    pub fn from_cri(status: &v1::PodSandboxStatus) -> Self {
        let network = status.network.clone().unwrap_or_default();
        let ips = std::iter::once(network.ip)
            .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
            .filter(|ip| !ip.is_empty())
            .collect();
        Self {
            id: status.id.clone(),
            attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            ready: status.state() == v1::PodSandboxState::SandboxReady,
            created_at: status.created_at,
            ips,
        }
    }
}

impl Observed {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&ObservedSandbox> {
        self.sandboxes.first()
    }

    /// The newest container of that name in the newest sandbox.
    pub fn current(&self, name: &str) -> Option<&ObservedContainer> {
        let sandbox = self.sandbox()?;
        self.containers.iter().find(|container| container.name == name && container.sandbox_id == sandbox.id)
    }

    /// All containers of that name, newest first.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ObservedContainer> {
        self.containers.iter().filter(move |container| container.name == name)
    }

    /// The newest container of that name, in whichever sandbox.
    pub fn latest<'a>(&'a self, name: &'a str) -> Option<&'a ObservedContainer> {
        self.all(name).next()
    }

    /// Those that may still do something.
    pub fn alive(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter(|container| container.phase != Phase::Exited)
    }

    /// Merges what is told of one container. True when that was news.
    pub fn merge_container(&mut self, news: ObservedContainer) -> bool {
        match self.containers.iter_mut().find(|known| known.id == news.id) {
            Some(known) if known.phase >= news.phase => false,
            Some(known) => {
                let sandbox_id = std::mem::take(&mut known.sandbox_id);
                *known = news;
                if known.sandbox_id.is_empty() {
                    known.sandbox_id = sandbox_id;
                }
                true
            }
            None => {
                self.containers.push(news);
                self.containers
                    .sort_by_key(|container| std::cmp::Reverse((container.created_at, container.restart_count)));
                true
            }
        }
    }

    /// Merges what is told of one sandbox. True when that was news.
    pub fn merge_sandbox(&mut self, news: ObservedSandbox) -> bool {
        match self.sandboxes.iter_mut().find(|known| known.id == news.id) {
            Some(known) => {
                let changed = (known.ready && !news.ready) || (known.ips.is_empty() && !news.ips.is_empty());
                if changed {
                    *known = ObservedSandbox { ready: known.ready && news.ready, ..news };
                }
                changed
            }
            None => {
                self.sandboxes.push(news);
                self.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created_at)));
                true
            }
        }
    }

    /// Replaces everything by a full list, keeping what was read from disk.
    pub fn replace(&mut self, mut news: Observed) {
        for container in &mut news.containers {
            if let Some(known) = self.containers.iter().find(|known| known.id == container.id && known.message_read) {
                container.message = known.message.clone();
                container.message_read = true;
            }
        }
        news.containers.sort_by_key(|container| std::cmp::Reverse((container.created_at, container.restart_count)));
        news.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created_at)));
        *self = news;
    }

    /// Forgets a removed container.
    pub fn forget_container(&mut self, id: &str) {
        self.containers.retain(|container| container.id != id);
    }

    /// Forgets a removed sandbox and what was in it.
    pub fn forget_sandbox(&mut self, id: &str) {
        self.sandboxes.retain(|sandbox| sandbox.id != id);
        self.containers.retain(|container| container.sandbox_id != id);
    }

    /// Notes that a sandbox was stopped.
    pub fn mark_stopped(&mut self, id: &str) {
        if let Some(sandbox) = self.sandboxes.iter_mut().find(|sandbox| sandbox.id == id) {
            sandbox.ready = false;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn container(name: &str, sandbox: &str, restart_count: u32, phase: Phase) -> ObservedContainer {
        ObservedContainer {
            id: format!("{sandbox}-{name}-{restart_count}"),
            sandbox_id: sandbox.to_owned(),
            name: name.to_owned(),
            restart_count,
            hash: String::new(),
            phase,
            created_at: 1_000_000_000 * i64::from(restart_count + 1),
            started_at: 1_000_000_000 * i64::from(restart_count + 1),
            finished_at: if phase == Phase::Exited { 2_000_000_000 * i64::from(restart_count + 1) } else { 0 },
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: "image:1".to_owned(),
            image_id: "image@sha256:00".to_owned(),
            log_path: PathBuf::new(),
            termination_file: None,
            message_from_log: false,
            message_read: true,
        }
    }

    pub(crate) fn sandbox(id: &str, attempt: u32, ready: bool) -> ObservedSandbox {
        ObservedSandbox { id: id.to_owned(), attempt, ready, created_at: 0, ips: vec!["127.64.0.5".to_owned()] }
    }

    #[test]
    fn stale_news_changes_nothing() {
        let mut observed = Observed::default();
        assert!(observed.merge_container(container("a", "s", 0, Phase::Running)));
        assert!(!observed.merge_container(container("a", "s", 0, Phase::Created)));
        assert!(observed.merge_container(container("a", "s", 0, Phase::Exited)));
        assert!(!observed.merge_container(container("a", "s", 0, Phase::Running)));
        assert_eq!(observed.containers[0].phase, Phase::Exited);
        assert!(observed.merge_sandbox(sandbox("s", 0, true)));
        assert!(observed.merge_sandbox(sandbox("s", 0, false)));
        assert!(!observed.merge_sandbox(sandbox("s", 0, true)));
    }

    #[test]
    fn the_newest_container_comes_first() {
        let mut observed = Observed::default();
        observed.merge_sandbox(sandbox("s", 0, true));
        for restart in [1, 0, 2] {
            observed.merge_container(container("a", "s", restart, Phase::Exited));
        }
        assert_eq!(observed.latest("a").map(|container| container.restart_count), Some(2));
        assert_eq!(observed.current("a").map(|container| container.restart_count), Some(2));
        observed.merge_sandbox(sandbox("t", 1, true));
        assert_eq!(observed.current("a"), None, "a new sandbox has no containers yet");
    }
}
