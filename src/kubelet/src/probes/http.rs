//! The HTTP request of a probe, and errors in Go's words, which people search for.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

const REDIRECTS_MAX: usize = 10;
/// So much of a body is read, lest a guest keep the probe busy.
const BODY_BYTES_MAX: usize = 10 << 10;

/// Makes requests. A probe checks that something answers, not who it is: certificates are not verified.
pub(super) struct Client {
    tls: TlsConnector,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Get {
    pub host: String,
    pub port: u16,
    pub real_port: u16,
    pub https: bool,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Get {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", join(&self.host, self.port), self.target())
    }

    fn target(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/{}", self.path) }
    }
}

impl Client {
    pub(super) fn new() -> Self {
        Self { tls: TlsConnector::from(Arc::new(component_base::tls::unverified())) }
    }

    /// `Ok` when the answer is from 200 to 399.
    pub(super) async fn get(&self, mut get: Get, limit: Duration) -> Result<(), String> {
        let url = get.url();
        let following = async {
            for _ in 0..REDIRECTS_MAX {
                let (status, location) = self.once(&get).await?;
                let redirect = location.filter(|_| (300..400).contains(&status)).and_then(|to| same_host(&get, &to));
                match redirect {
                    Some(path) => get.path = path,
                    None if (200..400).contains(&status) => return Ok(()),
                    None => return Err(Failure::Status(status)),
                }
            }
            Ok(())
        };
        match timeout(limit, following).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Failure::Status(status))) => Err(format!("HTTP probe failed with statuscode: {status}")),
            Ok(Err(Failure::Transport(why))) => Err(format!("Get \"{url}\": {why}")),
            Err(_elapsed) => Err(format!(
                "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            )),
        }
    }

    async fn once(&self, get: &Get) -> Result<(u16, Option<String>), Failure> {
        let shown = join(&get.host, get.port);
        let stream = TcpStream::connect((get.host.as_str(), get.real_port))
            .await
            .map_err(|error| Failure::Transport(format!("dial tcp {shown}: {}", connect_error(&error))))?;
        // A probe is one small request: waiting for more to send only costs time.
        let _ = stream.set_nodelay(true);
        if !get.https {
            return exchange(get, TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(get.host.clone()).map_err(|error| Failure::Transport(error.to_string()))?;
        let stream =
            self.tls.connect(name, stream).await.map_err(|error| Failure::Transport(format!("tls: {error}")))?;
        exchange(get, TokioIo::new(stream)).await
    }
}

enum Failure {
    Status(u16),
    Transport(String),
}

async fn exchange<S>(get: &Get, stream: S) -> Result<(u16, Option<String>), Failure>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let transport = |error: hyper::Error| {
        let why = if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() };
        Failure::Transport(why)
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(transport)?;
    let driving = tokio::spawn(connection);
    // The connection ends with this look, however it goes.
    let _end = AbortOnDrop(driving.abort_handle());
    let mut request = Request::get(get.target()).header("Accept", "*/*").header("Connection", "close");
    let given = |name: &str| get.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !given("Host") {
        request = request.header("Host", join(&get.host, get.port));
    }
    if !given("User-Agent") {
        request = request.header("User-Agent", "kube-probe/1.36");
    }
    for (name, value) in &get.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| Failure::Transport(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(transport)?;
    let status = answer.status().as_u16();
    let location = answer.headers().get("Location").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > BODY_BYTES_MAX {
            break;
        }
    }
    Ok((status, location))
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The path of a redirect that stays where it is; one to elsewhere counts as success, as Kubernetes has it.
fn same_host(get: &Get, location: &str) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    let stays = match uri.authority() {
        None => true,
        Some(authority) => authority.host() == get.host && authority.port_u16().is_none_or(|port| port == get.port),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    stays.then(|| path.to_owned())
}

/// `host:port`, with brackets where they belong.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Why a connection failed, as Go says it.
pub(super) fn connect_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn answer(text: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        port
    }

    async fn check(port: u16) -> Result<(), String> {
        let get = Get {
            host: "127.0.0.1".to_owned(),
            port: 80,
            real_port: port,
            https: false,
            path: "healthz".to_owned(),
            headers: Vec::new(),
        };
        Client::new().get(get, Duration::from_millis(300)).await
    }

    #[tokio::test]
    async fn answers_and_their_absence_read_as_people_know_them() {
        let ok = answer("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(check(ok).await, Ok(()));
        let broken = answer("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(check(broken).await, Err("HTTP probe failed with statuscode: 500".to_owned()));
        let elsewhere = answer("HTTP/1.1 302 Found\r\nLocation: http://other/x\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(check(elsewhere).await, Ok(()));
        let closed = { TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it").port() };
        let refused = "Get \"http://127.0.0.1:80/healthz\": dial tcp 127.0.0.1:80: connect: connection refused";
        assert_eq!(check(closed).await, Err(refused.to_owned()));
        let silent = answer("").await;
        let outcome = check(silent).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
}
