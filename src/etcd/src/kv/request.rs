//! Transactions on their way to the store.

use bytes::Bytes;
use storage::{CompareOp, KeyRange, Op, Txn};
use tonic::Status;

use super::range;
use crate::{
    convert::{key_range, unsigned},
    fail,
    pb::{
        Compare, PutRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op,
    },
};

/// How many steps or comparisons a transaction may have at most, as in etcd.
const MAX_OPERATIONS: usize = 128;

/// A transaction that is in order, and what it may write.
pub(super) struct Checked {
    pub(super) txn: Txn,
    pub(super) writes: Vec<KeyRange>,
}

/// Takes a transaction, or refuses it as etcd does.
pub(super) fn checked(request: &TxnRequest) -> Result<Checked, Status> {
    let mut writes = Vec::new();
    let txn = txn(request, &mut writes, MAX_OPERATIONS)?;
    Ok(Checked { txn, writes })
}

/// Whether all reads of a transaction may be answered by this server alone.
pub(super) fn is_serializable(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(request_op::Request::RequestRange(range)) => range.serializable,
        Some(request_op::Request::RequestTxn(inner)) => is_serializable(inner),
        _ => false,
    })
}

fn txn(request: &TxnRequest, writes: &mut Vec<KeyRange>, allowed: usize) -> Result<Txn, Status> {
    let operations = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = allowed.checked_sub(operations).ok_or_else(fail::too_many_operations)?;
    let mut ops = |ops: &[RequestOp]| ops.iter().map(|step| op(step, writes, left)).collect::<Result<Vec<_>, _>>();
    let compare = request.compare.iter().map(compare).collect::<Result<_, _>>()?;
    Ok(Txn { compare, success: ops(&request.success)?, failure: ops(&request.failure)? })
}

fn op(step: &RequestOp, writes: &mut Vec<KeyRange>, left: usize) -> Result<Op, Status> {
    Ok(match &step.request {
        Some(request_op::Request::RequestRange(request)) => {
            range::check(request)?;
            Op::Range(range::wanted(request))
        }
        Some(request_op::Request::RequestPut(request)) => {
            let put = put(request)?;
            writes.push(KeyRange::key(request.key.clone()));
            put
        }
        Some(request_op::Request::RequestDeleteRange(request)) => {
            if request.key.is_empty() {
                return Err(fail::empty_key());
            }
            let range = key_range(request.key.clone(), request.range_end.clone());
            writes.push(range.clone());
            Op::DeleteRange { range }
        }
        Some(request_op::Request::RequestTxn(request)) => Op::Txn(txn(request, writes, left)?),
        None => return Err(fail::key_not_found()),
    })
}

fn put(request: &PutRequest) -> Result<Op, Status> {
    let PutRequest { key, value, lease, ignore_value, ignore_lease, .. } = request;
    if key.is_empty() {
        return Err(fail::empty_key());
    }
    if *ignore_value && !value.is_empty() {
        return Err(fail::value_provided());
    }
    if *ignore_lease && *lease != 0 {
        return Err(fail::lease_provided());
    }
    let key = key.clone();
    Ok(if *ignore_value || *ignore_lease {
        let value = (!ignore_value).then(|| value.clone());
        Op::Update { key, value, lease: (!ignore_lease).then_some(*lease) }
    } else {
        Op::Put { key, value: value.clone(), lease: *lease }
    })
}

fn compare(request: &Compare) -> Result<storage::Compare, Status> {
    if request.key.is_empty() {
        return Err(fail::empty_key());
    }
    let unknown = |what: &str, number: i32| Status::invalid_argument(format!("etcdserver: {number} is no {what}"));
    let target = CompareTarget::try_from(request.target).map_err(|_| unknown("target to compare", request.target))?;
    let op = match CompareResult::try_from(request.result).map_err(|_| unknown("comparison", request.result))? {
        CompareResult::Equal => CompareOp::Equal,
        CompareResult::NotEqual => CompareOp::NotEqual,
        CompareResult::Greater => CompareOp::Greater,
        CompareResult::Less => CompareOp::Less,
    };
    // A number that was not given is zero, as is one that was given for another target.
    let number = |of: fn(&TargetUnion) -> Option<i64>| request.target_union.as_ref().and_then(of).unwrap_or(0);
    let key = request.key.clone();
    let each = match target {
        CompareTarget::Version => storage::Compare::Version {
            key,
            op,
            value: unsigned(number(|given| if let TargetUnion::Version(of) = given { Some(*of) } else { None })),
        },
        CompareTarget::Create => storage::Compare::CreateRevision {
            key,
            op,
            value: unsigned(number(|given| if let TargetUnion::CreateRevision(of) = given { Some(*of) } else { None })),
        },
        CompareTarget::Mod => storage::Compare::ModRevision {
            key,
            op,
            value: unsigned(number(|given| if let TargetUnion::ModRevision(of) = given { Some(*of) } else { None })),
        },
        CompareTarget::Lease => storage::Compare::Lease {
            key,
            op,
            value: number(|given| if let TargetUnion::Lease(of) = given { Some(*of) } else { None }),
        },
        CompareTarget::Value => {
            let value = match &request.target_union {
                Some(TargetUnion::Value(value)) => value.clone(),
                _ => Bytes::new(),
            };
            storage::Compare::Value { key, op, value }
        }
    };
    Ok(if request.range_end.is_empty() {
        each
    } else {
        storage::Compare::Range { end: request.range_end.clone(), each: Box::new(each) }
    })
}
