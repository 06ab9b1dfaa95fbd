//! Random histories through Raft, with the store closed and opened in between, against a keyspace without Raft.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use storage::{
    Command, Compare, CompareOp, KeyRange, Keyspace, Lease, Op, Outcome, RangeRequest, Store, StoreError, Txn,
    open_database,
};

use super::{open, put_op};
use crate::RaftStore;

#[derive(Debug, Clone)]
enum Step {
    Command(Command),
    /// Many at once: they share batches.
    Burst(u8),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    "[ab]{1,2}"
}

fn txn() -> impl Strategy<Value = Txn> {
    let compare =
        (key(), 0..20u64).prop_map(|(key, value)| Compare::ModRevision { key: key.into(), op: CompareOp::Less, value });
    let op = prop_oneof![
        4 => (key(), "[a-z]{0,3}", prop_oneof![5 => Just(0i64), 1 => 1..3i64])
            .prop_map(|(key, value, lease)| put_op(key, value, lease)),
        1 => key().prop_map(|key| Op::DeleteRange { range: KeyRange::prefix(key) }),
        1 => key().prop_map(|key| Op::Range(RangeRequest::new(KeyRange::prefix(key)))),
    ];
    (vec(compare, 0..2), vec(op.clone(), 1..4), vec(op, 0..2)).prop_map(|(compare, success, failure)| Txn {
        compare,
        success,
        failure,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => txn().prop_map(|txn| Step::Command(Command::Txn(txn))),
        1 => Just(Step::Command(Command::LeaseGrant { id: 0, ttl_seconds: 1_000_000 })),
        1 => (1..3i64).prop_map(|id| Step::Command(Command::LeaseRevoke { id })),
        1 => (0..30u64).prop_map(|revision| Step::Command(Command::Compact { revision })),
        1 => (1..60u8).prop_map(Step::Burst),
        1 => Just(Step::Reopen),
    ]
}

/// What the store makes of a command, as the keyspace would say it.
async fn through_raft(store: &RaftStore, command: Command) -> Result<Outcome, StoreError> {
    match command {
        Command::Txn(txn) => store.txn(txn).await.map(Outcome::Txn),
        Command::Compact { revision } => {
            store.compact(revision).await.map(|()| Outcome::Done { revision: store.revision() })
        }
        Command::LeaseGrant { ttl_seconds, .. } => {
            let id = store.lease_grant(Duration::from_secs(ttl_seconds)).await?;
            Ok(Outcome::Granted(Lease { id, ttl_seconds }))
        }
        Command::LeaseRevoke { id } => {
            store.lease_revoke(id).await.map(|()| Outcome::Done { revision: store.revision() })
        }
    }
}

fn alone(keyspace: &Keyspace, command: &Command) -> Result<Outcome, StoreError> {
    let mut session = keyspace.session();
    let outcome = session.apply(command)?;
    session.commit()?;
    match outcome {
        Outcome::Refused(refusal) => Err(refusal.into()),
        outcome => Ok(outcome),
    }
}

async fn same_history(steps: Vec<Step>) {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = open(folder.path()).await;
    let keyspace = Keyspace::open(open_database(other.path(), &[]).unwrap()).unwrap();
    for step in steps {
        match step {
            Step::Command(command) => {
                let expected = alone(&keyspace, &command);
                let found = through_raft(&store, command.clone()).await;
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{command}");
            }
            Step::Burst(count) => {
                let commands = (0..count)
                    .map(|n| Txn { success: vec![put_op(format!("burst/{n}"), "x", 0)], ..Txn::default() })
                    .collect::<Vec<_>>();
                let done = futures::future::join_all(commands.iter().map(|txn| store.txn(txn.clone()))).await;
                let mut order: Vec<_> = done.into_iter().map(|response| response.unwrap().revision).zip(0..).collect();
                order.sort_unstable();
                for (revision, n) in order {
                    let expected = alone(&keyspace, &Command::Txn(commands[n].clone())).unwrap();
                    assert!(matches!(expected, Outcome::Txn(response) if response.revision == revision));
                }
            }
            Step::Reopen => {
                store.close().await;
                drop(store);
                store = open(folder.path()).await;
            }
        }
    }
    assert_eq!(store.revision(), keyspace.revision());
    assert_eq!(store.compacted_revision(), keyspace.compacted_revision());
    for revision in keyspace.compacted_revision().max(1)..=keyspace.revision() {
        let request = RangeRequest { revision: Some(revision), ..RangeRequest::new(KeyRange::all()) };
        assert_eq!(store.range(request.clone()).await.unwrap(), keyspace.range(&request).unwrap());
    }
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_history_through_raft_is_the_history_of_the_keyspace(steps in vec(step(), 1..40)) {
        tokio::runtime::Runtime::new().unwrap().block_on(same_history(steps));
    }
}
