//! One connection to one server.

use std::{io, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::client::Body;
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::Address;

/// Every server's certificate is for this name, whatever its address.
const NAME: &str = "kubernetes";
/// How long one server may take to answer, when there is another, and when there is none.
const DIAL_ONE_OF_MANY: Duration = Duration::from_secs(1);
const DIAL_THE_ONLY: Duration = Duration::from_secs(5);
/// A connection with streams on it that is silent for so long is asked whether it lives, and has so long to answer: a
/// half-open one is noticed within two seconds.
const PING_AFTER: Duration = Duration::from_millis(750);
const PING_TIMEOUT: Duration = Duration::from_millis(1250);
/// The same for what was sent and is not acknowledged.
const UNACKNOWLEDGED_MS: u32 = 2000;

/// Why one server cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network.
    #[error("{address}: {source}")]
    Network {
        /// Which.
        address: Address,
        /// What the system said; TLS speaks through it too.
        source: io::Error,
    },
    /// It is silent.
    #[error("{address}: no answer within {} s", after.as_secs())]
    Silent {
        /// Which.
        address: Address,
        /// Since when.
        after: Duration,
    },
    /// What answers speaks something else.
    #[error("{address}: what answers there speaks no HTTP/2, so it is no server of Coracle")]
    Protocol {
        /// Which.
        address: Address,
    },
    /// It broke at once.
    #[error("{address}: {source}")]
    Http {
        /// Which.
        address: Address,
        /// Why.
        source: hyper::Error,
    },
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is no PEM.
    #[error("certificate: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Certificate and key do not go together.
    #[error("certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

/// With which certificate a client shows who it is. A new one counts from the next connection on.
#[derive(Debug, Default)]
pub struct ClientCertificate(ArcSwapOption<CertifiedKey>);

impl ClientCertificate {
    /// Shows this certificate from now on; both are PEM.
    ///
    /// # Errors
    /// When they cannot be used; what was there before stays.
    pub fn set(&self, certificate: &str, key: &str) -> Result<(), IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}

/// TLS that believes the cluster's authority (DER) alone.
///
/// # Errors
/// When that is none.
pub fn tls(
    authority: CertificateDer<'static>,
    own: Arc<ClientCertificate>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would carry the certificate that it began with.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A connection that works.
pub struct Connected {
    /// The server.
    pub address: Address,
    /// Takes requests.
    pub requests: http2::SendRequest<Body>,
    /// Tells when it takes no more, with the reason.
    pub ended: oneshot::Receiver<Option<hyper::Error>>,
    /// Ends it, with all that is under way.
    pub abort: CancellationToken,
}

/// Connects to a server and proves each to the other. `several` says that there is another to turn to.
///
/// # Errors
/// Why it cannot be reached.
pub async fn dial(address: &Address, tls: &Arc<ClientConfig>, several: bool) -> Result<Connected, DialError> {
    let limit = if several { DIAL_ONE_OF_MANY } else { DIAL_THE_ONLY };
    let stream = secure(address, tls.clone(), several);
    let silent = |_| DialError::Silent { address: address.clone(), after: limit };
    let stream = tokio::time::timeout(limit, stream).await.map_err(silent)??;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(DialError::Protocol { address: address.clone() });
    }
    let abort = CancellationToken::new();
    let mut builder = http2::Builder::new(Abortable(abort.clone()));
    builder.timer(TokioTimer::new());
    if several {
        builder.keep_alive_interval(PING_AFTER).keep_alive_timeout(PING_TIMEOUT).keep_alive_while_idle(false);
    }
    let http = |source| DialError::Http { address: address.clone(), source };
    let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
    let (tell, ended) = oneshot::channel();
    let stop = abort.clone();
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = connection => ended.err(),
            () = stop.cancelled() => None,
        };
        // Nobody may listen any more.
        let _ = tell.send(ended);
    });
    Ok(Connected { address: address.clone(), requests, ended, abort })
}

/// TCP and TLS.
///
/// # Errors
/// Why there is none.
pub async fn secure(
    address: &Address,
    tls: Arc<ClientConfig>,
    several: bool,
) -> Result<TlsStream<TcpStream>, DialError> {
    let network = |source| DialError::Network { address: address.clone(), source };
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(network)?;
    stream.set_nodelay(true).map_err(network)?;
    if several {
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS).map_err(|e| network(e.into()))?;
    }
    let name = ServerName::try_from(NAME).expect("a valid name");
    TlsConnector::from(tls).connect(name, stream).await.map_err(network)
}

/// Runs the parts of a connection until it is aborted.
#[derive(Clone)]
struct Abortable(CancellationToken);

impl<F> Executor<F> for Abortable
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let stop = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = future => {}
                () = stop.cancelled() => {}
            }
        });
    }
}
