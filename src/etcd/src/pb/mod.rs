//! The protocol's messages and services.

#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated from proto/rpc.proto")]

#[rustfmt::skip]
mod etcdserverpb;

pub use self::etcdserverpb::*;
