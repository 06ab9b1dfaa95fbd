//! A connection that changes its process as a descriptor.
//!
//! The service proxy accepts a connection and chooses a pod. Is the pod a Wasm pod of this node, then the runtime
//! serves the connection itself: the proxy sends the descriptor, and no byte is copied afterwards.
//!
//! ```text
//!   kube-proxy                                 runtime
//!   HandoffClient ── [id, pod ip:port] + fd ─► HandoffListener
//!                 ◄─ [id, accepted | refused: reason] ──
//! ```
//!
//! The socket keeps message boundaries (`SOCK_SEQPACKET`), so a descriptor cannot be taken for another message's. Any
//! number of hand-overs may be under way on one socket; answers come in any order.
//!
//! **Guarantees.** A refused hand-over, and one whose runtime dies before it answered, leave the connection with the
//! caller, unread, who may splice it instead.
//! **Assumption.** Nobody read from or wrote to the connection, and no event loop of the sender still watches it.

mod client;
mod listener;
mod message;

pub use client::{HandoffClient, HandoffError};
pub use listener::HandoffListener;
