//! What every component stands on.
//!
//! Nothing below the roles (`server`, `agent`) reads the wall clock or randomness by itself: both are handed down
//! as [`SharedClock`] and [`SharedEntropy`], so that a test or a simulation decides what time it is and which
//! identifiers are drawn.

mod accept;
pub mod clock;
pub mod entropy;
pub mod events;
pub mod files;
pub mod join_token;
pub mod logs;
pub mod metrics;
pub mod tasks;
pub mod tls;

pub use accept::accept;
pub use clock::{Clock, SharedClock, SystemClock};
pub use entropy::{Entropy, OsEntropy, SharedEntropy};
pub use join_token::JoinToken;
pub use tasks::Tasks;
