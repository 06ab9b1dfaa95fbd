//! Snapshots: the keyspace as a database file of etcd 3.5.
//!
//! What a client gets is a bbolt file, made on the way from the keyspace as it is at one moment, with all changes that are
//! not forgotten, the leases, and etcd's own few records; then zeros up to the next page, and the SHA-256 of everything
//! before. `etcdutl snapshot status` checks it, and `etcdutl snapshot restore` makes an etcd of it that holds the same keys
//! at the same revisions. It is a way out of Coracle and a thing to look at: Coracle restores from its own images.

mod bolt;

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use prost::Message;
use sha2::{Digest, Sha256};
use storage::{
    Keyspace, StoreError,
    keyspace::{Dump, Recorded},
};

use crate::{door::signed, pb};

/// The bucket of all changes.
pub(crate) const KEY: &[u8] = b"key";
/// All buckets that etcd 3.5 makes, in their order.
const BUCKETS: [&[u8]; 10] =
    [b"alarm", b"auth", b"authRoles", b"authUsers", b"cluster", KEY, b"lease", b"members", b"members_removed", b"meta"];

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be handed on.
    #[error("the snapshot could not be handed on: {0}")]
    Io(#[from] io::Error),
}

/// Takes the records of a database, bucket by bucket, in order.
pub(crate) trait Sink {
    /// Why it cannot.
    type Error: From<StoreError>;
    /// A bucket begins.
    fn bucket(&mut self, name: &'static [u8]) -> Result<(), Self::Error>;
    /// One of its records.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;
}

/// A change's key in etcd's database.
pub(crate) fn key(change: &Recorded) -> Vec<u8> {
    let mut key = revision_key(change.kv.mod_revision, change.number).to_vec();
    if change.deleted {
        key.push(b't');
    }
    key
}

fn revision_key(revision: u64, number: u32) -> [u8; 17] {
    let mut key = [b'_'; 17];
    key[..8].copy_from_slice(&revision.to_be_bytes());
    key[9..].copy_from_slice(&u64::from(number).to_be_bytes());
    key
}

/// A change's value there; of a deletion only the key.
pub(crate) fn value(change: Recorded) -> pb::KeyValue {
    if change.deleted { pb::KeyValue { key: change.kv.key, ..pb::KeyValue::default() } } else { change.kv.into() }
}

/// Hands on what a database of etcd would hold.
pub(crate) fn write_buckets<S: Sink>(dump: &Dump<'_>, sink: &mut S) -> Result<(), S::Error> {
    for name in BUCKETS {
        sink.bucket(name)?;
        match name {
            KEY => dump.changes(dump.revision, dump.compacted, |change| {
                sink.record(&key(&change), &value(change).encode_to_vec())
            })?,
            b"lease" => {
                for lease in dump.leases()? {
                    let stored = pb::StoredLease { id: lease.id, ttl: signed(lease.ttl_seconds), remaining_ttl: 0 };
                    sink.record(&lease.id.to_be_bytes(), &stored.encode_to_vec())?;
                }
            }
            b"cluster" => sink.record(b"clusterVersion", b"3.5.0")?,
            b"meta" if dump.compacted > 0 => {
                let compacted = revision_key(dump.compacted, 0);
                sink.record(b"finishedCompactRev", &compacted)?;
                sink.record(b"scheduledCompactRev", &compacted)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes a snapshot in pieces of `size` bytes; `send` gets each with the number of bytes that follow.
pub(crate) fn write(
    keyspace: &Keyspace,
    size: usize,
    send: impl FnMut(Bytes, u64) -> io::Result<()>,
) -> Result<(), SnapshotError> {
    let dump = keyspace.dump();
    // A page's place depends on all before it, and the first page names the last: the tree is laid out, then written.
    let mut layout = bolt::Writer::new(io::sink());
    write_buckets(&dump, &mut layout)?;
    let layout = layout.finish()?;
    let total = layout.bytes() + 32;
    let mut out = Pieces { send, size, piece: BytesMut::with_capacity(size), left: total, sum: Sha256::new() };
    layout.write_head(&mut out)?;
    let mut tree = bolt::Writer::new(&mut out);
    write_buckets(&dump, &mut tree)?;
    tree.finish()?;
    let sum = out.sum.clone().finalize();
    out.write_all(&sum)?;
    Ok(out.flush()?)
}

/// Cuts what is written into pieces.
struct Pieces<F> {
    send: F,
    size: usize,
    piece: BytesMut,
    left: u64,
    sum: Sha256,
}

impl<F: FnMut(Bytes, u64) -> io::Result<()>> Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = &bytes[..bytes.len().min(self.size - self.piece.len())];
        self.sum.update(taken);
        self.piece.extend_from_slice(taken);
        if self.piece.len() == self.size {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.left = self.left.saturating_sub(self.piece.len() as u64);
        (self.send)(self.piece.split().freeze(), self.left)
    }
}

/// etcd's hash of a database: CRC-32C over names, keys and values.
#[derive(Default)]
pub(crate) struct Hasher(u32);

impl Hasher {
    /// Of one bucket.
    pub(crate) fn new(name: &[u8]) -> Self {
        Self(crc32c::crc32c(name))
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = crc32c::crc32c_append(crc32c::crc32c_append(self.0, key), value);
    }

    pub(crate) fn sum(&self) -> u32 {
        self.0
    }
}

impl Sink for Hasher {
    type Error = StoreError;

    fn bucket(&mut self, name: &'static [u8]) -> Result<(), StoreError> {
        self.0 = crc32c::crc32c_append(self.0, name);
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.add(key, value);
        Ok(())
    }
}
