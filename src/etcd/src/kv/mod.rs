//! Reading and writing keys.

mod range;
mod request;
mod response;

use storage::{KeyRange, OpResponse, Txn, TxnResponse};
use tonic::{Request, Response, Status};

use self::{request::Checked, response::Walk};
use crate::{
    Door,
    convert::unsigned,
    fail,
    pb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
        RangeRequest, RangeResponse, RequestOp, TxnRequest, kv_server::Kv, request_op, response_op,
    },
};

/// How many forgotten versions are taken off the disk in one step, when a compaction is to be physical.
const RECLAIM_AT_ONCE: usize = 4096;

#[tonic::async_trait]
impl Kv for Door {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        range::check(&request)?;
        let wanted = range::wanted(&request);
        let found = if request.serializable {
            self.reading(move |keyspace| keyspace.range(&wanted)).await?
        } else {
            self.store.range(wanted).await.map_err(fail::store)?
        };
        let revision = found.revision.max(if request.revision > 0 { self.store.revision() } else { 0 });
        let mut response = range::shaped(&request, found);
        response.header = self.header(revision);
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        let lease = request.lease;
        let put = match self.one(request_op::Request::RequestPut(request)).await {
            // Outside of a transaction etcd looks for the lease before it looks for the key.
            Err(status) if lease != 0 && status.message() == fail::key_not_found().message() => {
                let missing = self.reading(move |keyspace| keyspace.lease(lease)).await?.is_none();
                return Err(if missing { fail::lease_not_found() } else { status });
            }
            other => other?,
        };
        match put {
            response_op::Response::ResponsePut(response) => Ok(Response::new(response)),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let op = request_op::Request::RequestDeleteRange(request.into_inner());
        match self.one(op).await? {
            response_op::Response::ResponseDeleteRange(response) => Ok(Response::new(response)),
            other => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<crate::pb::TxnResponse>, Status> {
        let request = request.into_inner();
        let (serializable, txn) = (request::is_serializable(&request), self.checked(&request)?);
        let done = if serializable && txn.is_read_only() {
            self.reading(move |keyspace| keyspace.read_txn(&txn)).await?
        } else {
            self.store.txn(txn).await.map_err(fail::store)?
        };
        let mut response = Walk::new(&done).txn(&request, done);
        response.header = self.header(unsigned(response.header.map_or(0, |header| header.revision)));
        Ok(Response::new(response))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let CompactionRequest { revision, physical } = request.into_inner();
        self.store.compact(unsigned(revision)).await.map_err(fail::store)?;
        if physical {
            self.reading(|keyspace| {
                while keyspace.reclaim(RECLAIM_AT_ONCE)? {}
                Ok(())
            })
            .await?;
        }
        Ok(Response::new(CompactionResponse { header: self.header_now() }))
    }
}

impl Door {
    /// Runs one step as a transaction of its own.
    async fn one(&self, op: request_op::Request) -> Result<response_op::Response, Status> {
        let request = TxnRequest { success: vec![RequestOp { request: Some(op) }], ..TxnRequest::default() };
        let txn = self.checked(&request)?;
        let done = self.store.txn(txn).await.map_err(fail::store)?;
        let revision = done.revision;
        let mut response = Walk::new(&done).txn(&request, done);
        let Some(mut only) = response.responses.pop().and_then(|op| op.response) else {
            return Err(Status::internal("etcdserver: the store did not answer the request"));
        };
        match &mut only {
            response_op::Response::ResponsePut(put) => put.header = self.header(revision),
            response_op::Response::ResponseDeleteRange(delete) => delete.header = self.header(revision),
            _ => {}
        }
        Ok(only)
    }

    /// A transaction as the store takes it, if it may be run.
    fn checked(&self, request: &TxnRequest) -> Result<Txn, Status> {
        let Checked { txn, writes } = request::checked(request)?;
        writes.iter().try_for_each(|range: &KeyRange| self.refuse_reserved(range))?;
        Ok(txn)
    }
}

fn unexpected(response: &response_op::Response) -> Status {
    Status::internal(format!("etcdserver: the store answered with {response:?}"))
}

/// Whether an answer of the store changed something.
fn changes(response: &OpResponse) -> bool {
    match response {
        OpResponse::Put { .. } => true,
        OpResponse::DeleteRange { prev_kvs } => !prev_kvs.is_empty(),
        OpResponse::Range(_) => false,
        OpResponse::Txn(inner) => any_changes(inner),
    }
}

fn any_changes(response: &TxnResponse) -> bool {
    response.responses.iter().any(changes)
}
