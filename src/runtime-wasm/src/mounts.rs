//! A container's files as preopened directories.
//!
//! WASI knows directories only, each with the name by which the guest sees it; a guest's libc picks the longest name
//! that fits a path. So a mounted directory is a preopen of its own, the container's root is one of name `/`, and a
//! mounted *file* is linked into a directory of the container that stands for the file's folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// A directory or file of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub host: PathBuf,
    /// In the container, absolute.
    pub container: String,
    /// Whether the guest may not write.
    pub read_only: bool,
}

/// A directory to be preopened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preopen {
    /// On the host.
    pub host: PathBuf,
    /// For the guest.
    pub guest: String,
    /// Whether the guest may not write.
    pub read_only: bool,
}

/// Why a container's files cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// What is to be mounted is not there.
    #[error("mount {container}: {host}: {source}")]
    Source {
        /// On the host.
        host: PathBuf,
        /// In the container.
        container: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A mount path that cannot be.
    #[error("mount path {container:?} is not an absolute path without ..")]
    Path {
        /// In the container.
        container: String,
    },
    /// A file is mounted into a directory that is a mount itself.
    #[error("mount {container}: a single file cannot be mounted into the mount {folder} of a WebAssembly container")]
    FileInMount {
        /// In the container.
        container: String,
        /// The directory's mount.
        folder: String,
    },
    /// The container's own directory cannot be prepared.
    #[error("{action} {path}: {source}")]
    Prepare {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Prepares a container's files below `folder`, its own, and says what to preopen: the root with the image's `files`
/// (read-only if so asked), the mounts, and the folders of mounted files.
///
/// # Errors
/// When a mount's source is missing, or the container's folder cannot be written.
pub fn prepare(
    folder: &Path,
    files: Option<&Path>,
    root_read_only: bool,
    mounts: &[Mount],
) -> Result<Vec<Preopen>, MountError> {
    let root = folder.join("root");
    make_folder(&root)?;
    if let Some(files) = files {
        copy_tree(files, &root)?;
    }
    let mut preopens = BTreeMap::from([(
        "/".to_owned(),
        Preopen { host: root.clone(), guest: "/".to_owned(), read_only: root_read_only },
    )]);
    let mut single_files = Vec::new();
    for mount in mounts {
        let guest = clean(&mount.container)?;
        let source = |source| MountError::Source { host: mount.host.clone(), container: guest.clone(), source };
        if fs::metadata(&mount.host).map_err(source)?.is_dir() {
            // So that a listing of the parent shows it.
            make_folder(&root.join(guest.trim_start_matches('/')))?;
            let preopen = Preopen { host: mount.host.clone(), guest: guest.clone(), read_only: mount.read_only };
            preopens.insert(guest, preopen);
        } else {
            single_files.push((guest, mount));
        }
    }
    for (guest, mount) in single_files {
        let parent = guest.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
        if let Some(inside) = mounted_above(parent, &preopens, &root) {
            return Err(MountError::FileInMount { container: guest, folder: inside });
        }
        let place = root.join(guest.trim_start_matches('/'));
        make_folder(&root.join(parent.trim_start_matches('/')))?;
        link_file(&mount.host, &place)?;
    }
    Ok(preopens.into_values().collect())
}

/// The mount that covers `folder`, if it is not the container's own root.
fn mounted_above(folder: &str, preopens: &BTreeMap<String, Preopen>, root: &Path) -> Option<String> {
    Path::new(folder)
        .ancestors()
        .filter_map(|ancestor| preopens.get(ancestor.to_str()?))
        .next()
        .filter(|preopen| preopen.host != root)
        .map(|preopen| preopen.guest.clone())
}

/// The host's path of the guest's `path`, for what the host itself reads or writes there.
pub fn host_path(path: &str, preopens: &[Preopen]) -> Option<PathBuf> {
    let path = clean(path).ok()?;
    let covers = |preopen: &&Preopen| Path::new(&path).starts_with(&preopen.guest);
    let preopen = preopens.iter().filter(covers).max_by_key(|preopen| preopen.guest.len())?;
    Some(preopen.host.join(Path::new(&path).strip_prefix(&preopen.guest).ok()?))
}

/// An absolute path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> Result<String, MountError> {
    let invalid = || MountError::Path { container: path.to_owned() };
    let mut components = Path::new(path).components();
    if components.next() != Some(Component::RootDir) {
        return Err(invalid());
    }
    let mut clean = String::new();
    for component in components {
        match component {
            Component::Normal(name) => {
                clean.push('/');
                clean.push_str(name.to_str().ok_or_else(invalid)?);
            }
            Component::CurDir => {}
            _climbs => return Err(invalid()),
        }
    }
    Ok(if clean.is_empty() { "/".to_owned() } else { clean })
}

fn make_folder(path: &Path) -> Result<(), MountError> {
    fs::create_dir_all(path).map_err(|source| MountError::Prepare { action: "create", path: path.to_owned(), source })
}

/// The same file under two names, so that what the guest writes is seen outside; a copy where the file systems differ.
fn link_file(source: &Path, place: &Path) -> Result<(), MountError> {
    let failed = |source| MountError::Prepare { action: "link", path: place.to_owned(), source };
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _gone => {}
    }
    // The source itself may be a link, as the files of a ConfigMap are.
    let source = source.canonicalize().map_err(failed)?;
    match fs::hard_link(&source, place) {
        Ok(()) => Ok(()),
        Err(_other_file_system) => fs::copy(&source, place).map(|_| ()).map_err(failed),
    }
}

/// Copies the image's files. Links are copied as links: what they point to is found, or not, by the guest.
fn copy_tree(from: &Path, to: &Path) -> Result<(), MountError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| MountError::Prepare { action: "copy", path, source }
    };
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&source))?;
        if kind.is_dir() {
            make_folder(&place)?;
            copy_tree(&source, &place)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(failed(&source))?;
            if fs::symlink_metadata(&place).is_err() {
                std::os::unix::fs::symlink(target, &place).map_err(failed(&place))?;
            }
        } else {
            fs::copy(&source, &place).map_err(failed(&place))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(host: &Path, container: &str) -> Mount {
        Mount { host: host.to_owned(), container: container.to_owned(), read_only: true }
    }

    #[test]
    fn directories_are_preopened_and_files_are_linked_into_the_root() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let (data, message, own) =
            (temporary.path().join("data"), temporary.path().join("message"), temporary.path().join("own"));
        fs::create_dir(&data).expect("a folder");
        fs::write(&message, "").expect("a file");
        let mounts = [mount(&data, "/var/data/"), mount(&message, "/dev/termination-log")];
        let preopens = prepare(&own, None, false, &mounts).expect("prepared");
        let names: Vec<&str> = preopens.iter().map(|preopen| preopen.guest.as_str()).collect();
        assert_eq!(names, ["/", "/var/data"]);
        assert!(own.join("root/var/data").is_dir());
        fs::write(own.join("root/dev/termination-log"), "bye").expect("written by the guest");
        assert_eq!(fs::read_to_string(&message).expect("readable"), "bye");
        assert_eq!(host_path("/var/data/x", &preopens), Some(data.join("x")));
        assert_eq!(host_path("/etc/x", &preopens), Some(own.join("root/etc/x")));
    }

    #[test]
    fn mounts_that_cannot_be_are_named() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let file = temporary.path().join("file");
        fs::write(&file, "").expect("a file");
        let prepare = |mounts: &[Mount]| prepare(&temporary.path().join("own"), None, false, mounts);
        assert!(matches!(prepare(&[mount(&temporary.path().join("no"), "/x")]), Err(MountError::Source { .. })));
        assert!(matches!(prepare(&[mount(temporary.path(), "x/y")]), Err(MountError::Path { .. })));
        assert!(matches!(prepare(&[mount(temporary.path(), "/x/../y")]), Err(MountError::Path { .. })));
        let inside = [mount(temporary.path(), "/data"), mount(&file, "/data/sub/file")];
        assert!(matches!(prepare(&inside), Err(MountError::FileInMount { .. })));
    }

    #[test]
    fn an_images_files_are_the_containers_own() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let image = temporary.path().join("image");
        fs::create_dir_all(image.join("etc")).expect("a folder");
        fs::write(image.join("etc/motd"), "hi").expect("a file");
        std::os::unix::fs::symlink("/etc/shadow", image.join("link")).expect("a link");
        let preopens = prepare(&temporary.path().join("own"), Some(&image), true, &[]).expect("prepared");
        assert!(preopens[0].read_only);
        assert_eq!(fs::read_to_string(preopens[0].host.join("etc/motd")).expect("a copy"), "hi");
        assert!(fs::symlink_metadata(preopens[0].host.join("link")).expect("a link").is_symlink());
    }
}
