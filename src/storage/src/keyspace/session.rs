//! Changing the keyspace: commands in, one atomic batch out.
//!
//! A session sees the database as it was when the session began, and over it what it changed itself. So several commands
//! can go into one batch, each seeing the ones before, and nothing is visible to anyone before [`Session::commit`].

use std::{collections::BTreeMap, sync::atomic::Ordering};

use bytes::Bytes;
use parking_lot::MutexGuard;
use rocksdb::WriteBatch;

use super::{
    Keyspace,
    layout::{self, Change, INDEX, Position, REVISIONS, STATE, Version, state},
    leases::LeaseChanges,
    view::View,
};
use crate::{
    Command, Event, EventKind, KeyRange, KeyValue, Lease, Op, OpResponse, Outcome, RangeRequest, RangeResponse,
    Refusal, StoreError, Txn, TxnResponse, WatchBatch,
};

/// The one writer.
pub struct Session<'a> {
    keyspace: &'a Keyspace,
    view: View<'a>,
    batch: WriteBatch,
    revision: u64,
    compacted: u64,
    /// What this session read or made of keys; `None` is absent.
    present: BTreeMap<Bytes, Option<KeyValue>>,
    leases: LeaseChanges,
    changed: Vec<WatchBatch>,
    _only: MutexGuard<'a, ()>,
}

/// Which branches of a transaction and of those within it are taken, in the order in which they are come by.
#[derive(Default)]
pub(super) struct Branches(pub(super) Vec<bool>);

impl Branches {
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk(self.0.iter())
    }
}

/// A way through the branches.
pub(super) struct Walk<'a>(std::slice::Iter<'a, bool>);

impl Walk<'_> {
    pub(super) fn next(&mut self) -> bool {
        *self.0.next().expect("every transaction that is come by was judged before, in the same order")
    }
}

/// The changes of the one revision that a transaction makes.
struct Changes {
    revision: u64,
    events: Vec<Event>,
}

impl<'a> Session<'a> {
    pub(super) fn new(keyspace: &'a Keyspace) -> Self {
        let only = keyspace.inner.writing.lock();
        Self {
            keyspace,
            view: View::new(&keyspace.inner.database),
            batch: WriteBatch::default(),
            revision: keyspace.revision(),
            compacted: keyspace.compacted_revision(),
            present: BTreeMap::new(),
            leases: LeaseChanges::default(),
            changed: Vec::new(),
            _only: only,
        }
    }

    /// The revision that the keyspace is at once the session is committed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The batch that the session writes, to add to it what has to be true together with its changes.
    pub fn batch(&mut self) -> &mut WriteBatch {
        &mut self.batch
    }

    /// Applies one command. The same commands give the same outcomes and the same state everywhere.
    ///
    /// # Errors
    /// Only when the disk fails: a command that cannot be done has the outcome [`Outcome::Refused`].
    pub fn apply(&mut self, command: &Command) -> Result<Outcome, StoreError> {
        if let Err(refusal) = command.check() {
            return Ok(Outcome::Refused(refusal));
        }
        let outcome = match command {
            Command::Txn(txn) => self.txn(txn)?.map(Outcome::Txn),
            Command::Compact { revision } => self.compact(*revision),
            Command::LeaseGrant { id, ttl_seconds } => self.grant(*id, *ttl_seconds)?,
            Command::LeaseRevoke { id } => self.revoke(*id)?,
        };
        Ok(outcome.unwrap_or_else(Outcome::Refused))
    }

    /// Writes everything at once, then lets readers and watches see it.
    ///
    /// # Errors
    /// When the disk refuses; then nothing has changed.
    pub fn commit(self) -> Result<(), StoreError> {
        self.write(false)
    }

    /// As [`Session::commit`], and durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn commit_synced(self) -> Result<(), StoreError> {
        self.write(true)
    }

    fn write(mut self, durably: bool) -> Result<(), StoreError> {
        let inner = &self.keyspace.inner;
        let database = &inner.database;
        let family = database.family(STATE);
        if !self.changed.is_empty() {
            self.batch.put_cf(family, state::REVISION, self.revision.to_be_bytes());
        }
        let compacts = self.compacted > self.keyspace.compacted_revision();
        if compacts {
            self.batch.put_cf(family, state::COMPACTED, self.compacted.to_be_bytes());
        }
        self.leases.write(database, &mut self.batch);
        if durably {
            database.write_synced(self.batch)?
        } else {
            database.write(self.batch)?
        }
        inner.revision.store(self.revision, Ordering::Release);
        if compacts {
            inner.compacted.send_replace(self.compacted);
        }
        inner.hub.publish(&self.changed);
        Ok(())
    }

    fn done(&self) -> Result<Outcome, Refusal> {
        Ok(Outcome::Done { revision: self.revision })
    }

    fn compact(&mut self, revision: u64) -> Result<Outcome, Refusal> {
        if revision > self.revision {
            return Err(Refusal::FutureRevision { requested: revision, current: self.revision });
        }
        if revision <= self.compacted {
            return Err(Refusal::Compacted { requested: revision, compacted: self.compacted });
        }
        self.compacted = revision;
        self.done()
    }

    fn grant(&mut self, id: i64, ttl_seconds: u64) -> Result<Result<Outcome, Refusal>, StoreError> {
        let database = self.view.database();
        let lease = match id {
            0 => self.leases.grant(database, ttl_seconds)?,
            _ if self.leases.get(database, id)?.is_some() => return Ok(Err(Refusal::LeaseExists(id))),
            _ => self.leases.grant_as(Lease { id, ttl_seconds }),
        };
        Ok(Ok(Outcome::Granted(lease)))
    }

    fn revoke(&mut self, id: i64) -> Result<Result<Outcome, Refusal>, StoreError> {
        let database = self.view.database();
        if self.leases.get(database, id)?.is_none() {
            return Ok(Err(Refusal::LeaseNotFound(id)));
        }
        let mut changes = self.begin();
        for key in self.leases.keys(database, id)? {
            if let Some(previous) = self.get(&key)? {
                self.delete(&mut changes, previous);
            }
        }
        self.leases.revoke(id);
        self.end(changes);
        Ok(self.done())
    }

    fn txn(&mut self, txn: &Txn) -> Result<Result<TxnResponse, Refusal>, StoreError> {
        let mut branches = Branches::default();
        self.judge(txn, &mut branches)?;
        // Everything that refuses comes before the first change: a refused transaction has changed nothing.
        if let Some(refusal) = self.refuse(txn, &mut branches.walk())? {
            return Ok(Err(refusal));
        }
        let mut changes = self.begin();
        let mut response = self.run(txn, &mut branches.walk(), &mut changes)?;
        self.end(changes);
        response.set_revision(self.revision);
        Ok(Ok(response))
    }

    /// Decides which branches are taken, before anything is changed.
    fn judge(&mut self, txn: &Txn, branches: &mut Branches) -> Result<(), StoreError> {
        let mut succeeded = true;
        for compare in &txn.compare {
            succeeded &= match compare.range() {
                None => compare.holds(self.get(compare.key())?.as_ref()),
                Some(range) => compare.holds_of_all(&self.all(&range)?),
            };
        }
        branches.0.push(succeeded);
        for op in txn.branch(succeeded) {
            if let Op::Txn(inner) = op {
                self.judge(inner, branches)?;
            }
        }
        Ok(())
    }

    /// Why the branches that are taken cannot be run, if they cannot.
    fn refuse(&mut self, txn: &Txn, branches: &mut Walk<'_>) -> Result<Option<Refusal>, StoreError> {
        for op in txn.branch(branches.next()) {
            let refusal = match op {
                Op::Put { lease, .. } => self.refuse_lease(*lease)?,
                Op::Update { key, lease, .. } => {
                    if self.get(key)?.is_none() {
                        Some(Refusal::KeyNotFound(String::from_utf8_lossy(key).into_owned()))
                    } else {
                        self.refuse_lease(lease.unwrap_or(0))?
                    }
                }
                Op::Range(RangeRequest { revision: Some(requested), .. }) => self.refuse_revision(*requested),
                Op::Txn(inner) => self.refuse(inner, branches)?,
                Op::DeleteRange { .. } | Op::Range(_) => None,
            };
            if refusal.is_some() {
                return Ok(refusal);
            }
        }
        Ok(None)
    }

    fn refuse_lease(&self, id: i64) -> Result<Option<Refusal>, StoreError> {
        let missing = id != 0 && self.leases.get(self.view.database(), id)?.is_none();
        Ok(missing.then_some(Refusal::LeaseNotFound(id)))
    }

    fn refuse_revision(&self, requested: u64) -> Option<Refusal> {
        if requested > self.revision {
            Some(Refusal::FutureRevision { requested, current: self.revision })
        } else {
            (requested < self.compacted).then_some(Refusal::Compacted { requested, compacted: self.compacted })
        }
    }

    /// Runs the branches that were decided on.
    fn run(&mut self, txn: &Txn, branches: &mut Walk<'_>, changes: &mut Changes) -> Result<TxnResponse, StoreError> {
        let succeeded = branches.next();
        let ops = txn.branch(succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                Op::Put { key, value, lease } => {
                    let prev_kv = self.get(key)?;
                    self.put(changes, key, value, *lease, prev_kv.clone());
                    OpResponse::Put { prev_kv }
                }
                Op::Update { key, value, lease } => {
                    let prev_kv = self.get(key)?;
                    let (old_value, old_lease) =
                        prev_kv.as_ref().map_or_else(Default::default, |kv| (kv.value.clone(), kv.lease));
                    let value = value.as_ref().unwrap_or(&old_value);
                    self.put(changes, key, value, lease.unwrap_or(old_lease), prev_kv.clone());
                    OpResponse::Put { prev_kv }
                }
                Op::DeleteRange { range } => {
                    let prev_kvs = self.all(range)?;
                    for previous in &prev_kvs {
                        self.delete(changes, previous.clone());
                    }
                    OpResponse::DeleteRange { prev_kvs }
                }
                Op::Range(request) => OpResponse::Range(self.range(request, changes)?),
                Op::Txn(inner) => OpResponse::Txn(self.run(inner, branches, changes)?),
            });
        }
        Ok(TxnResponse { succeeded, revision: 0, responses })
    }

    /// The present version of a key. It is read once: a transaction mostly writes the key that it compared.
    fn get(&mut self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        if let Some(present) = self.present.get(key) {
            return Ok(present.clone());
        }
        let found = self.view.get(key, u64::MAX)?;
        self.present.insert(key.clone(), found.clone());
        Ok(found)
    }

    /// The present versions of a range, in order.
    fn all(&mut self, range: &KeyRange) -> Result<Vec<KeyValue>, StoreError> {
        if range.end.is_none() {
            return Ok(self.get(&range.start)?.into_iter().collect());
        }
        let before = self.view.range(&RangeRequest::new(range.clone()), u64::MAX)?;
        let mut kvs: BTreeMap<Bytes, KeyValue> = before.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        for (key, present) in &self.present {
            if range.contains(key) {
                match present {
                    Some(kv) => kvs.insert(key.clone(), kv.clone()),
                    None => kvs.remove(key),
                };
            }
        }
        Ok(kvs.into_values().collect())
    }

    /// A range as it was when an earlier transaction, perhaps of this session, had made `revision`.
    fn all_at(&self, range: &KeyRange, revision: u64) -> Result<Vec<KeyValue>, StoreError> {
        let before = self.view.range(&RangeRequest::new(range.clone()), revision)?;
        let mut kvs: BTreeMap<Bytes, KeyValue> = before.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        let made = self.changed.iter().filter(|batch| batch.revision <= revision).flat_map(|batch| &*batch.events);
        for event in made.filter(|event| range.contains(&event.kv.key)) {
            match event.kind {
                EventKind::Put => kvs.insert(event.kv.key.clone(), event.kv.clone()),
                EventKind::Delete => kvs.remove(&event.kv.key),
            };
        }
        Ok(kvs.into_values().collect())
    }

    fn range(&mut self, request: &RangeRequest, changes: &Changes) -> Result<RangeResponse, StoreError> {
        let present = if changes.events.is_empty() { self.revision } else { changes.revision };
        let revision = request.revision.unwrap_or(present);
        let mut kvs = match request.revision {
            None => self.all(&request.range)?,
            Some(revision) => self.all_at(&request.range, revision)?,
        };
        let count = kvs.len() as u64;
        if request.count_only {
            kvs.clear();
        } else if request.limit > 0 {
            kvs.truncate(request.limit);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        let more = !request.count_only && count > kvs.len() as u64;
        Ok(RangeResponse { revision, kvs, more, count })
    }

    fn begin(&self) -> Changes {
        Changes { revision: self.revision + 1, events: Vec::new() }
    }

    fn end(&mut self, changes: Changes) {
        if !changes.events.is_empty() {
            self.revision = changes.revision;
            self.changed.push(WatchBatch { revision: changes.revision, events: changes.events.into() });
        }
    }

    fn put(&mut self, changes: &mut Changes, key: &Bytes, value: &Bytes, lease: i64, prev_kv: Option<KeyValue>) {
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: prev_kv.as_ref().map_or(changes.revision, |previous| previous.create_revision),
            mod_revision: changes.revision,
            version: prev_kv.as_ref().map_or(0, |previous| previous.version) + 1,
            lease,
        };
        self.record(changes, Event { kind: EventKind::Put, kv, prev_kv });
    }

    fn delete(&mut self, changes: &mut Changes, previous: KeyValue) {
        let kv = KeyValue {
            key: previous.key.clone(),
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: changes.revision,
            version: 0,
            lease: 0,
        };
        self.record(changes, Event { kind: EventKind::Delete, kv, prev_kv: Some(previous) });
    }

    fn record(&mut self, changes: &mut Changes, event: Event) {
        let database = self.view.database();
        let deleted = event.kind == EventKind::Delete;
        // The steps of a transaction are bounded far below u32, and its deletions by the keys there are.
        let number = u32::try_from(changes.events.len()).unwrap_or(u32::MAX);
        let position = Position { revision: changes.revision, number };
        let version = Version::of(&event.kv, number, deleted);
        self.batch.put_cf(database.family(REVISIONS), position.key(), Change::encode(&event.kv, deleted));
        let index_key = layout::version_key(&event.kv.key, changes.revision);
        self.batch.put_cf(database.family(INDEX), index_key, version.encode());
        if let Some(previous) = &event.prev_kv {
            self.leases.detach(previous.lease, &previous.key);
        }
        self.leases.attach(event.kv.lease, &event.kv.key);
        self.present.insert(event.kv.key.clone(), (!deleted).then(|| event.kv.clone()));
        changes.events.push(event);
    }
}
