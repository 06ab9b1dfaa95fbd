//! The runtime's folder: whose it is, and how it is laid out.
//!
//! ```text
//!   ROOT/format        the layout's number
//!   ROOT/runtime.pid   the process that serves, which holds a lock on this file
//!   ROOT/addresses     which sandbox has which address
//!   ROOT/pod-cidr      the range that the kubelet told last
//!   ROOT/sandboxes/    see `records`
//!   ROOT/images/       see `images`
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// What this code reads and writes.
const FORMAT: u32 = 1;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another runtime serves from it.
    #[error("runtime folder {path} is in use by process {pid}: stop it first, or choose another with --root")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who uses it.
        pid: String,
    },
    /// A later version wrote it.
    #[error("runtime folder {path} has format {found:?}, and this version of coracle reads {FORMAT}: run a newer one")]
    Newer {
        /// The folder.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A failed operation on `path`, to be used with `map_err`.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { action, path, source }
}

/// Takes the folder for this process, as long as the returned file is kept.
///
/// # Errors
/// When another process has it, or a later version wrote it.
pub fn take(root: &Path) -> Result<File, FolderError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(io_error("create", root))?;
    let path = root.join("runtime.pid");
    let failed = |source| FolderError::Io { action: "lock", path: path.clone(), source };
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
    if file.try_lock().is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(failed)?;
        return Err(FolderError::InUse { path: root.to_owned(), pid: pid.trim().to_owned() });
    }
    check_format(root)?;
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn check_format(root: &Path) -> Result<(), FolderError> {
    let path = root.join("format");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().parse() == Ok(FORMAT) => Ok(()),
        // A process that died right after it made the file; nothing else was written then.
        Ok(text) if !text.is_empty() => {
            Err(FolderError::Newer { path: root.to_owned(), found: text.trim().to_owned() })
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("read", &path)(error)),
        _new => fs::write(&path, format!("{FORMAT}\n")).map_err(io_error("write", &path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_process_own_and_a_later_format_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let held = take(folder.path()).expect("the first");
        let error = take(folder.path()).expect_err("held").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        drop(take(folder.path()).expect("free again"));
        fs::write(folder.path().join("format"), "2\n").expect("written");
        assert!(matches!(take(folder.path()), Err(FolderError::Newer { found, .. }) if found == "2"));
    }
}
