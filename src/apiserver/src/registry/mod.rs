//! The generic registry: what happens to an object between the endpoint that received it and the store.
//!
//! One path for all kinds. What differs between kinds is asked for: fields, defaults and checks of crate `apis`, a few facts
//! of [`strategy`], addresses and ports of [`services`].

pub mod commit;
pub mod deletion;
pub mod escalation;
pub mod meta;
pub mod requester;
pub mod services;
pub mod strategy;
