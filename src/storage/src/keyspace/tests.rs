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
    let left = |expected: usize| {
        apply(&keyspace, &Command::Compact { revision: keyspace.revision() });
        while keyspace.reclaim(3).unwrap() {}
        for family in ["revisions", "index"] {
            let database = keyspace.database();
            let records = database.raw().iterator_cf(database.family(family), rocksdb::IteratorMode::Start).count();
            assert_eq!(records, expected, "{family}");
        }
    };
    // The deletion stays while a watch may begin with it.
    left(2);
    txn(&keyspace, vec![put("a", "last")]);
    left(1);
}

#[test]
fn a_dump_holds_what_is_not_forgotten_whatever_is_still_on_the_disk() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "1"), put("b", "1"), put("gone", "x")]);
    txn(&keyspace, vec![delete("gone"), put("a", "2")]);
    apply(&keyspace, &Command::LeaseGrant { id: 70, ttl_seconds: 9 });
    txn(&keyspace, vec![leased("a", "3", 70), put("c", "1"), put("gone", "y")]);
    apply(&keyspace, &Command::Compact { revision: 3 });
    for reclaimed in [false, true] {
        let dump = keyspace.dump();
        let mut found = Vec::new();
        dump.changes(dump.revision, dump.compacted, |change| {
            found.push((change.kv.mod_revision, change.number, String::from_utf8_lossy(&change.kv.key).into_owned()));
            Ok::<_, StoreError>(())
        })
        .unwrap();
        let expected = [(2, 1, "b"), (3, 1, "a"), (4, 0, "a"), (4, 1, "c"), (4, 2, "gone")];
        assert_eq!(found, expected.map(|(revision, number, key)| (revision, number, key.to_owned())), "{reclaimed}");
        assert_eq!(dump.leases().unwrap(), [Lease { id: 70, ttl_seconds: 9 }]);
        while keyspace.reclaim(1).unwrap() {}
    }
    keyspace.defragment();
    let size = keyspace.size().unwrap();
    assert!(size.files > 0 && size.needed > 0, "{size:?}");
}

#[test]
fn an_update_keeps_what_it_does_not_name_and_needs_a_key() {
    let (_directory, keyspace) = open();
    let update =
        |value: Option<&'static str>, lease| Op::Update { key: "a".into(), value: value.map(Bytes::from), lease };
    let run = |op: Op| apply(&keyspace, &Command::Txn(Txn { success: vec![put("other", "x"), op], ..Txn::default() }));
    assert_eq!(run(update(Some("1"), None)), Outcome::Refused(Refusal::KeyNotFound("a".to_owned())));
    assert_eq!(get(&keyspace, "other"), None);
    apply(&keyspace, &Command::LeaseGrant { id: 5, ttl_seconds: 9 });
    txn(&keyspace, vec![leased("a", "1", 5)]);
    run(update(Some("2"), None));
    let kv = get(&keyspace, "a").unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"2"[..], 5, 2));
    run(update(None, Some(0)));
    let kv = get(&keyspace, "a").unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"2"[..], 0, 3));
    assert_eq!(run(update(None, Some(6))), Outcome::Refused(Refusal::LeaseNotFound(6)));
}

#[test]
fn a_transaction_within_another_is_judged_by_the_state_before_both() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "old")]);
    let is = |key: &'static str, value: &'static str| Compare::Value {
        key: key.into(),
        op: CompareOp::Equal,
        value: value.into(),
    };
    let read = Op::Range(RangeRequest::new(KeyRange::key("a")));
    let past = Op::Range(RangeRequest { revision: Some(2), ..RangeRequest::new(KeyRange::key("a")) });
    let inner = Txn { compare: vec![is("a", "old")], success: vec![read, past, put("b", "1")], failure: vec![] };
    let response = txn(&keyspace, vec![put("a", "new"), Op::Txn(inner)]);
    let OpResponse::Txn(inner) = &response.responses[1] else { panic!("{response:?}") };
    assert!(inner.succeeded && inner.revision == 3 && response.revision == 3);
    let seen = |index: usize| match &inner.responses[index] {
        OpResponse::Range(range) => range.kvs[0].value.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((seen(0), seen(1)), ("new".into(), "old".into()));
    let future = Op::Range(RangeRequest { revision: Some(9), ..RangeRequest::new(KeyRange::key("a")) });
    let deep = Op::Txn(Txn { success: vec![future], ..Txn::default() });
    let refused = apply(&keyspace, &Command::Txn(Txn { success: vec![put("c", "1"), deep], ..Txn::default() }));
    assert_eq!(refused, Outcome::Refused(Refusal::FutureRevision { requested: 9, current: 3 }));
    assert_eq!(get(&keyspace, "c"), None);
}

#[test]
fn a_session_reads_revisions_that_it_made_itself() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a", "1")]);
    let mut session = keyspace.session();
    let mut run = |success| match session.apply(&Command::Txn(Txn { success, ..Txn::default() })).unwrap() {
        Outcome::Txn(response) => response,
        other => panic!("{other:?}"),
    };
    run(vec![put("a", "2")]);
    run(vec![delete("a"), put("b", "1")]);
    for (revision, expected) in [(2, vec!["1"]), (3, vec!["2"]), (4, vec!["1"])] {
        let read = RangeRequest { revision: Some(revision), ..RangeRequest::new(KeyRange::all()) };
        let response = run(vec![put("z", "later"), Op::Range(read)]);
        let OpResponse::Range(range) = &response.responses[1] else { panic!("{response:?}") };
        let found: Vec<_> = range.kvs.iter().map(|kv| &kv.value[..]).collect();
        assert_eq!(found, expected.iter().map(|value| value.as_bytes()).collect::<Vec<_>>(), "revision {revision}");
    }
}

#[test]
fn a_comparison_of_a_range_holds_of_all_its_keys() {
    let (_directory, keyspace) = open();
    txn(&keyspace, vec![put("a/1", "x"), put("a/2", "x")]);
    let all = |value: &'static str, end: &'static str| Compare::Range {
        end: end.into(),
        each: Box::new(Compare::Value { key: "a/".into(), op: CompareOp::Equal, value: value.into() }),
    };
    let none = Compare::Range {
        end: "c".into(),
        each: Box::new(Compare::Lease { key: "b".into(), op: CompareOp::Equal, value: 0 }),
    };
    for (compare, expected) in [(all("x", "a0"), true), (all("y", "a0"), false), (all("x", "a/"), false), (none, true)]
    {
        let judged = Txn { compare: vec![compare], ..Txn::default() };
        assert_eq!(keyspace.read_txn(&judged).unwrap().succeeded, expected, "{judged:?}");
        let Outcome::Txn(response) = apply(&keyspace, &Command::Txn(judged)) else { panic!("it was refused") };
        assert_eq!(response.succeeded, expected);
    }
}

#[test]
fn the_end_of_a_lease_takes_its_keys_in_one_revision() {
    let (_directory, keyspace) = open();
    let lease = Lease { id: 1, ttl_seconds: 9 };
    let missing = apply(&keyspace, &Command::Txn(Txn { success: vec![leased("a", "1", 1)], ..Txn::default() }));
    assert_eq!(missing, Outcome::Refused(Refusal::LeaseNotFound(1)));
    assert_eq!(apply(&keyspace, &Command::LeaseGrant { id: 0, ttl_seconds: 9 }), Outcome::Granted(lease));
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
    let grant = Command::LeaseGrant { id: 0, ttl_seconds: 9 };
    let mut session = keyspace.session();
    for id in 1..=2 {
        assert_eq!(session.apply(&grant).unwrap(), Outcome::Granted(Lease { id, ttl_seconds: 9 }));
    }
    session.commit().unwrap();
    apply(&keyspace, &Command::LeaseRevoke { id: 2 });
    drop(keyspace);
    let keyspace = reopen(directory.path());
    assert_eq!(apply(&keyspace, &grant), Outcome::Granted(Lease { id: 3, ttl_seconds: 9 }));
    // Numbers that were asked for are passed over.
    for id in [4, 5] {
        let chosen = Command::LeaseGrant { id, ttl_seconds: 9 };
        assert_eq!(apply(&keyspace, &chosen), Outcome::Granted(Lease { id, ttl_seconds: 9 }));
        assert_eq!(apply(&keyspace, &chosen), Outcome::Refused(Refusal::LeaseExists(id)));
    }
    assert_eq!(apply(&keyspace, &grant), Outcome::Granted(Lease { id: 6, ttl_seconds: 9 }));
    let endless = apply(&keyspace, &Command::LeaseGrant { id: 0, ttl_seconds: u64::MAX });
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
