//! The keyspace's promises, one by one.

use bytes::Bytes;

use super::Keyspace;
use crate::{
    Command, Compare, CompareOp, KeyRange, KeyValue, Lease, Op, OpResponse, Outcome, RangeRequest, Refusal, StoreError,
    Txn, TxnResponse, open_database,
};

pub(crate) fn open() -> (tempfile::TempDir, Keyspace) {
    let directory = tempfile::tempdir().unwrap();
    let keyspace = reopen(directory.path());
    (directory, keyspace)
}

pub(crate) fn reopen(path: &std::path::Path) -> Keyspace {
    Keyspace::open(open_database(path, &["other"]).unwrap()).unwrap()
}

fn apply(keyspace: &Keyspace, command: &Command) -> Outcome {
    let mut session = keyspace.session();
    let outcome = session.apply(command).unwrap();
    session.commit().unwrap();
    outcome
}

fn txn(keyspace: &Keyspace, success: Vec<Op>) -> TxnResponse {
    match apply(keyspace, &Command::Txn(Txn { success, ..Txn::default() })) {
        Outcome::Txn(response) => response,
        other => panic!("{other:?}"),
    }
}

fn put(key: &str, value: &str) -> Op {
    leased(key, value, 0)
}

fn leased(key: &str, value: &str, lease: i64) -> Op {
    Op::Put { key: key.to_owned().into(), value: value.to_owned().into(), lease }
}

fn delete(key: &str) -> Op {
    Op::DeleteRange { range: KeyRange::key(key.to_owned()) }
}

fn list(keyspace: &Keyspace, prefix: &str, revision: Option<u64>) -> Vec<(String, String)> {
    let request = RangeRequest { revision, ..RangeRequest::new(KeyRange::prefix(prefix.to_owned())) };
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    keyspace.range(&request).unwrap().kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

fn get(keyspace: &Keyspace, key: &str) -> Option<KeyValue> {
    keyspace.range(&RangeRequest::new(KeyRange::key(key.to_owned()))).unwrap().kvs.pop()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn a_key_counts_its_versions_and_begins_anew_after_a_deletion() {
    let (_directory, keyspace) = open();
    assert_eq!(keyspace.revision(), 1);
    txn(&keyspace, vec![put("a", "1")]);
    txn(&keyspace, vec![put("a", "2")]);
    let kv = get(&keyspace, "a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    txn(&keyspace, vec![delete("a")]);
    assert_eq!(get(&keyspace, "a"), None);
    txn(&keyspace, vec![put("a", "3")]);
    let kv = get(&keyspace, "a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn a_transaction_that_changes_nothing_makes_no_revision() {
    let (_directory, keyspace) = open();
    let response = txn(&keyspace, vec![delete("absent")]);
    assert_eq!(response.revision, 1);
    assert_eq!(response.responses, [OpResponse::DeleteRange { prev_kvs: vec![] }]);
}

#[test]
fn all_steps_of_a_transaction_share_one_revision_and_see_those_before() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("b", "old")]);
    let read = Op::Range(RangeRequest::new(KeyRange::all()));
    let response = txn(&keyspace, vec![read.clone(), put("a", "1"), delete("b"), put("c", "2"), read]);
    assert_eq!(response.revision, 3);
    let keys = |index: usize| match &response.responses[index] {
        OpResponse::Range(range) => range.kvs.iter().map(|kv| (kv.key.clone(), kv.mod_revision)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(0), [("b".into(), 2)]);
    assert_eq!(keys(4), [("a".into(), 3), ("c".into(), 3)]);
    assert_eq!(list(&keyspace, "", Some(2)), [pair("b", "old")]);
}

#[test]
fn only_the_branch_that_the_comparisons_choose_runs() {
    let (_directory, keyspace) = open();
    let create = Command::Txn(Txn {
        compare: vec![Compare::ModRevision { key: "a".into(), op: CompareOp::Equal, value: 0 }],
        success: vec![put("a", "1")],
        failure: vec![Op::Range(RangeRequest::new(KeyRange::key("a")))],
    });
    assert!(matches!(apply(&keyspace, &create), Outcome::Txn(TxnResponse { succeeded: true, revision: 2, .. })));
    let Outcome::Txn(again) = apply(&keyspace, &create) else { panic!("it was refused") };
    assert!(!again.succeeded && again.revision == 2);
    assert!(matches!(&again.responses[..], [OpResponse::Range(range)] if range.count == 1));
}

#[test]
fn several_commands_of_one_session_see_each_other_and_appear_together() {
    let (_directory, keyspace) = open();
    let mut session = keyspace.session();
    let command = |key, value| Command::Txn(Txn { success: vec![put(key, value)], ..Txn::default() });
    session.apply(&command("a", "1")).unwrap();
    session.apply(&command("a", "2")).unwrap();
    assert_eq!(keyspace.revision(), 1);
    assert_eq!(get(&keyspace, "a"), None);
    session.commit().unwrap();
    assert_eq!(get(&keyspace, "a").unwrap().version, 2);
    assert_eq!(list(&keyspace, "", Some(2)), [pair("a", "1")]);
}

#[test]
fn a_limit_cuts_the_list_but_not_the_count() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "1"), put("b", "2"), put("c", "3")]);
    let all = RangeRequest::new(KeyRange::all());
    let page = keyspace.range(&RangeRequest { limit: 2, ..all.clone() }).unwrap();
    assert_eq!((page.kvs.len(), page.more, page.count), (2, true, 3));
    let count = keyspace.range(&RangeRequest { count_only: true, ..all.clone() }).unwrap();
    assert_eq!((count.kvs.len(), count.more, count.count), (0, false, 3));
    let keys = keyspace.range(&RangeRequest { keys_only: true, ..all }).unwrap();
    assert!(keys.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision == 2));
    assert_eq!(keys.kvs[2].key, "c");
}

#[test]
fn many_versions_of_one_key_do_not_hide_the_next_key() {
    let (_directory, keyspace) = open();
    for round in 0..40 {
        txn(&keyspace, vec![put("a", &round.to_string())]);
    }
    txn(&keyspace, vec![put("a\0", "zero"), put("b", "next")]);
    assert_eq!(list(&keyspace, "", None), [pair("a", "39"), pair("a\0", "zero"), pair("b", "next")]);
    assert_eq!(list(&keyspace, "", Some(3)), [pair("a", "1")]);
}

#[test]
fn compaction_refuses_what_is_forgotten_and_keeps_what_is_visible() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "1"), put("gone", "x")]);
    txn(&keyspace, vec![put("a", "2"), delete("gone")]);
    txn(&keyspace, vec![put("a", "3")]);
    assert_eq!(apply(&keyspace, &Command::Compact { revision: 3 }), Outcome::Done { revision: 4 });
    while keyspace.reclaim(1).unwrap() {}
    let old = RangeRequest { revision: Some(2), ..RangeRequest::new(KeyRange::all()) };
    assert!(matches!(keyspace.range(&old), Err(StoreError::Compacted { requested: 2, compacted: 3 })));
    assert_eq!(list(&keyspace, "", Some(3)), [pair("a", "2")]);
    assert_eq!(list(&keyspace, "", None), [pair("a", "3")]);
    let again = apply(&keyspace, &Command::Compact { revision: 3 });
    assert_eq!(again, Outcome::Refused(Refusal::Compacted { requested: 3, compacted: 3 }));
    let future = apply(&keyspace, &Command::Compact { revision: 9 });
    assert_eq!(future, Outcome::Refused(Refusal::FutureRevision { requested: 9, current: 4 }));
}

#[test]
fn compaction_leaves_one_version_of_each_key_on_disk() {
    let (_directory, keyspace) = open();
    for round in 0..10 {
        txn(&keyspace, vec![put("a", &round.to_string()), put("b", "x")]);
    }
    txn(&keyspace, vec![delete("b")]);
    apply(&keyspace, &Command::Compact { revision: keyspace.revision() });
    while keyspace.reclaim(3).unwrap() {}
    for family in ["revisions", "index"] {
        let database = keyspace.database();
        let records = database.raw().iterator_cf(database.family(family), rocksdb::IteratorMode::Start).count();
        assert_eq!(records, 1, "{family}");
    }
}

#[test]
fn the_end_of_a_lease_takes_its_keys_in_one_revision() {
    let (_directory, keyspace) = open();
    let lease = Lease { id: 1, ttl_seconds: 9 };
    let missing = apply(&keyspace, &Command::Txn(Txn { success: vec![leased("a", "1", 1)], ..Txn::default() }));
    assert_eq!(missing, Outcome::Refused(Refusal::Invalid("there is no lease 1".to_owned())));
    assert_eq!(apply(&keyspace, &Command::LeaseGrant { ttl_seconds: 9 }), Outcome::Granted(lease));
    txn(&keyspace, vec![leased("a", "1", 1), leased("b", "1", 1), leased("c", "1", 1)]);
    txn(&keyspace, vec![put("b", "kept")]);
    txn(&keyspace, vec![delete("c")]);
    assert_eq!(keyspace.leases().unwrap(), [lease]);
    assert_eq!(apply(&keyspace, &Command::LeaseRevoke { id: 1 }), Outcome::Done { revision: 5 });
    assert_eq!(list(&keyspace, "", None), [pair("b", "kept")]);
    assert_eq!(keyspace.leases().unwrap(), []);
}

#[test]
fn the_number_of_a_lease_is_never_given_again() {
    let (directory, keyspace) = open();
    let grant = Command::LeaseGrant { ttl_seconds: 9 };
    let mut session = keyspace.session();
    for id in 1..=2 {
        assert_eq!(session.apply(&grant).unwrap(), Outcome::Granted(Lease { id, ttl_seconds: 9 }));
    }
    session.commit().unwrap();
    apply(&keyspace, &Command::LeaseRevoke { id: 2 });
    drop(keyspace);
    let keyspace = reopen(directory.path());
    assert_eq!(apply(&keyspace, &grant), Outcome::Granted(Lease { id: 3, ttl_seconds: 9 }));
    let endless = apply(&keyspace, &Command::LeaseGrant { ttl_seconds: u64::MAX });
    assert!(matches!(endless, Outcome::Refused(Refusal::Invalid(_))), "{endless}");
}

#[test]
fn a_session_that_is_dropped_changes_nothing() {
    let (_directory, keyspace) = open();
    let mut session = keyspace.session();
    session.apply(&Command::Txn(Txn { success: vec![put("a", "1")], ..Txn::default() })).unwrap();
    drop(session);
    assert_eq!((keyspace.revision(), get(&keyspace, "a")), (1, None));
}

#[test]
fn an_image_replaces_everything_and_a_damaged_one_nothing() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "1"), put("b", "2")]);
    txn(&keyspace, vec![put("a", "3")]);
    apply(&keyspace, &Command::Compact { revision: 2 });
    let pinned = keyspace.pin(b"meta".to_vec());
    txn(&keyspace, vec![put("later", "x")]);
    let mut image = Vec::new();
    pinned.write_to(&mut image).unwrap();
    drop(pinned);

    let (_other_directory, other) = open();
    txn(&other, vec![put("z", "26")]);
    for cut in [0, 10, 40, image.len() - 1] {
        assert!(other.restore(&image[..cut], |_, _| Ok(())).is_err(), "cut at {cut}");
    }
    let mut flipped = image.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(other.restore(&flipped[..], |_, _| Ok(())).is_err());
    assert_eq!(list(&other, "", None), [pair("z", "26")]);

    let mut found = Vec::new();
    other
        .restore(&image[..], |meta, _| {
            found = meta.to_vec();
            Ok(())
        })
        .unwrap();
    assert_eq!(found, b"meta");
    assert_eq!(list(&other, "", None), [pair("a", "3"), pair("b", "2")]);
    assert_eq!((other.revision(), other.compacted_revision()), (3, 2));
    assert_eq!(txn(&other, vec![put("a", "4")]).revision, 4);
}

#[test]
fn everything_committed_is_there_after_a_drop_without_shutdown() {
    let (directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "1")]);
    txn(&keyspace, vec![put("a", "2")]);
    apply(&keyspace, &Command::Compact { revision: 2 });
    drop(keyspace);
    let keyspace = reopen(directory.path());
    assert_eq!((keyspace.revision(), keyspace.compacted_revision()), (3, 2));
    assert_eq!(list(&keyspace, "", None), [pair("a", "2")]);
    assert!(!keyspace.reclaim(10).unwrap());
}
