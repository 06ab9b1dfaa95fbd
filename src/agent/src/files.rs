//! Files of the agent: whole or not at all, and readable by their owner alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use component_base::files;
use serde::{Serialize, de::DeserializeOwned};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{} does not hold what it should: {reason}: move it away, and the agent makes another", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { path: path.to_owned(), source }
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// When the disk refuses.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    files::make_private_folder(path).map_err(failed(path))
}

/// The text of a file; nothing when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Writes a file of mode 0600, whole or not at all, also when the machine loses power.
///
/// # Errors
/// When the disk refuses.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    files::write_private(path, bytes).map_err(failed(path))
}

/// What a file of JSON holds; nothing when there is none.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let parse = |text: String| {
        serde_json::from_str(&text)
            .map_err(|error| FileError::Corrupt { path: path.to_owned(), reason: error.to_string() })
    };
    read(path)?.map(parse).transpose()
}

/// Writes JSON as [`write()`] does.
///
/// # Errors
/// When the disk refuses.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(value);
    write(path, &bytes.map_err(|error| FileError::Corrupt { path: path.to_owned(), reason: error.to_string() })?)
}
