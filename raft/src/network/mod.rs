//! How servers speak with one another.
//!
//! A server keeps two connections to every other, dials them when it first needs them, and serves those that others
//! dialled: only who dialled asks, the other answers. Many requests are under way on one connection at once, told apart by
//! a number.
//!
//! ```text
//!  connect    the seam: a stream to a server (mutual TLS over TCP; memory in tests)
//!  frame      length, kind, number, body
//!  hello      who speaks, of which cluster; who is refused
//!  message    the bodies
//!  link       a connection that was dialled: requests out, answers in; notices when the other side is gone
//!  peer       the links to one server: a quick one (votes, heartbeats, reads) and one for what is large
//!  client     what openraft asks of the network
//!  server     the other end
//!  snapshot   sending one, on a connection of its own; `receive`: taking one
//! ```
//!
//! A heartbeat never waits behind a batch of entries or a snapshot. A connection on which the other side owes an answer
//! and says nothing for two seconds is given up: a half-open one is noticed long before TCP does.

mod client;
mod connect;
mod frame;
mod hello;
mod link;
mod message;
mod peer;
mod receive;
mod server;
mod snapshot;

pub(crate) use self::{
    client::Network,
    hello::{Identity, Local, Reach},
    link::CallError,
    message::{Answer, json, kind},
    peer::{Lane, Peer, Peers},
    receive::clear,
    server::serve,
};
pub use self::{
    connect::{Connect, NoPeers, PeerStream},
    hello::{PeerError, Refusal},
};
