//! What every controller stands on: clients, shared caches, work queues, writes that the caches see, events.
//!
//! ```text
//!   watch ──► Informer<K> ──► handlers ──► Queue<Key> ──► workers: plan, then Objects<K>
//!                  ▲                                                        │
//!                  └──────────────── answers to own writes ─────────────────┘
//! ```
//!
//! A controller's `start(&Context)` takes the informers it needs, registers handlers that put keys into its queue, and calls
//! [`spawn_workers`].

mod clients;
mod context;
mod events;
mod informer;
mod objects;
mod queue;
mod reflector;
mod refs;
mod selectors;
mod store;
mod trim;
mod workers;

pub use clients::{Clients, Identity};
pub use context::Context;
pub use events::{Recorder, Severity, reference};
pub use informer::{Change, Informer, Informers};
pub use objects::{Objects, is_conflict, is_gone};
pub use queue::Queue;
pub use refs::{Claim, adopt_patch, claim, controller_of, controller_ref, owner_ref, release_patch};
pub use selectors::{labels_of, parse_selector};
pub use store::Key;
pub use workers::{Outcome, SyncError, spawn_workers};
