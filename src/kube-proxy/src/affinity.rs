//! Which endpoint a client was given (`sessionAffinity: ClientIP`).

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Beyond this many clients, the expired ones are forgotten before another is remembered.
const SWEEP_ABOVE: usize = 4096;

/// Clients and their endpoints, each for as long as it comes back in time.
#[derive(Default)]
pub struct Affinity(Mutex<HashMap<IpAddr, (SocketAddr, Instant)>>);

impl Affinity {
    /// The endpoint `client` was given within `timeout`.
    pub fn recall(&self, client: IpAddr, timeout: Duration) -> Option<SocketAddr> {
        let clients = self.0.lock();
        let (endpoint, since) = clients.get(&client)?;
        (since.elapsed() < timeout).then_some(*endpoint)
    }

    /// Remembers that `client` was given `endpoint`.
    pub fn remember(&self, client: IpAddr, endpoint: SocketAddr, timeout: Duration) {
        let mut clients = self.0.lock();
        if clients.len() > SWEEP_ABOVE {
            clients.retain(|_, (_, since)| since.elapsed() < timeout);
        }
        clients.insert(client, (endpoint, Instant::now()));
    }
}
