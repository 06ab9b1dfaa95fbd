//! etcd's v3 API on the keyspace that the API server uses: what tools made for etcd speak.
//!
//! ```text
//!  serve        TLS with client certificates, HTTP/2
//!     └─ Door   what all services share: the store, who belongs to the cluster, which keys are read-only
//!         ├─ kv, watch, lease        the keyspace
//!         ├─ cluster, maintenance    the servers; `Members` is what the server injects for that
//!         └─ auth                    as etcd answers when authentication is not enabled
//! ```
//!
//! Answers, error texts and codes are those of etcd 3.5. The differences are few and deliberate:
//! - The keys of the API server can be read and watched; what would change them, or end a lease that they live by, is
//!   refused with `PermissionDenied`: they obey rules that only the API server knows.
//! - Who may come in at all is told by client certificates; there are no users and roles.
//! - A lease lives a year at most, and transactions lie in one another 16 deep at most.
//! - No transaction changes a key twice. etcd too refuses that, but overlooks two ways: a range without an end that deletes
//!   what the transaction puts, and a transaction within that deletes what one beside it puts.
//! - Members join with a token and not by `member add` on their own; see [`Members`].
//! - A snapshot is a database file as etcd 3.5 writes it, made from the keyspace: see [`snapshot`].
//!
//! The messages are generated at development time from `proto/rpc.proto`, by the program in `generate`, and checked in. No
//! published crate has them in a usable form: `etcd-client` can build server traits, but keeps some of their messages
//! private (those of `AuthStatus`), so that not all of them can be implemented; it needs `protoc`; and it copies every value.

mod auth;
mod cluster;
mod convert;
mod door;
mod fail;
mod kv;
mod lease;
mod maintenance;
mod members;
pub mod pb;
mod serve;
pub mod snapshot;
mod watch;

#[cfg(test)]
mod tests;

pub use self::{
    door::Door,
    members::{Alone, Member, MemberError, Members, Standing},
    serve::{serve, server_config},
};

/// The version of etcd whose answers these are: the first whose progress notices never come before the events they speak of.
pub const ETCD_VERSION: &str = "3.5.8";
