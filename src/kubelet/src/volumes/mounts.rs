//! A container's mounts, from its pod's volumes.

use std::path::{Component, Path, PathBuf};

use cri::v1;
use k8s_openapi::api::core::v1::Container;

use super::PodVolumes;
use crate::expansion::expand;

/// Why a mount cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// No volume has that name.
    #[error("cannot find volume \"{0}\" to mount into container \"{1}\"")]
    NoVolume(String, String),
    /// The subPath leaves the volume.
    #[error("subPath \"{0}\" must not be absolute or contain \"..\"")]
    InvalidSubPath(String),
    /// The subPath cannot be used.
    #[error("failed to prepare subPath for volumeMount \"{mount}\" of container \"{container}\": {why}")]
    SubPath {
        /// The mount's volume.
        mount: String,
        /// The container.
        container: String,
        /// What is wrong.
        why: String,
    },
}

/// The mounts of `container`, with `$(NAME)` in `subPathExpr` from its environment.
pub fn mounts(
    container: &Container,
    volumes: &PodVolumes,
    environment: &[(String, String)],
) -> Result<Vec<v1::Mount>, MountError> {
    let mut result = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes
            .volumes
            .get(&mount.name)
            .ok_or_else(|| MountError::NoVolume(mount.name.clone(), container.name.clone()))?;
        let lookup = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let sub_path = match (mount.sub_path.as_deref(), mount.sub_path_expr.as_deref()) {
            (Some(path), _) if !path.is_empty() => path.to_owned(),
            (_, Some(expression)) => expand(expression, lookup),
            _ => String::new(),
        };
        let host_path = if sub_path.is_empty() {
            volume.path.clone()
        } else {
            inside(&volume.path, &sub_path)?.map_err(|error| MountError::SubPath {
                mount: mount.name.clone(),
                container: container.name.clone(),
                why: error.to_string(),
            })?
        };
        let container_path = match mount.mount_path.strip_prefix('/') {
            Some(_) => mount.mount_path.clone(),
            None => format!("/{}", mount.mount_path),
        };
        result.push(v1::Mount {
            container_path,
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: volume.read_only || mount.read_only.unwrap_or(false),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
                Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
                _ => v1::MountPropagation::PropagationPrivate,
            } as i32,
            ..Default::default()
        });
    }
    Ok(result)
}

/// The place of `sub_path` in `volume`, made when it is not there. Symlinks may not lead out of the volume.
fn inside(volume: &Path, sub_path: &str) -> Result<std::io::Result<PathBuf>, MountError> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(sub_path).components().all(plain) {
        return Err(MountError::InvalidSubPath(sub_path.to_owned()));
    }
    let find = || {
        let volume = volume.canonicalize()?;
        let wanted = volume.join(sub_path);
        if std::fs::symlink_metadata(&wanted).is_err() {
            // Its deepest part that is there decides whether the rest may be made.
            let there = wanted.ancestors().find(|path| std::fs::symlink_metadata(path).is_ok()).unwrap_or(&volume);
            within(&volume, &there.canonicalize()?)?;
            std::fs::create_dir_all(&wanted)?;
        }
        let found = wanted.canonicalize()?;
        within(&volume, &found)?;
        Ok(found)
    };
    Ok(find())
}

fn within(volume: &Path, path: &Path) -> std::io::Result<()> {
    if path.starts_with(volume) {
        return Ok(());
    }
    Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "it leads out of the volume"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::HostVolume, *};

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("volume");
        std::fs::create_dir_all(&root).expect("a folder");
        std::os::unix::fs::symlink("/etc", root.join("out")).expect("a link");
        let mut volumes = PodVolumes::default();
        volumes.volumes.insert("data".to_owned(), HostVolume { path: root.clone(), read_only: false });
        let mount = |path: &str| {
            let container = serde_json::from_value(json!({"name": "c", "volumeMounts": [
                {"name": "data", "mountPath": "data", "subPathExpr": path, "readOnly": true}]}))
            .expect("a container");
            mounts(&container, &volumes, &[("POD".to_owned(), "p-1".to_owned())])
        };
        let made = mount("logs/$(POD)").expect("a mount");
        assert!(root.join("logs/p-1").is_dir());
        assert_eq!((made[0].container_path.as_str(), made[0].readonly), ("/data", true));
        assert!(matches!(mount("../x"), Err(MountError::InvalidSubPath(_))));
        assert!(matches!(mount("out/passwd"), Err(MountError::SubPath { .. })));
        assert!(matches!(mount("out"), Err(MountError::SubPath { .. })));
    }
}
