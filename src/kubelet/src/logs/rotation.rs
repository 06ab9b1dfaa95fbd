//! Keeping logs small: a file that has grown too large gets another name, and the runtime opens a new one.
//!
//! Nobody asks silent containers for the size of their logs. A write to a watched log wakes this once; ten seconds
//! later it looks at the size, and only then watches again. A chatty container thus costs a look every ten seconds, and
//! a silent one nothing.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use component_base::SharedClock;
use cri::v1;
use parking_lot::Mutex;
use rustix::fs::inotify::{self, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::fs_watch;

const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Keeps the logs of this node's containers small.
#[derive(Clone)]
pub struct Rotation(Arc<Inner>);

struct Inner {
    instance: AsyncFd<OwnedFd>,
    armed: Mutex<HashMap<i32, Log>>,
    cri: cri::Clients,
    clock: SharedClock,
    bytes_max: u64,
    files_max: usize,
}

#[derive(Debug, Clone)]
struct Log {
    container_id: String,
    path: PathBuf,
}

impl Rotation {
    /// Rotates files of more than `bytes_max` bytes, and keeps `files_max` of a container.
    pub fn new(cri: cri::Clients, clock: SharedClock, bytes_max: u64, files_max: usize) -> io::Result<Self> {
        let instance = fs_watch::open()?;
        Ok(Self(Arc::new(Inner { instance, armed: Mutex::default(), cri, clock, bytes_max, files_max })))
    }

    /// Watches the log of a container that runs.
    pub fn watch(&self, container_id: &str, path: &Path) {
        let log = Log { container_id: container_id.to_owned(), path: path.to_owned() };
        let mut armed = self.0.armed.lock();
        // A log that is gone, or never was, needs no rotation.
        if let Ok(id) = inotify::add_watch(&self.0.instance, path, WatchFlags::MODIFY | WatchFlags::ONESHOT) {
            armed.insert(id, log);
        }
    }

    /// Rotates until it is dropped.
    pub async fn run(self) {
        let outcome = fs_watch::read(&self.0.instance, |id| {
            // The second event of a watch says that the first one ended it.
            let Some(log) = self.0.armed.lock().remove(&id) else { return };
            let rotation = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LOOK_AFTER).await;
                if let Err(error) = rotation.look(&log).await {
                    tracing::warn!(%error, path = %log.path.display(), "a log cannot be rotated");
                }
                rotation.watch(&log.container_id, &log.path);
            });
        });
        if let Err(error) = outcome.await {
            tracing::error!(%error, "log changes cannot be read");
        }
    }

    async fn look(&self, log: &Log) -> io::Result<()> {
        match tokio::fs::metadata(&log.path).await {
            Ok(metadata) if metadata.len() > self.0.bytes_max => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let stamp = self.0.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
        let rotated = PathBuf::from(format!("{}.{stamp}", log.path.display()));
        tokio::fs::rename(&log.path, &rotated).await?;
        let request = v1::ReopenContainerLogRequest { container_id: log.container_id.clone() };
        if let Err(status) = self.0.cri.runtime.clone().reopen_container_log(request).await {
            // It goes on writing to the old file, which therefore keeps its name.
            tokio::fs::rename(&rotated, &log.path).await?;
            return Err(io::Error::other(status.message().to_owned()));
        }
        let mut old = rotated_files(&log.path)?;
        old.sort();
        let excess = (old.len() + 1).saturating_sub(self.0.files_max);
        for path in &old[..excess.min(old.len())] {
            tokio::fs::remove_file(path).await?;
        }
        Ok(())
    }

    /// Removes a log and what was rotated out of it.
    pub async fn remove(&self, path: &Path) {
        for path in rotated_files(path).unwrap_or_default().iter().map(PathBuf::as_path).chain([path]) {
            // What is not there need not be removed.
            let _ = tokio::fs::remove_file(path).await;
        }
    }
}

/// `0.log.20261124-023000` and its kin.
fn rotated_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
