//! Answers of transactions, step by step beside what was asked.

use storage::{OpResponse, TxnResponse};

use super::{any_changes, changes, range};
use crate::{
    door::signed,
    pb::{
        self, DeleteRangeResponse, PutResponse, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest,
        request_op, response_op,
    },
};

/// A way through a transaction's steps, which knows at which revision each of them came.
pub(super) struct Walk {
    revision: u64,
}

impl Walk {
    pub(super) fn new(done: &TxnResponse) -> Self {
        // Steps before the first change still show the revision before.
        Self { revision: done.revision - u64::from(any_changes(done)) }
    }

    /// The answer to a transaction. Its head says only at which revision it ended.
    pub(super) fn txn(&mut self, request: &TxnRequest, done: TxnResponse) -> pb::TxnResponse {
        let ops = if done.succeeded { &request.success } else { &request.failure };
        let end = done.revision;
        let responses = ops.iter().zip(done.responses).map(|(op, response)| self.step(op, response, end)).collect();
        pb::TxnResponse { header: head(end), succeeded: done.succeeded, responses }
    }

    fn step(&mut self, op: &RequestOp, response: OpResponse, end: u64) -> ResponseOp {
        if !matches!(response, OpResponse::Txn(_)) && changes(&response) {
            self.revision = end;
        }
        let header = head(self.revision);
        let response = match (&op.request, response) {
            (Some(request_op::Request::RequestPut(put)), OpResponse::Put { prev_kv }) => {
                let prev_kv = prev_kv.filter(|_| put.prev_kv).map(Into::into);
                response_op::Response::ResponsePut(PutResponse { header, prev_kv })
            }
            (Some(request_op::Request::RequestDeleteRange(delete)), OpResponse::DeleteRange { prev_kvs }) => {
                let deleted = signed(prev_kvs.len() as u64);
                let prev_kvs = if delete.prev_kv { prev_kvs.into_iter().map(Into::into).collect() } else { Vec::new() };
                response_op::Response::ResponseDeleteRange(DeleteRangeResponse { header, deleted, prev_kvs })
            }
            (Some(request_op::Request::RequestTxn(inner)), OpResponse::Txn(done)) => {
                let mut response = self.txn(inner, done);
                response.header = Some(ResponseHeader::default());
                response_op::Response::ResponseTxn(response)
            }
            (Some(request_op::Request::RequestRange(request)), OpResponse::Range(found)) => {
                ranged(request, found, header)
            }
            // The store answers every step with its like.
            (_, _) => return ResponseOp { response: None },
        };
        ResponseOp { response: Some(response) }
    }
}

fn ranged(
    request: &RangeRequest,
    found: storage::RangeResponse,
    header: Option<ResponseHeader>,
) -> response_op::Response {
    let mut response = range::shaped(request, found);
    response.header = header;
    response_op::Response::ResponseRange(response)
}

fn head(revision: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: signed(revision), ..ResponseHeader::default() })
}
