//! The same requests to ours and to a real etcd have the same answers: whole messages, error codes and texts, and in the
//! end the hash of the history.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use proptest::{collection::vec, option, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use tonic::{Status, transport::Channel};

use super::{Ours, tool};
use crate::pb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, KeyValue, LeaseGrantRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest,
    compare::TargetUnion, kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    request_op, response_op, watch_client::WatchClient,
};

/// All clients of one server.
pub(super) struct Clients {
    pub(super) kv: KvClient<Channel>,
    pub(super) lease: LeaseClient<Channel>,
    pub(super) maintenance: MaintenanceClient<Channel>,
    pub(super) watch: WatchClient<Channel>,
}

impl Clients {
    pub(super) fn new(channel: &Channel) -> Self {
        Self {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            watch: WatchClient::new(channel.clone()),
        }
    }
}

/// A real etcd.
pub(super) struct Etcd {
    child: Child,
    clients: Clients,
}

impl std::ops::Deref for Etcd {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.clients
    }
}

impl std::ops::DerefMut for Etcd {
    fn deref_mut(&mut self) -> &mut Clients {
        &mut self.clients
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    pub(super) async fn start(folder: &Path) -> Self {
        let free = || {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            format!("http://127.0.0.1:{port}")
        };
        let (client, peer) = (free(), free());
        let mut command = Command::new(tool("etcd"));
        command.arg("--data-dir").arg(folder).args(["--unsafe-no-fsync", "--log-level=error", "--name=default"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        let channel = loop {
            match Channel::from_shared(client.clone()).unwrap().connect().await {
                Ok(channel) => break channel,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "etcd does not serve: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut etcd = Self { child, clients: Clients::new(&channel) };
        let all = RangeRequest { key: "a".into(), ..RangeRequest::default() };
        // It listens before it has elected itself.
        while etcd.kv.range(all.clone()).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "etcd does not answer");
        }
        etcd
    }
}

#[derive(Debug, Clone)]
enum Step {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    TimeToLive(LeaseTimeToLiveRequest),
    HashKv(HashKvRequest),
}

fn key() -> impl Strategy<Value = bytes::Bytes> {
    prop_oneof![
        8 => prop_oneof![Just("a"), Just("ab"), Just("a\0"), Just("b"), Just("c"), Just("\0")].prop_map(Into::into),
        1 => Just(bytes::Bytes::new()),
    ]
}

fn end() -> impl Strategy<Value = bytes::Bytes> {
    prop_oneof![4 => Just(""), 2 => Just("\0"), 1 => Just("b"), 1 => Just("c"), 1 => Just("a")].prop_map(Into::into)
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 2 => Just(100), 1 => Just(101), 1 => Just(102)]
}

/// Revisions around those that come about.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => 1..60i64, 1 => 0..3i64]
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let bounds = (revision(), revision(), revision(), revision());
    let order = (prop_oneof![4 => Just(0), 2 => 1..3i32], 0..5i32, prop_oneof![Just(0), 0..4i64]);
    (key(), end(), revision(), option::weighted(0.3, bounds), order, any::<(bool, bool, bool)>()).prop_map(
        |(
            key,
            range_end,
            revision,
            bounds,
            (sort_order, sort_target, limit),
            (serializable, keys_only, count_only),
        )| {
            let (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision) =
                bounds.unwrap_or_default();
            RangeRequest {
                key,
                range_end,
                revision,
                // Which of those that are alike come first is etcd's own business.
                limit: if sort_target == 0 { limit } else { 0 },
                sort_order,
                sort_target,
                serializable,
                keys_only,
                count_only: count_only && keys_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            }
        },
    )
}

fn put() -> impl Strategy<Value = PutRequest> {
    let rare = || proptest::bool::weighted(0.15);
    (key(), prop_oneof![Just(""), Just("x"), Just("yy")], lease(), any::<bool>(), rare(), rare()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: value.into(),
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest { key, range_end, prev_kv })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..3i64).prop_map(|of| (0, TargetUnion::Version(of))),
        (0..40i64).prop_map(|of| (1, TargetUnion::CreateRevision(of))),
        (0..40i64).prop_map(|of| (2, TargetUnion::ModRevision(of))),
        prop_oneof![Just(""), Just("x")].prop_map(|of| (3, TargetUnion::Value(of.into()))),
        lease().prop_map(|of| (4, TargetUnion::Lease(of))),
    ];
    (0..4i32, target, key(), end(), proptest::bool::weighted(0.9)).prop_map(
        |(result, (target, union), key, range_end, given)| Compare {
            result,
            target,
            key,
            range_end,
            target_union: given.then_some(union),
        },
    )
}

fn op() -> impl Strategy<Value = RequestOp> {
    let op = prop_oneof![
        3 => range().prop_map(request_op::Request::RequestRange),
        3 => put().prop_map(request_op::Request::RequestPut),
        // That a key is put and deleted by a range without an end is a difference that is meant: etcd overlooks it.
        2 => delete().prop_filter("bounded", |delete| delete.range_end != "\0")
            .prop_map(request_op::Request::RequestDeleteRange),
    ];
    option::weighted(0.97, op).prop_map(|request| RequestOp { request })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let flat =
        || {
            (vec(compare(), 0..3), vec(op(), 0..4), vec(op(), 0..3))
                .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
        };
    // One at most: what one beside another may delete is a difference that is meant.
    (flat(), option::weighted(0.3, flat())).prop_map(|(mut outer, inner)| {
        outer.success.extend(inner.map(|inner| RequestOp { request: Some(request_op::Request::RequestTxn(inner)) }));
        outer
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => range().prop_map(Step::Range),
        6 => put().prop_map(Step::Put),
        3 => delete().prop_map(Step::Delete),
        6 => txn().prop_map(Step::Txn),
        1 => (0..60i64).prop_map(|revision| Step::Compact(CompactionRequest { revision, physical: true })),
        1 => (prop_oneof![Just(100i64), Just(101)], prop_oneof![Just(0i64), Just(700), Just(10_000_000_000)])
            .prop_map(|(id, ttl)| Step::Grant(LeaseGrantRequest { id, ttl })),
        1 => (100..103i64).prop_map(|id| Step::Revoke(LeaseRevokeRequest { id })),
        1 => (100..103i64, any::<bool>())
            .prop_map(|(id, keys)| Step::TimeToLive(LeaseTimeToLiveRequest { id, keys })),
        1 => (0..60i64).prop_map(|revision| Step::HashKv(HashKvRequest { revision })),
    ]
}

/// Takes away what differs between any two clusters.
fn strip(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// Those that an order does not tell apart, in the order of keys.
fn settle(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let rank = |kv: &KeyValue| match request.sort_target {
        1 => kv.version,
        2 => kv.create_revision,
        3 => kv.mod_revision,
        _ => 0,
    };
    let by_value = request.sort_target == 4;
    kvs.chunk_by_mut(|a, b| rank(a) == rank(b) && (!by_value || a.value == b.value || request.keys_only))
        .for_each(|alike| alike.sort_by(|a, b| a.key.cmp(&b.key)));
}

fn settle_txn(request: &TxnRequest, succeeded: bool, responses: &mut [ResponseOp]) {
    let ops = if succeeded { &request.success } else { &request.failure };
    for (op, response) in ops.iter().zip(responses) {
        match (&op.request, &mut response.response) {
            (Some(request_op::Request::RequestRange(range)), Some(response_op::Response::ResponseRange(found))) => {
                settle(range, &mut found.kvs);
            }
            (Some(request_op::Request::RequestTxn(inner)), Some(response_op::Response::ResponseTxn(done))) => {
                settle_txn(inner, done.succeeded, &mut done.responses);
            }
            _ => {}
        }
    }
}

/// What a server answers, in words that can be compared.
async fn answer(to: &mut Clients, step: &Step) -> String {
    macro_rules! said {
        ($client:ident.$method:ident($request:expr) $(, $settle:expr)?) => {
            match to.$client.$method($request.clone()).await {
                Ok(response) => {
                    #[allow(unused_mut)]
                    let mut response = response.into_inner();
                    strip(&mut response.header);
                    $($settle(&mut response);)?
                    format!("{response:#?}")
                }
                Err(status) => refusal(&status),
            }
        };
    }
    match step {
        Step::Range(request) => {
            said!(kv.range(request), |found: &mut crate::pb::RangeResponse| settle(request, &mut found.kvs))
        }
        Step::Put(request) => said!(kv.put(request)),
        Step::Delete(request) => said!(kv.delete_range(request)),
        Step::Txn(request) => said!(kv.txn(request), |done: &mut crate::pb::TxnResponse| settle_txn(
            request,
            done.succeeded,
            &mut done.responses
        )),
        Step::Compact(request) => said!(kv.compact(request)),
        Step::Grant(request) => said!(lease.lease_grant(request)),
        Step::Revoke(request) => said!(lease.lease_revoke(request)),
        Step::TimeToLive(request) => {
            said!(lease.lease_time_to_live(request), |life: &mut crate::pb::LeaseTimeToLiveResponse| {
                life.ttl = life.ttl.signum();
                life.keys.sort();
            })
        }
        Step::HashKv(request) => said!(maintenance.hash_kv(request)),
    }
}

fn refusal(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_answers_as_etcd_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    // Fresh ones again and again: small revisions are where most happens.
    for round in 0..8 {
        let ours = Ours::start_reserving(None).await;
        let mut here = Clients::new(&ours.channel().await);
        let mut etcd = Etcd::start(&folder.path().join(format!("etcd-{round}"))).await;
        for number in 0..150 {
            let step = step().new_tree(&mut runner).unwrap().current();
            let (expected, found) = tokio::join!(answer(&mut etcd, &step), answer(&mut here, &step));
            assert_eq!(found, expected, "round {round}, step {number}: {step:#?}");
        }
        let hash = Step::HashKv(HashKvRequest { revision: 0 });
        assert_eq!(answer(&mut here, &hash).await, answer(&mut etcd, &hash).await);
        ours.stop().await;
    }
}
