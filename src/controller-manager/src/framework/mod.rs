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

mod batch;
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
mod wake;
mod workers;

pub use batch::slow_start;
pub use clients::{Clients, Identity};
pub use context::{Context, now};
pub use events::{Recorder, Severity, reference};
pub use informer::{Change, Informer, Informers};
pub use objects::{Objects, is_conflict, is_gone, is_terminating_namespace, message_of};
pub use queue::Queue;
pub use refs::{Claim, adopt_patch, claim, controller_of, controller_ref, owner_ref, release_patch};
pub use selectors::{labels_of, parse_selector};
pub use store::Key;
pub use wake::{wake_controller, wake_owner_or_claimants};
pub use workers::{Outcome, SyncError, spawn_workers};
