//! Who and what is refused.

use std::time::Duration;

use storage::{Op, Store, Txn};
use tonic::Code;

use super::{Certificates, Ours, RESERVED, same::Clients};
use crate::pb::{
    DeleteRangeRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    request_op::Request,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_the_api_server_are_read_only() {
    let ours = Ours::start().await;
    let mut clients = Clients::new(&ours.channel().await);
    let lease = ours.store.lease_grant(Duration::from_secs(600)).await.unwrap();
    let key = format!("{RESERVED}core/pods/default/x");
    let op = Op::Put { key: key.clone().into(), value: "pod".into(), lease };
    ours.store.txn(Txn { success: vec![op], ..Txn::default() }).await.unwrap();

    let found = clients.kv.range(RangeRequest { key: key.clone().into(), ..RangeRequest::default() }).await.unwrap();
    assert_eq!(found.into_inner().kvs[0].value, "pod");
    let put = |key: &str| PutRequest { key: key.to_owned().into(), ..PutRequest::default() };
    let delete = |key: &str, end: &str| DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv: false,
    };
    let mut refusals = vec![clients.kv.put(put(&key)).await.unwrap_err()];
    for (start, end) in [(&key[..], ""), ("\0", "\0"), ("/", "0"), ("/registry/z", "/registry0"), ("/r", "/registry/a")]
    {
        refusals.push(clients.kv.delete_range(delete(start, end)).await.unwrap_err());
    }
    let op = |request| RequestOp { request: Some(request) };
    let inner = TxnRequest { failure: vec![op(Request::RequestPut(put(&key)))], ..TxnRequest::default() };
    let outer = TxnRequest {
        success: vec![op(Request::RequestPut(put("a"))), op(Request::RequestTxn(inner))],
        ..TxnRequest::default()
    };
    refusals.push(clients.kv.txn(outer).await.unwrap_err());
    refusals.push(clients.lease.lease_revoke(LeaseRevokeRequest { id: lease }).await.unwrap_err());
    let alive = tokio_stream::once(LeaseKeepAliveRequest { id: lease });
    let mut kept = clients.lease.lease_keep_alive(alive).await.unwrap().into_inner();
    refusals.push(kept.message().await.unwrap_err());
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal:?}");
        assert!(refusal.message().contains("keys that begin with /registry/ belong to the API server"), "{refusal:?}");
    }
    // What lies beside them is nobody's.
    for (start, end) in [("/registry", ""), ("/registry0", "\0"), ("\0", "/registry/")] {
        clients.kv.delete_range(delete(start, end)).await.unwrap();
    }
    clients.kv.put(put("/registry")).await.unwrap();
    assert_eq!(ours.store.keyspace().lease_keys(lease).unwrap(), [key.as_bytes()]);
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_certificate_of_the_authority() {
    let mut ours = Ours::start().await;
    let others = Certificates::new();
    ours.certificates.client = others.client;
    let channel = std::panic::AssertUnwindSafe(ours.channel());
    // TLS 1.3 tells the client only when it reads.
    let refused = match futures::FutureExt::catch_unwind(channel).await {
        Err(_) => true,
        Ok(channel) => Clients::new(&channel)
            .kv
            .range(RangeRequest { key: "a".into(), ..RangeRequest::default() })
            .await
            .is_err_and(|status| status.code() != Code::NotFound),
    };
    assert!(refused);
    let without = std::process::Command::new(super::tool("etcdctl"))
        .args([format!("--endpoints=https://127.0.0.1:{}", ours.port), format!("--cacert={}", ours.file("ca"))])
        .args(["--command-timeout=2s", "get", "a"])
        .output()
        .unwrap();
    assert!(!without.status.success());
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_or_too_long_is_refused_in_etcds_words() {
    let ours = Ours::start().await;
    let mut clients = Clients::new(&ours.channel().await);
    let value = vec![0; storage::MAX_REQUEST_BYTES + 1];
    let put = PutRequest { key: "a".into(), value: value.into(), ..PutRequest::default() };
    let large = clients.kv.put(put).await.unwrap_err();
    assert_eq!((large.code(), large.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    let put = |number: usize| PutRequest { key: number.to_string().into(), ..PutRequest::default() };
    let success = (0..129).map(|number| RequestOp { request: Some(Request::RequestPut(put(number))) }).collect();
    let long = clients.kv.txn(TxnRequest { success, ..TxnRequest::default() }).await.unwrap_err();
    assert_eq!(long.message(), "etcdserver: too many operations in txn request");
    ours.stop().await;
}
