//! The directory that one process at a time keeps its state in.
//!
//! ```text
//! FORMAT   what wrote it: one line, `coracle-store N`
//! LOCK     held by the process that uses it; its pid inside, for people
//! db/      RocksDB
//! ```
//!
//! The lock is the kernel's (`flock`), so it goes with the process however that ends; the pid is only there to be named.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// The format that this version writes.
const FORMAT: u32 = 1;
const FORMAT_NAME: &str = "coracle-store";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("{} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, where it wrote that down.
        pid: Option<u32>,
    },
    /// A newer version wrote it.
    #[error("{} has format {found}, this version reads up to {supported}: start a newer version", path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// What this version knows.
        supported: u32,
    },
    /// The file that names the format does not name one.
    #[error("{} is corrupt: {found:?} names no format", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// The directory holds a database but not the file that names its format.
    #[error("{} is missing, though there is a database beside it", path.display())]
    Lost {
        /// The missing file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A data directory that this process holds until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes hold of the directory, and makes it when it is not there.
    ///
    /// # Errors
    /// When another process holds it, a newer version wrote it, or the disk refuses.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(failed("create", &path))?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        self.path.join("db")
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |source| DataDirError::Io { action, path: path.to_owned(), source }
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Who holds it is a courtesy: without it the error is still true.
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DataDirError::Locked { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    file.set_len(0).map_err(failed("write", &path))?;
    file.rewind().map_err(failed("write", &path))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("write", &path))?;
    Ok(file)
}

fn check_format(directory: &Path) -> Result<(), DataDirError> {
    let path = directory.join("FORMAT");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The file is made before the database, so a database without it did not come about here.
            if directory.join("db").join("CURRENT").exists() {
                return Err(DataDirError::Lost { path });
            }
            return write_format(directory, &path);
        }
        Err(source) => return Err(failed("read", &path)(source)),
    };
    let found = text.trim().strip_prefix(FORMAT_NAME).and_then(|number| number.trim().parse::<u32>().ok());
    match found {
        None => Err(DataDirError::Format { path, found: text.chars().take(64).collect() }),
        Some(found) if found > FORMAT => Err(DataDirError::Newer { path, found, supported: FORMAT }),
        Some(_) => Ok(()),
    }
}

/// Durable before anything else is written: first under another name, so that a crash leaves no half of it.
fn write_format(directory: &Path, path: &Path) -> Result<(), DataDirError> {
    let temporary = directory.join("FORMAT.new");
    let mut file = File::create(&temporary).map_err(failed("create", &temporary))?;
    writeln!(file, "{FORMAT_NAME} {FORMAT}").map_err(failed("write", &temporary))?;
    file.sync_all().map_err(failed("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("rename", &temporary))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_holds_it_and_may_follow() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDir::open(directory.path()).unwrap();
        let error = DataDir::open(directory.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::open(directory.path()).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let directory = tempfile::tempdir().unwrap();
        drop(DataDir::open(directory.path()).unwrap());
        fs::write(directory.path().join("FORMAT"), "coracle-store 7\n").unwrap();
        let error = DataDir::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("FORMAT has format 7, this version reads up to 1"), "{error}");
    }

    #[test]
    fn a_broken_or_lost_format_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        drop(DataDir::open(directory.path()).unwrap());
        let file = directory.path().join("FORMAT");
        fs::write(&file, b"coracle-sto").unwrap();
        let error = DataDir::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        fs::remove_file(&file).unwrap();
        fs::create_dir(directory.path().join("db")).unwrap();
        fs::write(directory.path().join("db/CURRENT"), "").unwrap();
        assert!(matches!(DataDir::open(directory.path()), Err(DataDirError::Lost { .. })));
    }
}
