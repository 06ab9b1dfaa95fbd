//! The API server: one door to all state.
//!
//! ```text
//! serve (TLS) ─┐                ┌─ paths: discovery, OpenAPI, health, version, metrics
//!              ├─► chain ─► endpoints ─► registry ─► store (one transaction)
//! inprocess ───┘        │       └─ cacher (lists, gets, watches: bytes)  ◄── one watch of the store
//!                       └─ who, how many, may they
//! ```
//!
//! One table ([`resources::Table`]) drives everything: a resource that is in it is stored, listed, watched and discovered. What
//! differs between kinds lives in crate `apis` (fields), [`registry::strategy`] (behaviour) and `subresources`.

pub mod admit;
mod bootstrap;
pub mod cacher;
pub mod chain;
pub mod convert;
pub mod core;
pub mod custom;
pub mod discovery;
pub mod encoding;
pub mod endpoints;
pub mod fail;
mod health;
mod housekeeping;
pub mod inprocess;
pub mod keys;
pub mod managed_fields;
pub mod metrics;
pub mod openapi;
pub mod policies;
pub mod query;
pub mod registry;
pub mod resources;
pub mod respond;
pub mod reviews;
mod schemas;
pub mod serve;
mod server;
#[cfg(test)]
mod server_test;
pub mod subresources;
pub mod version;
mod webhooks;

pub use self::{
    core::Config,
    inprocess::InProcess,
    registry::services::ServiceRange,
    server::{ApiServer, Parts, StartError},
};
