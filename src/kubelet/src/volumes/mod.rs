//! A pod's volumes as folders of this host, which become the preopened folders of its guests.
//!
//! ```text
//!   <root>/pods/<uid>/volumes/kubernetes.io~configmap/<name>/..data -> ..2026_11_24_…/
//! ```
//!
//! Preparing a volume is idempotent: a restarted kubelet prepares all volumes of a running pod again, and what is
//! right already is left alone. ConfigMaps, Secrets, projections and the downward API are written atomically, so that
//! a guest sees either all old files or all new ones.

mod atomic_writer;
mod mounts;
mod payload;
mod tokens;

use std::{
    collections::BTreeMap,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume};

pub use mounts::mounts;
pub use tokens::Tokens;

use crate::pod::{config::pod_directory, fields::NodeFacts, objects::PodObjects, traits::PodExt};
use payload::{Payload, PayloadError};

/// Where a volume is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostVolume {
    /// Its folder, or the file of a hostPath.
    pub path: PathBuf,
    /// Nobody may write to it through a mount.
    pub read_only: bool,
}

/// The volumes of a pod.
#[derive(Debug, Clone, Default)]
pub struct PodVolumes {
    /// By name.
    pub volumes: BTreeMap<String, HostVolume>,
    /// When a token in them is to be renewed.
    pub renew_at: Option<Timestamp>,
}

/// Why a volume cannot be mounted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {why}")]
pub struct VolumeError {
    /// The volume's name.
    pub volume: String,
    /// What is wrong, for a person.
    pub why: String,
}

/// Prepares all volumes of `pod`.
///
/// # Errors
/// The first volume that cannot be prepared, by name.
pub async fn prepare(
    root: &Path,
    pod: &Arc<Pod>,
    objects: &PodObjects,
    node: &NodeFacts,
    tokens: &Tokens,
) -> Result<PodVolumes, VolumeError> {
    let volumes = pod.pod_spec().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
    let mut prepared = PodVolumes::default();
    let mut writes: Vec<(String, PathBuf, Step)> = Vec::new();
    let folder = pod_directory(root, pod.uid()).join("volumes");
    for volume in &volumes {
        let failed = |why: String| VolumeError { volume: volume.name.clone(), why };
        let (plugin, step) = plan(pod, volume, objects, node, tokens, &mut prepared.renew_at)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let read_only = matches!(step, Step::Files(_));
        let path = match &step {
            Step::Host(source) => PathBuf::from(&source.path),
            _ => folder.join(format!("kubernetes.io~{plugin}")).join(&volume.name),
        };
        prepared.volumes.insert(volume.name.clone(), HostVolume { path: path.clone(), read_only });
        writes.push((volume.name.clone(), path, step));
    }
    if writes.is_empty() {
        return Ok(prepared);
    }
    let writing = tokio::task::spawn_blocking(move || {
        for (volume, path, step) in writes {
            carry_out(&path, step).map_err(|why| VolumeError { volume, why })?;
        }
        Ok(())
    });
    match writing.await {
        Ok(outcome) => outcome.map(|()| prepared),
        Err(error) => Err(VolumeError { volume: String::new(), why: error.to_string() }),
    }
}

/// Removes all that a pod had on this host but its logs.
pub async fn remove(root: &Path, uid: &str) {
    let folder = pod_directory(root, uid);
    // Symlinks are removed, not followed: a hostPath is never below.
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %folder.display(), "a pod's folder cannot be removed");
    }
}

/// What a volume needs on disk.
enum Step {
    Folder,
    Files(Payload),
    Host(HostPathVolumeSource),
}

async fn plan(
    pod: &Pod,
    volume: &Volume,
    objects: &PodObjects,
    node: &NodeFacts,
    tokens: &Tokens,
    renew_at: &mut Option<Timestamp>,
) -> Result<(&'static str, Step), PayloadError> {
    if volume.empty_dir.is_some() {
        return Ok(("empty-dir", Step::Folder));
    }
    if let Some(source) = &volume.host_path {
        return Ok(("host-path", Step::Host(source.clone())));
    }
    if let Some(source) = &volume.config_map {
        let mode = payload::mode(source.default_mode);
        let optional = source.optional.unwrap_or(false);
        let files = payload::config_map(objects, &source.name, optional, source.items.as_deref(), mode)?;
        return Ok(("configmap", Step::Files(files)));
    }
    if let Some(source) = &volume.secret {
        let mode = payload::mode(source.default_mode);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let files = payload::secret(objects, name, source.optional.unwrap_or(false), source.items.as_deref(), mode)?;
        return Ok(("secret", Step::Files(files)));
    }
    if let Some(source) = &volume.downward_api {
        let mode = payload::mode(source.default_mode);
        let files = payload::downward(pod, source.items.as_deref().unwrap_or_default(), node, mode)?;
        return Ok(("downward-api", Step::Files(files)));
    }
    if let Some(source) = &volume.projected {
        let mode = payload::mode(source.default_mode);
        let mut files = Payload::new();
        for part in source.sources.iter().flatten() {
            if let Some(part) = &part.config_map {
                let optional = part.optional.unwrap_or(false);
                files.extend(payload::config_map(objects, &part.name, optional, part.items.as_deref(), mode)?);
            } else if let Some(part) = &part.secret {
                let optional = part.optional.unwrap_or(false);
                files.extend(payload::secret(objects, &part.name, optional, part.items.as_deref(), mode)?);
            } else if let Some(part) = &part.downward_api {
                files.extend(payload::downward(pod, part.items.as_deref().unwrap_or_default(), node, mode)?);
            } else if let Some(part) = &part.service_account_token {
                let token = tokens
                    .get(pod, part.audience.as_deref(), part.expiration_seconds)
                    .await
                    .map_err(|error| PayloadError::Token(error.to_string()))?;
                *renew_at = Some(renew_at.map_or(token.renew_at, |known| known.min(token.renew_at)));
                files.insert(part.path.clone(), payload::File { data: token.token.clone().into_bytes(), mode });
            } else {
                return Err(PayloadError::Unsupported("this projected source"));
            }
        }
        return Ok(("projected", Step::Files(files)));
    }
    Err(PayloadError::Unsupported(kind_of(volume)))
}

fn kind_of(volume: &Volume) -> &'static str {
    if volume.persistent_volume_claim.is_some() {
        "persistentVolumeClaim"
    } else if volume.csi.is_some() {
        "csi"
    } else if volume.image.is_some() {
        "image"
    } else if volume.ephemeral.is_some() {
        "ephemeral"
    } else if volume.nfs.is_some() {
        "nfs"
    } else {
        "this kind of volume"
    }
}

fn carry_out(path: &Path, step: Step) -> Result<(), String> {
    let described = |error: std::io::Error| format!("{}: {error}", path.display());
    match step {
        Step::Folder => {
            if !path.is_dir() {
                std::fs::create_dir_all(path).map_err(described)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).map_err(described)?;
            }
            Ok(())
        }
        Step::Files(files) => atomic_writer::write(path, &files).map_err(described),
        Step::Host(source) => check_host_path(path, source.type_.as_deref().unwrap_or_default()),
    }
}

fn check_host_path(path: &Path, kind: &str) -> Result<(), String> {
    let described = |error: std::io::Error| format!("{}: {error}", path.display());
    let found = std::fs::metadata(path).ok();
    let is = |test: &dyn Fn(&std::fs::Metadata) -> bool| found.as_ref().is_some_and(test);
    let (fits, what) = match kind {
        "DirectoryOrCreate" => {
            if found.is_none() {
                return std::fs::create_dir_all(path).map_err(described);
            }
            (is(&|metadata| metadata.is_dir()), "a directory")
        }
        "FileOrCreate" => {
            if found.is_none() {
                return std::fs::File::create(path).map(drop).map_err(described);
            }
            (is(&|metadata| metadata.is_file()), "a file")
        }
        "Directory" => (is(&|metadata| metadata.is_dir()), "a directory"),
        "File" => (is(&|metadata| metadata.is_file()), "a file"),
        "Socket" => (is(&|metadata| metadata.file_type().is_socket()), "a socket file"),
        "CharDevice" => (is(&|metadata| metadata.file_type().is_char_device()), "a character device"),
        "BlockDevice" => (is(&|metadata| metadata.file_type().is_block_device()), "a block device"),
        _ => {
            // As a container runtime does with a mount source that is not there.
            return if found.is_none() { std::fs::create_dir_all(path).map_err(described) } else { Ok(()) };
        }
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", path.display())) }
}
