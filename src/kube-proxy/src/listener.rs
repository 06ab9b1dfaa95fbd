//! Listening at the addresses of Services, one task an address.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    affinity::Affinity,
    forward::Forwarder,
    rules::{Endpoint, Protocol, Rule},
    udp,
};

/// The kernel queues this many connections while the proxy is busy.
const BACKLOG: u32 = 1024;

/// All addresses that are served.
pub struct Listeners {
    forwarder: Forwarder,
    hold: Duration,
    by_address: HashMap<(Protocol, SocketAddr), Serving>,
}

/// One address: its current rule, and the task that accepts there (none while it cannot be bound).
struct Serving {
    rule: watch::Sender<Arc<Rule>>,
    task: Option<JoinHandle<()>>,
}

impl Listeners {
    /// No address yet.
    pub fn new(forwarder: Forwarder, hold: Duration) -> Self {
        Self { forwarder, hold, by_address: HashMap::new() }
    }

    /// Serves `rule`, or changes what its address leads to; connections that are open stay.
    pub fn set(&mut self, rule: Rule) {
        let key = (rule.protocol, rule.address);
        if let Some(serving) = self.by_address.get(&key) {
            serving.rule.send_if_modified(|current| {
                let changed = **current != rule;
                if changed {
                    *current = Arc::new(rule);
                }
                changed
            });
            return;
        }
        let sender = watch::Sender::new(Arc::new(rule));
        let task = self.open(key, &sender);
        self.by_address.insert(key, Serving { rule: sender, task });
    }

    /// Stops accepting at an address.
    pub fn remove(&mut self, address: &(Protocol, SocketAddr)) {
        if let Some(Serving { task: Some(task), .. }) = self.by_address.remove(address) {
            task.abort();
        }
    }

    /// Whether an address could not be bound.
    pub fn any_refused(&self) -> bool {
        self.by_address.values().any(|serving| serving.task.is_none())
    }

    /// Tries the addresses again that could not be bound.
    pub fn retry(&mut self) {
        let refused: Vec<_> =
            self.by_address.iter().filter(|(_, serving)| serving.task.is_none()).map(|(key, _)| *key).collect();
        for key in refused {
            if let Some(mut serving) = self.by_address.remove(&key) {
                serving.task = self.open(key, &serving.rule);
                self.by_address.insert(key, serving);
            }
        }
    }

    /// Stops all.
    pub fn close(&mut self) {
        for (_, serving) in self.by_address.drain() {
            if let Some(task) = serving.task {
                task.abort();
            }
        }
    }

    fn open(
        &self,
        (protocol, address): (Protocol, SocketAddr),
        rule: &watch::Sender<Arc<Rule>>,
    ) -> Option<JoinHandle<()>> {
        let at = cni::dial_address(address);
        let opened = match protocol {
            Protocol::Tcp => listen(at).map(|listener| {
                let acceptor = Acceptor {
                    rule: rule.subscribe(),
                    forwarder: self.forwarder.clone(),
                    hold: self.hold,
                    turn: Arc::new(AtomicUsize::new(0)),
                    affinity: Arc::new(Affinity::default()),
                };
                tokio::spawn(accept(listener, acceptor))
            }),
            Protocol::Udp => udp::bind(at).map(|socket| tokio::spawn(udp::serve(socket, rule.subscribe()))),
        };
        opened
            .inspect_err(|error| {
                let service = &rule.borrow().service;
                tracing::error!(%service, %at, %error, "cannot listen for the service; tried again shortly");
            })
            .ok()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What accepting at one address needs.
#[derive(Clone)]
struct Acceptor {
    rule: watch::Receiver<Arc<Rule>>,
    forwarder: Forwarder,
    hold: Duration,
    turn: Arc<AtomicUsize>,
    affinity: Arc<Affinity>,
}

async fn accept(listener: TcpListener, acceptor: Acceptor) {
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { acceptor.serve(client, peer).await });
            }
            Err(error) => {
                // Out of descriptors, or a client that left before it was accepted: others may still come.
                tracing::warn!(%error, "accept failed");
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Acceptor {
    /// Brings one connection to an endpoint; the next is tried when one cannot be reached.
    async fn serve(mut self, mut client: TcpStream, peer: SocketAddr) {
        let _ = client.set_nodelay(true);
        let rule = match tokio::time::timeout(self.hold, self.serving()).await {
            Ok(Some(rule)) => rule,
            // Nobody serves and nobody will: a reset says so at once, as kube-proxy's REJECT does.
            Ok(None) | Err(_) => {
                let _ = client.set_zero_linger();
                return;
            }
        };
        for endpoint in self.order(&rule, peer) {
            if let Some(timeout) = rule.affinity {
                self.affinity.remember(peer.ip(), endpoint.address, timeout);
            }
            match self.forwarder.forward(client, &endpoint).await {
                Ok(()) => return,
                Err((back, error)) => {
                    tracing::debug!(service = %rule.service, address = %endpoint.address, %error, "endpoint not reached");
                    client = back;
                }
            }
        }
        let _ = client.set_zero_linger();
    }

    /// The rule once it has an endpoint; none when none is to be expected.
    async fn serving(&mut self) -> Option<Arc<Rule>> {
        let rule = self.rule.wait_for(|rule| !rule.endpoints.is_empty() || !rule.starting).await.ok()?.clone();
        (!rule.endpoints.is_empty()).then_some(rule)
    }

    /// The endpoints in the order in which this client tries them.
    fn order(&self, rule: &Rule, peer: SocketAddr) -> Vec<Endpoint> {
        let kept = rule
            .affinity
            .and_then(|timeout| self.affinity.recall(peer.ip(), timeout))
            .and_then(|address| rule.endpoints.iter().position(|endpoint| endpoint.address == address));
        let first = kept.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed) % rule.endpoints.len());
        let mut order = rule.endpoints.clone();
        order.rotate_left(first);
        order
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that answers each connection with `word`.
    async fn backend(word: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = client.write_all(word.as_bytes()).await;
            }
        });
        address
    }

    async fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound")
    }

    fn rule(address: SocketAddr, endpoints: &[SocketAddr], starting: bool) -> Rule {
        let endpoints = endpoints.iter().map(|address| Endpoint { address: *address, local: true }).collect();
        Rule { service: "default/web".into(), protocol: Protocol::Tcp, address, endpoints, starting, affinity: None }
    }

    async fn answer(address: SocketAddr) -> io::Result<String> {
        let mut text = String::new();
        TcpStream::connect(address).await?.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn connections_take_turns_and_skip_endpoints_that_are_gone() {
        let (one, two, gone, at) =
            (backend("one").await, backend("two").await, free_address().await, free_address().await);
        let mut listeners = Listeners::new(Forwarder::new(None), Duration::from_secs(5));
        listeners.set(rule(at, &[one, gone, two], false));
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(answer(at).await.expect("served"));
        }
        assert!(answers.contains(&"one".to_owned()) && answers.contains(&"two".to_owned()), "{answers:?}");
    }

    #[tokio::test]
    async fn a_connection_is_held_until_an_endpoint_is_ready() {
        let (one, at) = (backend("one").await, free_address().await);
        let mut listeners = Listeners::new(Forwarder::new(None), Duration::from_secs(60));
        listeners.set(rule(at, &[], true));
        let held = tokio::spawn(answer(at));
        tokio::task::yield_now().await;
        listeners.set(rule(at, &[one], false));
        assert_eq!(held.await.expect("no panic").expect("served"), "one");
    }

    #[tokio::test]
    async fn a_connection_that_nobody_will_serve_is_reset() {
        let at = free_address().await;
        let mut listeners = Listeners::new(Forwarder::new(None), Duration::from_secs(60));
        listeners.set(rule(at, &[], false));
        assert!(answer(at).await.is_err());
    }

    #[tokio::test]
    async fn an_address_in_use_is_taken_when_it_is_free() {
        let holder = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let at = holder.local_addr().expect("bound");
        let mut listeners = Listeners::new(Forwarder::new(None), Duration::from_secs(60));
        listeners.set(rule(at, &[backend("one").await], false));
        assert!(listeners.any_refused());
        drop(holder);
        listeners.retry();
        assert!(!listeners.any_refused());
        assert_eq!(answer(at).await.expect("served"), "one");
    }
}
