//! The keyspace against a naive model that keeps every state in memory, over random histories with compaction, lease ends,
//! reopening and reads of the past.

use std::collections::BTreeMap;

use bytes::Bytes;
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
        let mut next = self.present().clone();
        let mut changed = false;
        let succeeded = self.run(txn, &mut next, &mut changed);
        if changed {
            self.states.push(next);
        }
        succeeded
    }

    fn run(&self, txn: &Txn, next: &mut Keys, changed: &mut bool) -> bool {
        let succeeded = txn.compare.iter().all(|compare| {
            let range = compare.range().unwrap_or_else(|| KeyRange::key(compare.key().clone()));
            let within: Vec<_> = self.present().values().filter(|kv| range.contains(&kv.key)).cloned().collect();
            compare.holds_of_all(&within)
        });
        for op in if succeeded { &txn.success } else { &txn.failure } {
            match op {
                Op::Put { key, value, lease } => self.put(next, key, value.clone(), *lease, changed),
                Op::Update { key, value, lease } => {
                    let old = next.get(&key[..]).expect("else it was refused").clone();
                    let value = value.clone().unwrap_or(old.value);
                    self.put(next, key, value, lease.unwrap_or(old.lease), changed);
                }
                Op::DeleteRange { range } => {
                    let before = next.len();
                    next.retain(|key, _| !range.contains(key));
                    *changed |= next.len() != before;
                }
                Op::Txn(inner) => {
                    self.run(inner, next, changed);
                }
                Op::Range(_) => {}
            }
        }
        succeeded
    }

    fn put(&self, next: &mut Keys, key: &Bytes, value: Bytes, lease: i64, changed: &mut bool) {
        let (old, revision) = (next.get(&key[..]), self.revision() + 1);
        let kv = KeyValue {
            key: key.clone(),
            value,
            create_revision: old.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |kv| kv.version + 1),
            lease,
        };
        next.insert(key.to_vec(), kv);
        *changed = true;
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
    let lease = || prop_oneof![4 => Just(0i64), 1 => 1..3i64];
    let value = || vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    let put = (key(), value(), lease()).prop_map(|(key, value, lease)| Op::Put { key: key.into(), value, lease });
    let update = (key(), proptest::option::of(value()), proptest::option::of(lease()))
        .prop_map(|(key, value, lease)| Op::Update { key: key.into(), value, lease });
    prop_oneof![6 => put, 1 => update, 3 => range().prop_map(|range| Op::DeleteRange { range })]
}

fn txn() -> impl Strategy<Value = Txn> {
    let flat = || {
        (vec(compare(), 0..2), vec(op(), 0..4), vec(op(), 0..3)).prop_map(|(compare, success, failure)| Txn {
            compare,
            success,
            failure,
        })
    };
    (flat(), proptest::option::weighted(0.2, (flat(), any::<bool>()))).prop_map(|(mut outer, inner)| {
        match inner {
            Some((inner, true)) => outer.success.insert(0, Op::Txn(inner)),
            Some((inner, false)) => outer.success.push(Op::Txn(inner)),
            None => {}
        }
        outer
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation =
        prop_oneof![Just(CompareOp::Equal), Just(CompareOp::NotEqual), Just(CompareOp::Greater), Just(CompareOp::Less)];
    (key(), relation, 0..12u64, 0..5u8, proptest::option::weighted(0.2, key())).prop_map(
        |(key, op, value, target, end)| {
            let key = key.into();
            let each = match target {
                0 => Compare::ModRevision { key, op, value },
                1 => Compare::CreateRevision { key, op, value },
                2 => Compare::Version { key, op, value },
                3 => Compare::Lease { key, op, value: value as i64 },
                _ => Compare::Value { key, op, value: vec![value as u8].into() },
            };
            match end {
                Some(end) => Compare::Range { end: end.into(), each: Box::new(each) },
                None => each,
            }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => txn().prop_map(Step::Txn),
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
    let first = model.compacted.max(2);
    let mut revision = first - 1;
    let request = WatchRequest { range: KeyRange::all(), start_revision: Some(first) };
    let mut watch = keyspace.watch(request).unwrap();
    let mut keys = model.states[usize::try_from(revision).unwrap()].clone();
    while revision < model.revision() {
        let batch = watch.next().now_or_never().expect("history does not wait").unwrap().unwrap();
        assert_eq!(batch.revision, revision + 1);
        for event in batch.events.iter() {
            let known = batch.revision > model.compacted;
            assert_eq!(event.prev_kv.as_ref(), keys.get(&event.kv.key[..]).filter(|_| known), "what was there before");
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
                    let grant = Command::LeaseGrant { id: 0, ttl_seconds: 1 };
                    prop_assert_eq!(apply(&keyspace, &grant), Outcome::Granted(lease));
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
