//! The whole keyspace as one stream of bytes: what a peer is sent that is too far behind for the log.
//!
//! Taking an image costs nothing: it pins the database as it is. It is written out only when somebody reads it, and a
//! node replaces its state by one only after all of it arrived and its checksum was right, in one batch.
//!
//! ```text
//! "CORACLE-IMAGE-1\n"  meta: length, bytes     records: family, key length, value length, key, value
//! end: 0xff, number of records                 SHA-256 of everything before
//! ```

use std::io::{self, Read, Write};

use rocksdb::{DB, IteratorMode, SnapshotWithThreadMode, WriteBatch};
use sha2::{Digest, Sha256};

use super::{COLUMN_FAMILIES, FIRST_REVISION, Keyspace, layout::state};
use crate::{Database, StoreError};

const MAGIC: &[u8; 16] = b"CORACLE-IMAGE-1\n";
const END: u8 = 0xff;
/// No key, value or meta is longer; a length from a damaged image must not reserve memory.
const LONGEST: usize = 64 << 20;

/// Why an image cannot be written or taken.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not what was written.
    #[error("the image is damaged: {0}")]
    Damaged(&'static str),
    /// The way it came or goes failed.
    #[error("cannot transfer the image")]
    Transfer(#[from] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keyspace as it was at one moment, with what its owner has to say about that moment.
pub struct PinnedImage {
    // Dropped first: it points into the database, which the field below keeps open.
    snapshot: SnapshotWithThreadMode<'static, DB>,
    database: Database,
    meta: Vec<u8>,
}

impl std::fmt::Debug for PinnedImage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PinnedImage").field("database", &self.database).finish_non_exhaustive()
    }
}

impl PinnedImage {
    fn new(database: &Database, meta: Vec<u8>) -> Self {
        let snapshot = database.raw().snapshot();
        // SAFETY: the snapshot borrows the `DB` inside the `Arc` that `database` holds. A clone of that `Arc` is kept in
        // the same struct and is dropped after the snapshot (fields drop in order), so the `DB` outlives the borrow and
        // does not move. The lifetime does not leave: the snapshot is private and only lent out by `&self`.
        let snapshot = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, DB>, SnapshotWithThreadMode<'static, DB>>(snapshot)
        };
        Self { snapshot, database: database.clone(), meta }
    }

    /// Writes the image out.
    ///
    /// # Errors
    /// When the database cannot be read or the other side does not take it.
    pub fn write_to(&self, to: impl Write) -> Result<(), ImageError> {
        let mut out = Summed { inner: to, sum: Sha256::new() };
        out.write_all(MAGIC)?;
        out.block(&self.meta)?;
        let mut count = 0_u64;
        for (number, name) in COLUMN_FAMILIES.iter().enumerate() {
            let family = self.database.family(name);
            for record in self.snapshot.iterator_cf(family, IteratorMode::Start) {
                let (key, value) = record.map_err(|error| self.database.explain(&error))?;
                out.write_all(&[u8::try_from(number).expect("there are only a few column families")])?;
                out.block(&key)?;
                out.block(&value)?;
                count += 1;
            }
        }
        out.write_all(&[END])?;
        out.write_all(&count.to_be_bytes())?;
        let sum = out.sum.finalize();
        out.inner.write_all(&sum)?;
        out.inner.flush()?;
        Ok(())
    }
}

/// Passes bytes on and sums them up.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Write> Summed<T> {
    fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.write_all(&length.to_be_bytes())?;
        self.write_all(bytes)
    }
}

impl<T: Read> Summed<T> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ImageError> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::Damaged("it ends too early"),
            _ => error.into(),
        })?;
        self.sum.update(&*bytes);
        Ok(())
    }

    fn take_block(&mut self) -> Result<Vec<u8>, ImageError> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        if length > LONGEST {
            return Err(ImageError::Damaged("a length is out of bounds"));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads through an image without taking it, and returns its meta.
///
/// # Errors
/// When it is damaged or cannot be read.
pub fn verify_image(from: impl Read) -> Result<Vec<u8>, ImageError> {
    read_records(from, |_, _, _| {})
}

impl Keyspace {
    /// Pins the keyspace as it is now, with `meta` to go along.
    pub fn pin(&self, meta: Vec<u8>) -> PinnedImage {
        // No session may be half done: `meta` speaks of what was committed.
        let _only = self.inner.writing.lock();
        PinnedImage::new(&self.inner.database, meta)
    }

    /// Replaces everything by an image, in one batch to which `with_meta` adds what belongs to it.
    ///
    /// # Errors
    /// When the image is damaged or the disk refuses; then nothing has changed.
    pub fn restore(
        &self,
        from: impl Read,
        with_meta: impl FnOnce(&[u8], &mut WriteBatch) -> Result<(), StoreError>,
    ) -> Result<(), ImageError> {
        let inner = &self.inner;
        let _no_reclaimer = inner.reclaiming.lock();
        let _no_session = inner.writing.lock();
        let database = &inner.database;
        let mut batch = WriteBatch::default();
        for name in COLUMN_FAMILIES {
            let family = database.family(name);
            for record in database.raw().iterator_cf(family, IteratorMode::Start) {
                let (key, _) = record.map_err(|error| database.explain(&error))?;
                batch.delete_cf(family, key);
            }
        }
        let meta = read_records(from, |name, key, value| batch.put_cf(database.family(name), key, value))?;
        with_meta(&meta, &mut batch)?;
        database.write_synced(batch)?;

        let revision = state::read(database, state::REVISION)?.unwrap_or(FIRST_REVISION);
        let compacted = state::read(database, state::COMPACTED)?.unwrap_or(0);
        inner.revision.store(revision, std::sync::atomic::Ordering::Release);
        inner.compacted.send_replace(compacted);
        inner.hub.reset(revision);
        Ok(())
    }
}

/// Calls `take` with family, key and value of every record; what it did holds only if this returns the meta.
fn read_records(from: impl Read, mut take: impl FnMut(&'static str, Vec<u8>, Vec<u8>)) -> Result<Vec<u8>, ImageError> {
    let mut input = Summed { inner: from, sum: Sha256::new() };
    if &input.take::<16>()? != MAGIC {
        return Err(ImageError::Damaged("it does not begin as an image does"));
    }
    let meta = input.take_block()?;
    let mut count = 0_u64;
    loop {
        let [number] = input.take::<1>()?;
        if number == END {
            break;
        }
        let name = COLUMN_FAMILIES.get(usize::from(number)).ok_or(ImageError::Damaged("it has an unknown family"))?;
        let key = input.take_block()?;
        let value = input.take_block()?;
        take(name, key, value);
        count += 1;
    }
    if u64::from_be_bytes(input.take()?) != count {
        return Err(ImageError::Damaged("records are missing"));
    }
    let expected = input.sum.clone().finalize();
    if input.take::<32>()? != *expected {
        return Err(ImageError::Damaged("its checksum is wrong"));
    }
    Ok(meta)
}
