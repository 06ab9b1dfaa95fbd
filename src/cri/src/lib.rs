//! The Container Runtime Interface, version 1: the one seam between the kubelet and the runtimes.
//!
//! ```text
//!   kubelet ── client::connect ──► unix socket ──► server::serve ── runtime
//!   kube-proxy ── HandoffClient ─► unix socket ──► HandoffListener ── runtime
//! ```
//!
//! [`v1`] are the messages and services as Kubernetes publishes them, so that any CRI client can use Coracle's runtime
//! and Coracle's kubelet can use another runtime. [`labels`] are the keys by which a kubelet marks what it made, so
//! that it finds it again after a restart. [`handoff`] is Coracle's one extension: an accepted connection changes its
//! process as a descriptor.

pub mod client;
pub mod handoff;
pub mod labels;
pub mod server;
mod socket;

pub use client::{Clients, connect};
pub use k8s_cri::v1;
pub use server::serve;
pub use socket::SocketError;
