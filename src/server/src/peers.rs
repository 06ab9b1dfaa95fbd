//! How servers reach one another: mutual TLS under an authority of their own, on the port of the API, told apart from it by
//! the protocol that the client offers (ALPN).
//!
//! Each server has the authority's key, which it was given when it joined, and signs its own certificate with it at every
//! start. Its number stands in the certificate: who answers, or asks, is known before the first byte.

use std::{io, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use auth::ClusterCa;
use component_base::{
    Clock,
    tls::{Strangers, server_config},
};
use raft::{Connect, PeerStream, Server};
use rustls::{ServerConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    ServerError,
    tls::{self, TlsError},
};

/// The protocol that servers offer one another.
pub const ALPN: &[u8] = b"coracle-peer/1";
/// How long a server may take to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// What a server's name in its certificate ends with; its number comes before.
const SUFFIX: &str = ".server.coracle";

/// What a server shows other servers, and whom it believes.
pub struct Peers {
    client: TlsConnector,
    /// For connections that come in.
    pub server: Arc<ServerConfig>,
}

impl Peers {
    /// Server number `id`, with the authority in `folder`, which is made where there is none.
    ///
    /// # Errors
    /// When the folder cannot be used, or holds something else.
    pub fn new(folder: &Path, id: u64, clock: &dyn Clock) -> Result<Self, ServerError> {
        let authority = ClusterCa::open_or_create(folder, clock)?;
        let name = format!("{id}{SUFFIX}");
        // One certificate for either end of a connection.
        let own = authority.peer(&name, clock.now())?;
        let client = tls::client(&own, authority.certificate_pem(), &[ALPN])?;
        let server =
            server_config(&own.certificate, &own.key, authority.certificate_pem(), Strangers::StayOut, &[ALPN]);
        Ok(Self { client: TlsConnector::from(client), server: server.map_err(TlsError::from)? })
    }
}

/// The number of the server that shows this certificate (DER), which the authority has signed.
pub fn number(certificate: &[u8]) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    name.strip_suffix(SUFFIX)?.parse().ok()
}

#[async_trait]
impl Connect for Peers {
    async fn connect(&self, id: u64, server: &Server) -> io::Result<Box<dyn PeerStream>> {
        let name = ServerName::try_from(format!("{id}{SUFFIX}")).map_err(io::Error::other)?;
        let connect = async {
            let stream = TcpStream::connect(&server.peer_address).await?;
            stream.set_nodelay(true)?;
            self.client.connect(name, stream).await
        };
        match tokio::time::timeout(CONNECT, connect).await {
            Ok(stream) => Ok(Box::new(stream?)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("server {id} does not answer at {}", server.peer_address),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use component_base::SystemClock;
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    #[test]
    fn a_certificate_says_which_server_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let authority = ClusterCa::open_or_create(folder.path(), &SystemClock).unwrap();
        let shown = |name: &str| {
            let own = authority.peer(name, SystemClock.now()).unwrap();
            number(&CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap())
        };
        assert_eq!(shown("7.server.coracle"), Some(7));
        assert_eq!(shown("x.server.coracle"), None);
        assert_eq!(shown("7"), None);
        assert_eq!(number(b"no certificate"), None);
    }
}
