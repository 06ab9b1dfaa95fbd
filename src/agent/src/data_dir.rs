//! The agent's data directory, which one process uses at a time.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another agent uses it.
    #[error("data directory {path} is in use by process {pid}: stop it first, or choose another with --data-dir")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who uses it.
        pid: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A data directory that this process has for itself; that ends with the value, or with the process, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory, and makes it where there is none.
    ///
    /// # Errors
    /// When another process has it, or the disk refuses.
    pub fn open(folder: &Path) -> Result<Self, DataDirError> {
        let path = folder.join("agent.lock");
        let failed = |source| DataDirError::File { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut lock = lock.map_err(failed)?;
        if lock.try_lock().is_err() {
            let mut pid = String::new();
            lock.read_to_string(&mut pid).map_err(failed)?;
            return Err(DataDirError::InUse { path: folder.to_owned(), pid: pid.trim().to_owned() });
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed)?;
        write!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: folder.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
