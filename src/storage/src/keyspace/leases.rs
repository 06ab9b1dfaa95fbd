//! Leases as data: which there are, and which keys live by them.
//!
//! The store never ends a lease by itself, since it has no clock: the leader proposes the end, and it is applied
//! everywhere alike.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rocksdb::{Direction, IteratorMode, ReadOptions, WriteBatch};

use super::layout::{LEASES, STATE, state};
use crate::{
    CodecError, Database, Lease, StoreError,
    codec::{Reader, Writer},
};

/// Begins the records of leases.
pub(super) const GRANTED: u8 = b'L';
/// Begins the records of keys that live by a lease.
const ATTACHED: u8 = b'K';

fn lease_key(id: i64) -> [u8; 9] {
    numbered(GRANTED, id)
}

fn attached_key(id: i64, key: &[u8]) -> Vec<u8> {
    [&numbered(ATTACHED, id)[..], key].concat()
}

fn numbered(kind: u8, id: i64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn encode(lease: &Lease) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.i64(lease.id);
    writer.u64(lease.ttl_seconds);
    writer.done()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Lease, CodecError> {
    let mut reader = Reader::copied(bytes);
    let lease = Lease { id: reader.i64()?, ttl_seconds: reader.u64()? };
    reader.done()?;
    Ok(lease)
}

/// Calls `visit` with every record that begins with `prefix`.
fn scan(
    database: &Database,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut options = ReadOptions::default();
    options.set_iterate_range(rocksdb::PrefixRange(prefix));
    let mode = IteratorMode::From(prefix, Direction::Forward);
    for record in database.raw().iterator_cf_opt(database.family(LEASES), options, mode) {
        let (key, value) = record.map_err(|error| database.explain(&error))?;
        visit(&key, &value)?;
    }
    Ok(())
}

/// All leases.
pub(super) fn all(database: &Database) -> Result<Vec<Lease>, StoreError> {
    let mut leases = Vec::new();
    scan(database, &[GRANTED], |_, value| {
        leases.push(decode(value)?);
        Ok(())
    })?;
    Ok(leases)
}

/// One lease.
pub(super) fn get(database: &Database, id: i64) -> Result<Option<Lease>, StoreError> {
    Ok(database.get(LEASES, &lease_key(id))?.map(|bytes| decode(&bytes)).transpose()?)
}

/// The keys that live by a lease, in order.
pub(super) fn keys(database: &Database, id: i64) -> Result<BTreeSet<Bytes>, StoreError> {
    let prefix = numbered(ATTACHED, id);
    let mut keys = BTreeSet::new();
    scan(database, &prefix, |key, _| {
        keys.insert(Bytes::copy_from_slice(&key[prefix.len()..]));
        Ok(())
    })?;
    Ok(keys)
}

/// What a session changes about leases. The database it reads does not change under it: there is one session at a time.
#[derive(Debug, Default)]
pub(super) struct LeaseChanges {
    /// Granted or, with `None`, ended.
    leases: BTreeMap<i64, Option<Lease>>,
    /// Attached or, with `false`, detached.
    attached: BTreeMap<(i64, Bytes), bool>,
    /// The number given last, if this session gave one.
    last: Option<u64>,
}

impl LeaseChanges {
    pub(super) fn get(&self, database: &Database, id: i64) -> Result<Option<Lease>, StoreError> {
        match self.leases.get(&id) {
            Some(lease) => Ok(*lease),
            None => get(database, id),
        }
    }

    pub(super) fn keys(&self, database: &Database, id: i64) -> Result<BTreeSet<Bytes>, StoreError> {
        let mut keys = keys(database, id)?;
        for ((_, key), attached) in self.attached.range((id, Bytes::new())..).take_while(|((of, _), _)| *of == id) {
            if *attached {
                keys.insert(key.clone());
            } else {
                keys.remove(key);
            }
        }
        Ok(keys)
    }

    /// Grants a lease under the next number that no lease has; none that was chosen here before.
    pub(super) fn grant(&mut self, database: &Database, ttl_seconds: u64) -> Result<Lease, StoreError> {
        let mut last = match self.last {
            Some(last) => last,
            None => state::read(database, state::LAST_LEASE)?.unwrap_or(0),
        };
        loop {
            last += 1;
            self.last = Some(last);
            let id = i64::try_from(last).expect("2^63 leases are never granted");
            // Some may have been granted under a number that was asked for.
            if self.get(database, id)?.is_none() {
                return Ok(self.grant_as(Lease { id, ttl_seconds }));
            }
        }
    }

    /// Grants a lease whose number is known to be free.
    pub(super) fn grant_as(&mut self, lease: Lease) -> Lease {
        self.leases.insert(lease.id, Some(lease));
        lease
    }

    pub(super) fn revoke(&mut self, id: i64) {
        self.leases.insert(id, None);
    }

    pub(super) fn attach(&mut self, id: i64, key: &Bytes) {
        if id != 0 {
            self.attached.insert((id, key.clone()), true);
        }
    }

    pub(super) fn detach(&mut self, id: i64, key: &Bytes) {
        if id != 0 {
            self.attached.insert((id, key.clone()), false);
        }
    }

    pub(super) fn write(&self, database: &Database, batch: &mut WriteBatch) {
        let family = database.family(LEASES);
        if let Some(last) = self.last {
            batch.put_cf(database.family(STATE), state::LAST_LEASE, last.to_be_bytes());
        }
        for (id, lease) in &self.leases {
            match lease {
                Some(lease) => batch.put_cf(family, lease_key(*id), encode(lease)),
                None => batch.delete_cf(family, lease_key(*id)),
            }
        }
        for ((id, key), attached) in &self.attached {
            let record = attached_key(*id, key);
            if *attached { batch.put_cf(family, record, []) } else { batch.delete_cf(family, record) }
        }
    }
}
