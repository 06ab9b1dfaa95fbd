//! Errors in etcd's words.

use storage::StoreError;
use tonic::{Code, Status};

use crate::MemberError;

/// An error of etcd 3.5: its gRPC code and text, which clients know by heart.
macro_rules! errors {
    ($($name:ident $code:ident $text:literal)*) => {
        $(pub(crate) fn $name() -> Status { Status::new(Code::$code, concat!("etcdserver: ", $text)) })*
    };
}

errors! {
    empty_key InvalidArgument "key is not provided"
    key_not_found InvalidArgument "key not found"
    value_provided InvalidArgument "value is provided"
    lease_provided InvalidArgument "lease is provided"
    too_many_operations InvalidArgument "too many operations in txn request"
    duplicate_key InvalidArgument "duplicate key given in txn request"
    invalid_sort_option InvalidArgument "invalid sort option"
    too_large InvalidArgument "request is too large"
    compacted OutOfRange "mvcc: required revision has been compacted"
    future_revision OutOfRange "mvcc: required revision is a future revision"
    lease_not_found NotFound "requested lease not found"
    lease_exists FailedPrecondition "lease already exists"
    lease_too_long OutOfRange "too large lease TTL"
    member_not_found NotFound "member not found"
    member_not_learner FailedPrecondition "can only promote a learner member"
    learner_not_ready FailedPrecondition "can only promote a learner member which is in sync with leader"
    bad_member_urls InvalidArgument "given member URLs are invalid"
    not_leader FailedPrecondition "not leader"
    authentication_not_enabled FailedPrecondition "authentication is not enabled"
    corrupt DataLoss "corrupt cluster"
}

/// What touches the API server's keys.
pub(crate) fn read_only(prefix: &[u8]) -> Status {
    Status::permission_denied(format!(
        "etcdserver: permission denied: keys that begin with {} belong to the API server and are read-only here",
        String::from_utf8_lossy(prefix)
    ))
}

/// An error of the store.
pub(crate) fn store(error: StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => compacted(),
        StoreError::FutureRevision { .. } => future_revision(),
        StoreError::TooLarge { .. } => too_large(),
        StoreError::LeaseNotFound(_) => lease_not_found(),
        StoreError::LeaseExists(_) => lease_exists(),
        StoreError::KeyNotFound(_) => key_not_found(),
        StoreError::DuplicateKey(_) => duplicate_key(),
        StoreError::Corrupt { .. } => {
            tracing::error!(%error, "the store is damaged");
            corrupt()
        }
        StoreError::Invalid(why) => Status::invalid_argument(format!("etcdserver: {why}")),
        other => Status::unavailable(format!("etcdserver: {other}")),
    }
}

/// An error of the membership.
pub(crate) fn member(error: MemberError) -> Status {
    match error {
        MemberError::NotFound => member_not_found(),
        MemberError::NotLearner => member_not_learner(),
        MemberError::NotReady => learner_not_ready(),
        MemberError::NotLeader => not_leader(),
        MemberError::Refused(why) => Status::failed_precondition(format!("etcdserver: {why}")),
        MemberError::Store(error) => store(error),
    }
}
