//! UDP Services: a client's datagrams go to one endpoint for as long as it keeps talking.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

use crate::rules::Rule;

/// A client that was silent this long is a new one (kube-proxy's connection tracking keeps UDP as long).
const IDLE: Duration = Duration::from_secs(30);
/// The largest datagram.
const DATAGRAM: usize = 65_535;
/// Clients at once; datagrams of further ones are dropped, as a full connection table would.
const MAX_CLIENTS: usize = 16_384;

/// A socket at `address`.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Forwards datagrams that arrive at `socket` as the current rule says.
pub async fn serve(socket: UdpSocket, rule: watch::Receiver<Arc<Rule>>) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut flows = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    let mut turn = 0_usize;
    loop {
        tokio::select! {
            Some(ended) = flows.join_next(), if !flows.is_empty() => {
                if let Ok(client) = ended {
                    clients.remove(&client);
                }
            }
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, client)) = received else { continue };
                if !clients.contains_key(&client) {
                    let endpoints = rule.borrow().endpoints.clone();
                    if endpoints.is_empty() || clients.len() >= MAX_CLIENTS {
                        continue;
                    }
                    turn = turn.wrapping_add(1);
                    let Ok(upstream) = connect(cni::dial_address(endpoints[turn % endpoints.len()].address)).await else { continue };
                    let upstream = Arc::new(upstream);
                    flows.spawn(answers(socket.clone(), upstream.clone(), client));
                    clients.insert(client, upstream);
                }
                if let Some(upstream) = clients.get(&client) {
                    // UDP may lose a datagram; the sender asks again.
                    let _ = upstream.send(&buffer[..length]).await;
                }
            }
        }
    }
}

async fn connect(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if endpoint.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(endpoint).await?;
    Ok(socket)
}

/// Brings answers back until there were none for a while.
async fn answers(socket: Arc<UdpSocket>, upstream: Arc<UdpSocket>, client: SocketAddr) -> SocketAddr {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, upstream.recv(&mut buffer)).await {
        let _ = socket.send_to(&buffer[..length], client).await;
    }
    client
}
