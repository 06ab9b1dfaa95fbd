//! Requests that a guest sends: by the pod's names and ports, from the pod's address.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::Scheme};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::{Sleep, timeout},
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::{
    names::{NameError, Resolver},
    sockets::connect_address,
};

const CONNECT_TIME_DEFAULT: Duration = Duration::from_secs(30);
const SILENCE_DEFAULT: Duration = Duration::from_secs(600);
/// Where hosts keep the authorities they trust: Debian's and Ubuntu's, Fedora's, Alpine's.
const HOST_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How one container's guests reach out.
#[derive(Debug)]
pub(crate) struct Outbound {
    pod_ip: IpAddr,
    resolver: Arc<Resolver>,
    /// The cluster's authority, if it is mounted into the container: with it a guest can speak to the API server.
    cluster_authority: Option<PathBuf>,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// The hook by which wasmtime asks.
pub(crate) struct OutboundHooks(pub Arc<Outbound>);

type Sending = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for OutboundHooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Sending,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Sending), Error>> + Send> {
        let outbound = self.0.clone();
        Box::new(async move { outbound.send(request, options.unwrap_or_default()).await })
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Outbound {
    pub fn new(pod_ip: IpAddr, resolver: Arc<Resolver>, cluster_authority: Option<PathBuf>) -> Self {
        Self { pod_ip, resolver, cluster_authority, tls: OnceLock::new() }
    }

    async fn send(
        &self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, Sending), Error> {
        let connect_time = options.connect_timeout.unwrap_or(CONNECT_TIME_DEFAULT);
        let wire = timeout(connect_time, self.connect(request.uri())).await.map_err(|_| Error::ConnectionTimeout)??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await?;
        // The connection is driven beside the request, and as long as the response's body is read.
        let driver = wasmtime_wasi::runtime::spawn(connection);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let first_byte_time = options.first_byte_timeout.unwrap_or(SILENCE_DEFAULT);
        let response = timeout(first_byte_time, sender.send_request(request))
            .await
            .map_err(|_| Error::ConnectionReadTimeout)??;
        let silence = options.between_bytes_timeout.unwrap_or(SILENCE_DEFAULT);
        let response = response.map(|body| TimedBody::new(body, silence).boxed_unsync());
        let driving = async move {
            // Kept until here, since a connection without a sender closes after its response.
            let _sender = sender;
            driver.await.map_err(Error::from)
        };
        Ok((response, Box::new(driving)))
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Wire>, Error> {
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.dial(host, port).await?;
        if !secure {
            return Ok(Box::new(stream));
        }
        let name =
            ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let connector = TlsConnector::from(self.tls.get_or_init(|| Arc::new(self.tls_config())).clone());
        Ok(Box::new(connector.connect(name, stream).await.map_err(Error::Tls)?))
    }

    /// Tries the name's addresses in turn.
    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = self.resolver.lookup(host).await.map_err(|error| match error {
            NameError::Unanswered => Error::DnsTimeout,
            NameError::Invalid | NameError::NotFound => {
                Error::DnsError { rcode: Some("NXDOMAIN".to_owned()), info_code: None }
            }
        })?;
        let mut last = Error::DestinationNotFound;
        for address in addresses {
            let address = connect_address(SocketAddr::new(address, port), self.pod_ip);
            match self.dial_one(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => last = Error::ConnectionRefused,
                Err(error) => last = Error::Connect(error),
            }
        }
        Err(last)
    }

    async fn dial_one(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if address.ip().is_loopback() && address.is_ipv4() == self.pod_ip.is_ipv4() {
            socket.bind(SocketAddr::new(self.pod_ip, 0))?;
        }
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }

    fn tls_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let files = HOST_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.is_file());
        for file in files.iter().chain(&self.cluster_authority) {
            let Ok(text) = std::fs::read(file) else { continue };
            roots.add_parsable_certificates(rustls_pemfile::certs(&mut text.as_slice()).flatten());
        }
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// A response's body that may not be silent for too long.
struct TimedBody {
    body: Incoming,
    silence: Duration,
    waited: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    fn new(body: Incoming, silence: Duration) -> Self {
        Self { body, silence, waited: None }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waited = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let silence = self.silence;
        let waited = self.waited.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence)));
        ready!(waited.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
