//! Content under its digest.
//!
//! A blob is written to a temporary file, hashed on the way, flushed to the disk and only then renamed to its place:
//! whatever stands under `sha256/` is whole and is what its name says, whenever the process or the machine died.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest as _, Sha256};

use crate::ImageError;

/// A checked `sha256:…` digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(content))))
    }

    /// Checks a digest's form.
    ///
    /// # Errors
    /// When it is not 64 lowercase hexadecimal digits behind `sha256:`.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(ImageError::UnsupportedDigest { digest: text.to_owned() }) }
    }

    /// With its algorithm.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The folder of blobs.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    temporary: PathBuf,
    next: AtomicU64,
}

impl Blobs {
    /// Opens the blobs under `root`; what an earlier process left half-written is removed.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let (folder, temporary) = (root.join("blobs/sha256"), root.join("tmp"));
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(ImageError::io("clear", &temporary))?;
        }
        for path in [&folder, &temporary] {
            fs::create_dir_all(path).map_err(ImageError::io("create", path))?;
        }
        Ok(Self { folder, temporary, next: AtomicU64::new(0) })
    }

    /// Where the blob is or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Whether the blob is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// The blob's content, checked against its digest once more.
    ///
    /// # Errors
    /// When it cannot be read, or the disk changed it.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.path(digest);
        let content = fs::read(&path).map_err(ImageError::io("read", &path))?;
        let actual = Digest::of(&content);
        if actual == *digest {
            Ok(content)
        } else {
            Err(ImageError::WrongDigest {
                subject: path.display().to_string(),
                expected: digest.to_string(),
                actual: actual.to_string(),
            })
        }
    }

    /// Stores `content`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, content: &[u8]) -> Result<Digest, ImageError> {
        let mut writer = self.writer(u64::MAX)?;
        writer.write(content)?;
        writer.finish(None)
    }

    /// Stores what `source` gives, at most `limit` bytes, and checks it if a digest is expected.
    ///
    /// # Errors
    /// When it cannot be read or written, is too large or is something else.
    pub fn put_from(&self, source: &mut dyn Read, expected: Option<&Digest>, limit: u64) -> Result<Digest, ImageError> {
        let mut writer = self.writer(limit)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return writer.finish(expected),
                Ok(count) => writer.write(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImageError::io("read for", writer.path.clone())(error)),
            }
        }
    }

    /// A blob to be written bit by bit.
    ///
    /// # Errors
    /// When the temporary file cannot be made.
    pub fn writer(&self, limit: u64) -> Result<BlobWriter<'_>, ImageError> {
        let path = self.temporary_path();
        let file = File::create_new(&path).map_err(ImageError::io("create", &path))?;
        Ok(BlobWriter { blobs: self, file, path, hash: Sha256::new(), length: 0, limit })
    }

    /// A path that nobody else uses, on the same file system as the blobs.
    pub fn temporary_path(&self) -> PathBuf {
        self.temporary.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Removes the blob; one that is not here is no error.
    ///
    /// # Errors
    /// When it is here and cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::io("remove", path)(error)),
            _gone => Ok(()),
        }
    }
}

/// A blob on its way. Dropped before [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    blobs: &'a Blobs,
    file: File,
    path: PathBuf,
    hash: Sha256,
    length: u64,
    limit: u64,
}

impl BlobWriter<'_> {
    /// Adds `bytes`.
    ///
    /// # Errors
    /// When they cannot be written or are too many.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.length += bytes.len() as u64;
        if self.length > self.limit {
            return Err(ImageError::TooLarge { subject: "content".to_owned(), limit: self.limit });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(ImageError::io("write", &self.path))
    }

    /// Puts the blob into its place.
    ///
    /// # Errors
    /// When it is not what was `expected`, or cannot be made durable.
    pub fn finish(self, expected: Option<&Digest>) -> Result<Digest, ImageError> {
        let digest = Digest(format!("sha256:{}", hex::encode(self.hash.clone().finalize())));
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(ImageError::WrongDigest {
                subject: "content".to_owned(),
                expected: expected.to_string(),
                actual: digest.to_string(),
            });
        }
        self.file.sync_all().map_err(ImageError::io("flush", &self.path))?;
        let place = self.blobs.path(&digest);
        fs::rename(&self.path, &place).map_err(ImageError::io("place", &place))?;
        sync_folder(&self.blobs.folder)?;
        Ok(digest)
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        // After `finish` the file is under another name and this finds nothing.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a rename in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), ImageError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ImageError::io("flush", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let blobs = Blobs::open(folder.path()).expect("blobs");
        (folder, blobs)
    }

    #[test]
    fn content_is_found_under_its_digest() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"hello").expect("stored");
        assert_eq!(digest, Digest::of(b"hello"));
        assert_eq!(blobs.read(&digest).expect("content"), b"hello");
    }

    #[test]
    fn content_that_is_not_what_was_asked_for_leaves_nothing() {
        let (folder, blobs) = blobs();
        let error = blobs.put_from(&mut &b"other"[..], Some(&Digest::of(b"hello")), 100).expect_err("refused");
        assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
        let error = blobs.put_from(&mut &b"hello"[..], None, 4).expect_err("refused");
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path().join("tmp")).expect("a folder").count(), 0);
        assert!(!blobs.has(&Digest::of(b"hello")));
    }

    #[test]
    fn a_blob_that_the_disk_changed_is_named() {
        let (_folder, blobs) = blobs();
        let digest = blobs.put(b"hello").expect("stored");
        fs::write(blobs.path(&digest), b"hellp").expect("damaged");
        assert!(matches!(blobs.read(&digest), Err(ImageError::WrongDigest { .. })));
    }

    #[test]
    fn what_a_killed_process_left_half_written_is_removed() {
        let (folder, blobs) = blobs();
        fs::write(blobs.temporary_path(), b"half").expect("written");
        drop(blobs);
        Blobs::open(folder.path()).expect("blobs");
        assert_eq!(fs::read_dir(folder.path().join("tmp")).expect("a folder").count(), 0);
    }

    #[test]
    fn digests_of_another_form_are_refused() {
        for digest in ["", "sha256:", "sha256:../../etc/passwd", "sha512:00", &format!("sha256:{}", "A".repeat(64))] {
            assert!(Digest::parse(digest).is_err(), "{digest}");
        }
    }
}
