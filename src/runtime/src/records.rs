//! What of sandboxes and containers survives this process.
//!
//! ```text
//!   ROOT/sandboxes/SANDBOX/sandbox.json          made with the sandbox
//!                         /stopped               made when it is stopped
//!                         /CONTAINER.json        made with the container
//!                         /CONTAINER.started     when it was started
//!                         /CONTAINER.exit        how it ended
//!                         /CONTAINER/            the guest's own files, if it has any
//! ```
//!
//! Every file is written once and never changed, so a killed process leaves at most one that is not whole: that of a
//! call which was not answered. Nothing waits for the disk: what a power cut takes is a pod that would have to be
//! started again anyway.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use cri::v1;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::format::{FolderError, io_error};

/// A sandbox as it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub config: v1::PodSandboxConfig,
    /// As asked for.
    pub runtime_handler: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Its address.
    pub ip: std::net::IpAddr,
}

/// A container as it was made: what its status tells, not what its guest needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its id.
    pub id: String,
    /// Name and attempt.
    pub metadata: v1::ContainerMetadata,
    /// The image as it was asked for.
    pub image: v1::ImageSpec,
    /// The image by its digest, with the repository where there is one.
    pub image_ref: String,
    /// The image's id.
    pub image_id: String,
    /// Labels.
    pub labels: std::collections::HashMap<String, String>,
    /// Annotations.
    pub annotations: std::collections::HashMap<String, String>,
    /// Mounts.
    pub mounts: Vec<v1::Mount>,
    /// The log's path on this host; empty for none.
    pub log_path: String,
    /// What it may use.
    pub resources: Option<v1::LinuxContainerResources>,
    /// Nanoseconds since 1970.
    pub created_at: i64,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// As of a process.
    pub code: i32,
    /// In a word.
    pub reason: String,
    /// In a line.
    pub message: String,
    /// Nanoseconds since 1970.
    pub at: i64,
}

/// One sandbox that an earlier process left.
#[derive(Debug)]
pub struct Found {
    /// The sandbox.
    pub sandbox: SandboxRecord,
    /// Whether it was stopped.
    pub stopped: bool,
    /// Its containers that were started.
    pub containers: Vec<FoundContainer>,
}

/// One container that an earlier process started.
#[derive(Debug)]
pub struct FoundContainer {
    /// The container.
    pub record: ContainerRecord,
    /// When it was started.
    pub started_at: i64,
    /// How it ended; `None` when the process ended before it.
    pub exit: Option<ExitRecord>,
}

/// The records.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
}

type Outcome = Result<(), FolderError>;

impl Records {
    /// The records below `root`.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let folder = root.join("sandboxes");
        fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        Ok(Self { folder })
    }

    /// Everything an earlier process left. What is not whole, and containers that were never started, are removed.
    ///
    /// # Errors
    /// When the folder cannot be read or tidied.
    pub fn read(&self) -> Result<Vec<Found>, FolderError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(io_error("read", &self.folder))? {
            let folder = entry.map_err(io_error("read", &self.folder))?.path();
            let sandbox: Option<SandboxRecord> = whole(&folder.join("sandbox.json"))?;
            match sandbox.filter(|sandbox| folder.ends_with(&sandbox.id)) {
                Some(sandbox) => {
                    let stopped = folder.join("stopped").exists();
                    found.push(Found { sandbox, stopped, containers: read_containers(&folder)? });
                }
                None => {
                    tracing::warn!(folder = %folder.display(), "a sandbox's record is not whole; it is removed");
                    remove_any(&folder)?;
                }
            }
        }
        Ok(found)
    }

    /// Where a container's own files are.
    pub fn container_folder(&self, sandbox: &str, container: &str) -> PathBuf {
        self.folder.join(sandbox).join(container)
    }

    /// The folder of all sandboxes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A sandbox was made.
    pub fn sandbox_made(&self, record: &SandboxRecord) -> Outcome {
        let folder = self.folder.join(&record.id);
        fs::create_dir(&folder).map_err(io_error("create", &folder))?;
        let written = write(&folder.join("sandbox.json"), record);
        if written.is_err() {
            // It is the first error that is told.
            let _ = fs::remove_dir_all(&folder);
        }
        written
    }

    /// A sandbox was stopped.
    pub fn sandbox_stopped(&self, sandbox: &str) -> Outcome {
        let path = self.folder.join(sandbox).join("stopped");
        File::create(&path).map(|_| ()).map_err(io_error("create", &path))
    }

    /// A sandbox, with all that is in it, is gone.
    pub fn sandbox_removed(&self, sandbox: &str) -> Outcome {
        remove_any(&self.folder.join(sandbox))
    }

    /// A container was made.
    pub fn container_made(&self, sandbox: &str, record: &ContainerRecord) -> Outcome {
        write(&self.file(sandbox, &record.id, "json"), record)
    }

    /// A container is about to be started.
    pub fn container_starts(&self, sandbox: &str, container: &str, at: i64) -> Outcome {
        write(&self.file(sandbox, container, "started"), &at)
    }

    /// It could not be started after all.
    pub fn container_did_not_start(&self, sandbox: &str, container: &str) -> Outcome {
        remove_any(&self.file(sandbox, container, "started"))
    }

    /// A container ended.
    pub fn container_ended(&self, sandbox: &str, container: &str, exit: &ExitRecord) -> Outcome {
        write(&self.file(sandbox, container, "exit"), exit)
    }

    /// A container is gone. Its record goes last: with it everything else is found again.
    pub fn container_removed(&self, sandbox: &str, container: &str) -> Outcome {
        remove_any(&self.container_folder(sandbox, container))?;
        ["exit", "started", "json"].iter().try_for_each(|end| remove_any(&self.file(sandbox, container, end)))
    }

    fn file(&self, sandbox: &str, container: &str, end: &str) -> PathBuf {
        self.folder.join(sandbox).join(format!("{container}.{end}"))
    }
}

fn read_containers(folder: &Path) -> Result<Vec<FoundContainer>, FolderError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error("read", folder))? {
        let path = entry.map_err(io_error("read", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = match name.split_once('.') {
            // A container's own folder without a record, from a call that was not answered.
            None if path.is_dir() && !folder.join(format!("{name}.json")).exists() => {
                remove_any(&path)?;
                continue;
            }
            Some((id, "json")) if id != "sandbox" => id.to_owned(),
            _other => continue,
        };
        let file = |end: &str| folder.join(format!("{id}.{end}"));
        match (whole::<ContainerRecord>(&path)?, whole::<i64>(&file("started"))?) {
            (Some(record), Some(started_at)) => {
                found.push(FoundContainer { record, started_at, exit: whole(&file("exit"))? });
            }
            // Not started: whoever made it makes another.
            _never_ran => {
                for path in [folder.join(&id), file("exit"), file("started"), path.clone()] {
                    remove_any(&path)?;
                }
            }
        }
    }
    Ok(found)
}

fn write(path: &Path, record: &impl Serialize) -> Outcome {
    let text = serde_json::to_vec(record).expect("plain data always encodes");
    fs::write(path, text).map_err(|error| {
        // A part of a record is none; that it cannot be removed either is said by the next start.
        let _ = fs::remove_file(path);
        io_error("write", path)(error)
    })
}

/// The record at `path`, if it is there and whole.
fn whole<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Removes a file or folder; one that is not there is removed already.
fn remove_any(path: &Path) -> Outcome {
    let removed = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _gone => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(id: &str) -> SandboxRecord {
        SandboxRecord {
            id: id.to_owned(),
            config: v1::PodSandboxConfig { hostname: "pod".to_owned(), ..v1::PodSandboxConfig::default() },
            runtime_handler: String::new(),
            created_at: 1,
            ip: "127.64.0.2".parse().expect("an address"),
        }
    }

    fn container(id: &str) -> ContainerRecord {
        ContainerRecord {
            id: id.to_owned(),
            metadata: v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 },
            image: v1::ImageSpec::default(),
            image_ref: String::new(),
            image_id: String::new(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            annotations: [].into(),
            mounts: Vec::new(),
            log_path: String::new(),
            resources: None,
            created_at: 2,
        }
    }

    #[test]
    fn what_was_started_is_found_again_and_what_was_not_is_gone() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let records = Records::open(root.path()).expect("records");
        records.sandbox_made(&sandbox("s")).expect("recorded");
        for id in ["ran", "ended", "waits"] {
            records.container_made("s", &container(id)).expect("recorded");
            fs::create_dir_all(records.container_folder("s", id).join("root")).expect("a folder");
        }
        let exit = ExitRecord { code: 3, reason: "Error".to_owned(), message: String::new(), at: 9 };
        records.container_starts("s", "ran", 5).expect("recorded");
        records.container_starts("s", "ended", 6).expect("recorded");
        records.container_ended("s", "ended", &exit).expect("recorded");
        fs::create_dir_all(records.container_folder("s", "unknown")).expect("a folder");
        let found = Records::open(root.path()).and_then(|records| records.read()).expect("read");
        let [found] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((&found.sandbox, found.stopped), (&sandbox("s"), false));
        let mut containers: Vec<_> = found.containers.iter().map(|c| (c.record.id.as_str(), &c.exit)).collect();
        containers.sort_unstable_by_key(|(id, _)| *id);
        assert_eq!(containers, [("ended", &Some(exit)), ("ran", &None)]);
        assert!(!records.container_folder("s", "waits").exists());
        assert!(!records.container_folder("s", "unknown").exists());
        records.container_removed("s", "ran").expect("removed");
        records.sandbox_stopped("s").expect("recorded");
        let found = records.read().expect("read");
        assert!(found[0].stopped && found[0].containers.len() == 1);
        records.sandbox_removed("s").expect("removed");
        records.sandbox_removed("s").expect("removed already");
        assert!(records.read().expect("read").is_empty());
    }

    #[test]
    fn torn_records_are_removed() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let records = Records::open(root.path()).expect("records");
        records.sandbox_made(&sandbox("torn")).expect("recorded");
        fs::write(records.folder().join("torn/sandbox.json"), "{\"id\":").expect("written");
        records.sandbox_made(&sandbox("kept")).expect("recorded");
        fs::write(records.folder().join("kept/c.json"), "").expect("written");
        let found = records.read().expect("read");
        assert!(found.len() == 1 && found[0].sandbox.id == "kept" && found[0].containers.is_empty());
        assert!(!records.folder().join("torn").exists() && !records.folder().join("kept/c.json").exists());
    }
}
