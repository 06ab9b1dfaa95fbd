//! How the keyspace lies in the database: the encodings of keys and records.
//!
//! Keys of `index` must sort as the user's keys do, and all versions of a key must lie together. So a zero byte within a
//! key becomes `00 FF`, and `00 01` ends it: a key that is a prefix of another sorts before it, whatever follows. The
//! revision comes last, inverted: the newest version is found first.

use crate::{
    CodecError, Database, KeyValue, StoreError,
    codec::{Reader, Writer},
};

pub(super) const REVISIONS: &str = "revisions";
pub(super) const INDEX: &str = "index";
pub(super) const LEASES: &str = "leases";
pub(super) const STATE: &str = "state";

/// The few numbers that say where the keyspace is.
pub(super) mod state {
    use super::{Database, STATE, StoreError};

    pub(in super::super) const REVISION: &[u8] = b"revision";
    pub(in super::super) const COMPACTED: &[u8] = b"compacted";
    pub(in super::super) const RECLAIMED: &[u8] = b"reclaimed";
    pub(in super::super) const LAST_LEASE: &[u8] = b"lease";

    pub(in super::super) fn read(database: &Database, name: &[u8]) -> Result<Option<u64>, StoreError> {
        let Some(bytes) = database.get(STATE, name)? else { return Ok(None) };
        let number = <[u8; 8]>::try_from(&bytes[..]).map_err(|_| StoreError::Corrupt {
            file: format!("the state record {:?} in {}", String::from_utf8_lossy(name), database.path().display()),
            message: format!("it has {} bytes instead of 8", bytes.len()),
        })?;
        Ok(Some(u64::from_be_bytes(number)))
    }
}

/// The position of a change: its revision, and which change of that revision it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub revision: u64,
    pub number: u32,
}

impl Position {
    pub(super) fn first(revision: u64) -> Self {
        Self { revision, number: 0 }
    }

    pub(super) fn key(self) -> [u8; 12] {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&self.revision.to_be_bytes());
        key[8..].copy_from_slice(&self.number.to_be_bytes());
        key
    }

    pub(super) fn read(key: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::copied(key);
        let position = Self { revision: reader.u64()?, number: reader.u32()? };
        reader.done()?;
        Ok(position)
    }
}

/// A key with its zero bytes escaped: where the versions of this and all greater keys begin.
pub(super) fn escaped(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 10);
    for byte in key {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out
}

/// Where the versions of a key begin.
pub(super) fn versions_begin(key: &[u8]) -> Vec<u8> {
    let mut out = escaped(key);
    out.extend_from_slice(&[0, 1]);
    out
}

/// Behind the last version of a key.
pub(super) fn versions_end(key: &[u8]) -> Vec<u8> {
    let mut out = escaped(key);
    out.extend_from_slice(&[0, 2]);
    out
}

/// The index key of one version.
pub(super) fn version_key(key: &[u8], revision: u64) -> Vec<u8> {
    let mut out = versions_begin(key);
    out.extend_from_slice(&(!revision).to_be_bytes());
    out
}

/// Splits an index key into the escaped user key (with its end mark) and the revision.
pub(super) fn split_version_key(index_key: &[u8]) -> Result<(&[u8], u64), CodecError> {
    let (key, revision) =
        index_key.split_last_chunk::<8>().ok_or(CodecError::Short { have: index_key.len(), need: 8 })?;
    Ok((key, !u64::from_be_bytes(*revision)))
}

/// The user's key out of an escaped one with its end mark.
pub(super) fn unescape(marked: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(marked.len());
    let mut bytes = marked.iter();
    while let Some(byte) = bytes.next() {
        if *byte == 0 && bytes.next() == Some(&1) {
            break;
        }
        out.push(*byte);
    }
    out
}

/// What the index knows of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub position: Position,
    pub deleted: bool,
    pub create_revision: u64,
    pub version: u64,
    pub lease: i64,
}

impl Version {
    pub(super) fn of(kv: &KeyValue, number: u32, deleted: bool) -> Self {
        Self {
            position: Position { revision: kv.mod_revision, number },
            deleted,
            create_revision: kv.create_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(29);
        writer.raw(&self.position.number.to_be_bytes());
        writer.bool(self.deleted);
        writer.u64(self.create_revision);
        writer.u64(self.version);
        writer.i64(self.lease);
        writer.done()
    }

    pub(super) fn decode(revision: u64, value: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::copied(value);
        let version = Self {
            position: Position { revision, number: reader.u32()? },
            deleted: reader.bool()?,
            create_revision: reader.u64()?,
            version: reader.u64()?,
            lease: reader.i64()?,
        };
        reader.done()?;
        Ok(version)
    }

    /// The key-value it stands for, without the value.
    pub(super) fn key_value(&self, key: Vec<u8>) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: bytes::Bytes::new(),
            create_revision: self.create_revision,
            mod_revision: self.position.revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// A change as `revisions` holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub deleted: bool,
    pub kv: KeyValue,
}

impl Change {
    pub(super) fn encode(kv: &KeyValue, deleted: bool) -> Vec<u8> {
        let mut writer = Writer::with_capacity(29 + kv.key.len() + kv.value.len());
        writer.bool(deleted);
        writer.u64(kv.create_revision);
        writer.u64(kv.version);
        writer.i64(kv.lease);
        writer.bytes(&kv.key);
        writer.raw(&kv.value);
        writer.done()
    }

    pub(super) fn decode(revision: u64, value: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::copied(value);
        let deleted = reader.bool()?;
        let create_revision = reader.u64()?;
        let version = reader.u64()?;
        let lease = reader.i64()?;
        let key = reader.bytes()?;
        let value = reader.rest();
        Ok(Self { deleted, kv: KeyValue { key, value, create_revision, mod_revision: revision, version, lease } })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn index_keys_sort_as_keys_do_and_newest_first(a: Vec<u8>, b: Vec<u8>, x: u64, y: u64) {
            let expected = a.cmp(&b).then(y.cmp(&x));
            prop_assert_eq!(version_key(&a, x).cmp(&version_key(&b, y)), expected);
        }

        #[test]
        fn an_index_key_gives_back_key_and_revision(key in proptest::collection::vec(0u8..3, 0..6), revision: u64) {
            let encoded = version_key(&key, revision);
            let (marked, found) = split_version_key(&encoded).unwrap();
            prop_assert_eq!(unescape(marked), key);
            prop_assert_eq!(found, revision);
        }

        #[test]
        fn a_bound_cuts_where_the_key_would(key in proptest::collection::vec(0u8..3, 0..6),
                                            bound in proptest::collection::vec(0u8..3, 0..6)) {
            prop_assert_eq!(version_key(&key, 1) >= escaped(&bound), key >= bound);
        }
    }
}
