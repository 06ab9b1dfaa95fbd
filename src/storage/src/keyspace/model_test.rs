//! The keyspace against a naive model that keeps every state in memory, over random histories with compaction, lease ends,
//! reopening and reads of the past.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt};
use proptest::{collection::vec, prelude::*};

use super::{
    Keyspace,
    tests::{open, reopen},
};
use crate::{
    Command, Compare, CompareOp, EventKind, KeyRange, KeyValue, Lease, Op, Outcome, RangeRequest, StoreError, Txn,
    WatchRequest,
};

type Keys = BTreeMap<Vec<u8>, KeyValue>;

/// Every state there ever was; the index is the revision.
struct Model {
    states: Vec<Keys>,
    compacted: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Txn(Txn),
    Grant,
    Revoke(i64),
    /// How far back from the present, and how many versions are reclaimed at once.
    Compact(u64, usize),
    Reopen,
}

impl Model {
    fn new() -> Self {
        Self { states: vec![Keys::new(), Keys::new()], compacted: 0 }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn present(&self) -> &Keys {
        self.states.last().expect("it begins with two states")
    }

    fn txn(&mut self, txn: &Txn) -> bool {
        let succeeded = txn.compare.iter().all(|compare| compare.holds(self.present().get(&compare.key()[..])));
        let mut next = self.present().clone();
        let revision = self.revision() + 1;
        let mut changed = false;
        for op in if succeeded { &txn.success } else { &txn.failure } {
            match op {
                Op::Put { key, value, lease } => {
                    let old = next.get(&key[..]);
                    let kv = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: old.map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        version: old.map_or(1, |kv| kv.version + 1),
                        lease: *lease,
                    };
                    next.insert(key.to_vec(), kv);
                    changed = true;
                }
                Op::DeleteRange { range } => {
                    let before = next.len();
                    next.retain(|key, _| !range.contains(key));
                    changed |= next.len() != before;
                }
                Op::Range(_) => {}
            }
        }
        if changed {
            self.states.push(next);
        }
        succeeded
    }

    fn revoke(&mut self, id: i64) {
        let mut next = self.present().clone();
        next.retain(|_, kv| kv.lease != id);
        if next.len() != self.present().len() {
            self.states.push(next);
        }
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few keys, prefixes of each other, with the bytes that the encoding treats specially.
    vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)], 1..3)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::key),
        key().prop_map(KeyRange::prefix),
        (key(), key()).prop_map(|(start, end)| KeyRange { start: start.into(), end: Some(end.into()) }),
        Just(KeyRange::all()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let put = (key(), vec(any::<u8>(), 0..4), prop_oneof![4 => Just(0i64), 1 => 1..3i64])
        .prop_map(|(key, value, lease)| Op::Put { key: key.into(), value: value.into(), lease });
    prop_oneof![4 => put, 2 => range().prop_map(|range| Op::DeleteRange { range })]
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation =
        prop_oneof![Just(CompareOp::Equal), Just(CompareOp::NotEqual), Just(CompareOp::Greater), Just(CompareOp::Less)];
    (key(), relation, 0..12u64, 0..4u8).prop_map(|(key, op, value, target)| {
        let key = key.into();
        match target {
            0 => Compare::ModRevision { key, op, value },
            1 => Compare::CreateRevision { key, op, value },
            2 => Compare::Version { key, op, value },
            _ => Compare::Value { key, op, value: vec![value as u8].into() },
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let txn = (vec(compare(), 0..2), vec(op(), 0..4), vec(op(), 0..3))
        .prop_map(|(compare, success, failure)| Step::Txn(Txn { compare, success, failure }));
    prop_oneof![
        20 => txn,
        2 => Just(Step::Grant),
        1 => (1..3i64).prop_map(Step::Revoke),
        2 => (0..6u64, 1..5usize).prop_map(|(back, at_once)| Step::Compact(back, at_once)),
        1 => Just(Step::Reopen),
    ]
}

fn apply(keyspace: &Keyspace, command: &Command) -> Outcome {
    let mut session = keyspace.session();
    let outcome = session.apply(command).unwrap();
    session.commit().unwrap();
    outcome
}

/// Compares what a range shows at every revision that is not forgotten.
fn same_history(keyspace: &Keyspace, model: &Model, range: &KeyRange) {
    assert_eq!(keyspace.revision(), model.revision());
    assert_eq!(keyspace.compacted_revision(), model.compacted);
    for revision in 1..=model.revision() {
        let request = RangeRequest { revision: Some(revision), ..RangeRequest::new(range.clone()) };
        let found = keyspace.range(&request);
        if revision < model.compacted {
            assert!(matches!(found, Err(StoreError::Compacted { .. })), "{found:?}");
            continue;
        }
        let keys = &model.states[usize::try_from(revision).unwrap()];
        let expected: Vec<_> = keys.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        let found = found.unwrap();
        assert_eq!(found.kvs, expected, "revision {revision}");
        assert_eq!(found.count, expected.len() as u64);
    }
    let future = RangeRequest { revision: Some(model.revision() + 1), ..RangeRequest::new(range.clone()) };
    assert!(matches!(keyspace.range(&future), Err(StoreError::FutureRevision { .. })));
}

/// Replays a watch from the first revision it may begin at and compares the states that its events lead through.
fn same_events(keyspace: &Keyspace, model: &Model) {
    let mut revision = model.compacted.max(1);
    let request = WatchRequest { range: KeyRange::all(), start_revision: Some(revision + 1) };
    let mut watch = keyspace.watch(request).unwrap();
    let mut keys = model.states[usize::try_from(revision).unwrap()].clone();
    while revision < model.revision() {
        let batch = watch.next().now_or_never().expect("history does not wait").unwrap().unwrap();
        assert_eq!(batch.revision, revision + 1);
        for event in batch.events.iter() {
            assert_eq!(event.prev_kv.as_ref(), keys.get(&event.kv.key[..]), "what was there before");
            match event.kind {
                EventKind::Put => keys.insert(event.kv.key.to_vec(), event.kv.clone()),
                EventKind::Delete => keys.remove(&event.kv.key[..]),
            };
        }
        revision = batch.revision;
        assert_eq!(keys, model.states[usize::try_from(revision).unwrap()], "after revision {revision}");
    }
    let notice = watch.next().now_or_never().expect("the notice follows at once").unwrap().unwrap();
    assert!(notice.events.is_empty() && notice.revision == model.revision());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_keyspace_does_what_the_model_does(steps in vec(step(), 1..40), range in range()) {
        let (directory, mut keyspace) = open();
        let mut model = Model::new();
        let mut leases = BTreeMap::new();
        let mut granted = 0;
        for step in steps {
            match step {
                Step::Txn(txn) => match apply(&keyspace, &Command::Txn(txn.clone())) {
                    Outcome::Txn(response) => {
                        prop_assert_eq!(response.succeeded, model.txn(&txn));
                        prop_assert_eq!(response.revision, model.revision());
                    }
                    // A key changed twice, or no such lease: what matters is that nothing changed, which is seen below.
                    outcome => prop_assert!(matches!(outcome, Outcome::Refused(_))),
                },
                Step::Grant => {
                    granted += 1;
                    let lease = Lease { id: granted, ttl_seconds: 1 };
                    prop_assert_eq!(apply(&keyspace, &Command::LeaseGrant { ttl_seconds: 1 }), Outcome::Granted(lease));
                    leases.insert(granted, lease);
                }
                Step::Revoke(id) => {
                    apply(&keyspace, &Command::LeaseRevoke { id });
                    if leases.remove(&id).is_some() {
                        model.revoke(id);
                    }
                }
                Step::Compact(back, at_once) => {
                    let revision = model.revision().saturating_sub(back);
                    apply(&keyspace, &Command::Compact { revision });
                    model.compacted = model.compacted.max(revision);
                    keyspace.reclaim(at_once).unwrap();
                }
                Step::Reopen => {
                    drop(keyspace);
                    keyspace = reopen(directory.path());
                }
            }
            prop_assert_eq!(keyspace.leases().unwrap(), leases.values().copied().collect::<Vec<_>>());
        }
        same_history(&keyspace, &model, &range);
        same_history(&keyspace, &model, &KeyRange::all());
        same_events(&keyspace, &model);
        while keyspace.reclaim(2).unwrap() {}
        same_history(&keyspace, &model, &KeyRange::all());
        same_events(&keyspace, &model);
    }
}
