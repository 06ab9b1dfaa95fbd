//! The node itself: registered, described, and kept alive in the eyes of the cluster.

mod capacity;
mod lease;
mod manager;
mod status;

pub use capacity::Capacity;
pub use manager::{NodeManager, RuntimeLink};
