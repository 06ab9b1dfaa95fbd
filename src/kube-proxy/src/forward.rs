//! One connection's way to its endpoint: handed over as a descriptor where the runtime serves it, spliced elsewhere.

use std::{io, os::fd::AsFd};

use cri::handoff::HandoffClient;
use tokio::{io::copy_bidirectional, net::TcpStream};

use crate::rules::Endpoint;

/// Brings connections to endpoints.
#[derive(Clone)]
pub struct Forwarder {
    handoff: Option<HandoffClient>,
}

impl Forwarder {
    /// With `handoff`, connections for endpoints of this node are offered to the runtime first.
    pub fn new(handoff: Option<HandoffClient>) -> Self {
        Self { handoff }
    }

    /// Forwards `client` to `endpoint` and returns when the connection was handed over or has ended.
    ///
    /// # Errors
    /// Gives the connection back when the endpoint could not be reached, so that another may be tried.
    pub async fn forward(&self, client: TcpStream, endpoint: &Endpoint) -> Result<(), (TcpStream, io::Error)> {
        let mut client = match self.hand_over(client, endpoint).await {
            Ok(()) => return Ok(()),
            Err(client) => client,
        };
        match TcpStream::connect(cni::dial_address(endpoint.address)).await {
            Ok(mut server) => {
                let _ = server.set_nodelay(true);
                // However the two ends part, the connection is over.
                let _ = copy_bidirectional(&mut client, &mut server).await;
                Ok(())
            }
            Err(error) => Err((client, error)),
        }
    }

    /// Offers the connection to this node's runtime; gives it back when the runtime does not serve that address.
    async fn hand_over(&self, client: TcpStream, endpoint: &Endpoint) -> Result<(), TcpStream> {
        let Some(handoff) = self.handoff.as_ref().filter(|_| endpoint.local) else { return Err(client) };
        match handoff.hand_over(endpoint.address, client.as_fd()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(address = %endpoint.address, %error, "not handed over; spliced");
                Err(client)
            }
        }
    }
}
