//! Unix sockets that only their owner may use, and that outlive a crash of their last owner.

use std::{
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Why a Unix socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("socket {path} is in use by another process")]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} socket {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// A listening, non-blocking socket at `path`, readable and writable by its owner only.
///
/// A socket file whose process is gone is replaced.
pub fn listen(path: &Path, kind: SocketType) -> Result<OwnedFd, SocketError> {
    let failed = |action| move |source: io::Error| SocketError::Io { action, path: path.to_owned(), source };
    if path.exists() {
        if connect(path, kind).is_ok() {
            return Err(SocketError::InUse { path: path.to_owned() });
        }
        std::fs::remove_file(path).map_err(failed("replace"))?;
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed("create the folder of"))?;
    }
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("name")(errno.into()))?;
    let socket = open(kind).map_err(failed("open"))?;
    rustix::net::bind(&socket, &address).map_err(|errno| failed("bind")(errno.into()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed("restrict"))?;
    rustix::net::listen(&socket, 1024).map_err(|errno| failed("listen on")(errno.into()))?;
    Ok(socket)
}

/// A non-blocking socket connected to the listener at `path`.
pub fn connect(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = open(kind)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn open(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/cri.sock");
        let first = listen(&path, SocketType::STREAM).expect("the first listener");
        assert!(matches!(listen(&path, SocketType::STREAM), Err(SocketError::InUse { .. })));
        drop(first);
        let _second = listen(&path, SocketType::STREAM).expect("a listener after the first died");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        let error = listen(&path, SocketType::STREAM).expect_err("such a path cannot be a socket");
        assert!(error.to_string().contains("xxx"), "{error}");
    }
}
