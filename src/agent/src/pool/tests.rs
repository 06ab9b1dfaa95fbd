//! Servers come and go.

use std::sync::atomic::{AtomicUsize, Ordering};

use component_base::entropy::SeededEntropy;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;

/// An authority, and servers below it.
struct Cluster {
    authority: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A server that answers with its own name, or never where the path says so.
struct Server {
    address: Address,
    requests: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it does not panic");
    }
}

impl Cluster {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        Self { authority: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    async fn server(&self) -> Server {
        self.server_at("127.0.0.1:0").await
    }

    async fn server_at(&self, address: &str) -> Server {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["kubernetes".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they go together");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind(address).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (requests, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), requests.clone(), stop.clone()));
        Server { address: Address { host: "127.0.0.1".to_owned(), port }, requests, stop, task }
    }

    fn pool(&self, servers: &Arc<Servers>) -> Pool {
        Pool::new(PoolConfig {
            servers: servers.clone(),
            authority: self.authority.clone(),
            certificate: Arc::default(),
            token: None,
            entropy: Arc::new(SeededEntropy::new(1)),
        })
        .expect("a pool")
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, requests: Arc<AtomicUsize>, stop: CancellationToken) {
    let port = listener.local_addr().expect("bound").port();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("accepted").0,
            // With all its connections: as a process that is killed.
            () = stop.cancelled() => return,
        };
        let (acceptor, requests) = (acceptor.clone(), requests.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |request: Request<Incoming>| {
                let count = requests.fetch_add(1, Ordering::SeqCst);
                async move {
                    let mut response = Response::new(Full::new(bytes::Bytes::from(port.to_string())));
                    match request.uri().path() {
                        "/never" => std::future::pending().await,
                        "/busy" if count == 0 => {
                            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
                        }
                        "/broken" => *response.status_mut() = StatusCode::GATEWAY_TIMEOUT,
                        _ => {}
                    }
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn ask(pool: &Pool, path: &str) -> Result<(StatusCode, u16), BoxError> {
    let uri = format!("https://kubernetes{path}");
    let request = Request::post(uri).body(Body::from(b"body".to_vec())).expect("a request");
    let response = pool.clone().oneshot(request).await?;
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&text).parse()?))
}

#[tokio::test]
async fn the_next_server_is_taken_when_one_dies_and_whichever_comes_back_when_all_did() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.server().await, cluster.server().await);
    let servers = Arc::new(Servers::fixed(vec![one.address.clone(), two.address.clone()]));
    let pool = cluster.pool(&servers);
    let (_, first) = ask(&pool, "/").await.expect("an answer");
    assert_eq!(ask(&pool, "/").await.expect("an answer").1, first, "the connection is kept");
    let (gone, left) = if one.address.port == first { (one, two) } else { (two, one) };
    gone.stop().await;
    let started = Instant::now();
    let second = loop {
        // What was under way may fail; what comes then does not.
        if let Ok((_, port)) = ask(&pool, "/").await {
            break port;
        }
    };
    assert_eq!(second, left.address.port);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let address = format!("127.0.0.1:{}", left.address.port);
    left.stop().await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { ask(&pool, "/").await.map_err(|error| error.to_string()) }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let back = cluster.server_at(&address).await;
    let answer = waiting.await.expect("no panic").or_else(|error| {
        // Sent just before the connection was seen to be broken: reported, and not repeated.
        if error.contains("no server") { Err(error) } else { Ok((StatusCode::OK, back.address.port)) }
    });
    assert_eq!(answer.expect("it waited").1, back.address.port);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_within_about_two_seconds_where_there_is_another() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.server().await, cluster.server().await);
    // Between the client and the first is a way that can stop carrying anything, and break nothing.
    let relay = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let through = Address { host: "127.0.0.1".to_owned(), port: relay.local_addr().expect("bound").port() };
    let frozen = CancellationToken::new();
    let (target, freeze) = (one.address.port, frozen.clone());
    tokio::spawn(async move {
        loop {
            let (mut near, _) = relay.accept().await.expect("accepted");
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.expect("connected");
            let freeze = freeze.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = freeze.cancelled() => std::future::pending().await,
                }
            });
        }
    });
    let servers = Arc::new(Servers::fixed(vec![through]));
    let pool = cluster.pool(&servers);
    assert_eq!(ask(&pool, "/").await.expect("an answer").1, one.address.port);
    // A second server becomes known: the connection is made anew, so that its silence is noticed.
    servers.told(vec![two.address.clone()]);
    let stuck = loop {
        let mut stuck = Box::pin(ask(&pool, "/never"));
        // What went out on the connection that is given up is cut off.
        if tokio::time::timeout(Duration::from_millis(500), &mut stuck).await.is_err() {
            break stuck;
        }
    };
    assert_eq!(two.requests.load(Ordering::SeqCst), 0, "it still goes to the first");
    frozen.cancel();
    let started = Instant::now();
    assert!(stuck.await.is_err(), "what was under way is reported");
    let silence = started.elapsed();
    assert!(silence < Duration::from_millis(2500), "{silence:?}");
    assert_eq!(ask(&pool, "/").await.expect("an answer").1, two.address.port);
}

#[tokio::test]
async fn a_server_of_another_cluster_is_not_spoken_to() {
    let (cluster, stranger) = (Cluster::new(), Cluster::new());
    let (own, other) = (cluster.server().await, stranger.server().await);
    let servers = Arc::new(Servers::fixed(vec![other.address.clone(), own.address.clone()]));
    for _ in 0..4 {
        assert_eq!(ask(&cluster.pool(&servers), "/").await.expect("an answer").1, own.address.port);
    }
    assert_eq!(other.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_what_a_server_asks_for_again_is_sent_twice() {
    let cluster = Cluster::new();
    let server = cluster.server().await;
    let pool = cluster.pool(&Arc::new(Servers::fixed(vec![server.address.clone()])));
    assert_eq!(ask(&pool, "/busy").await.expect("an answer").0, StatusCode::OK);
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
    assert_eq!(ask(&pool, "/broken").await.expect("an answer").0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(server.requests.load(Ordering::SeqCst), 3, "whether it was done is not known");
}

#[tokio::test]
async fn more_streams_than_one_connection_carries_take_another() {
    let cluster = Cluster::new();
    let server = cluster.server().await;
    let pool = cluster.pool(&Arc::new(Servers::fixed(vec![server.address.clone()])));
    let stuck: Vec<_> = (0..905)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { ask(&pool, "/never").await.is_ok() })
        })
        .collect();
    while server.requests.load(Ordering::SeqCst) < 190 {
        tokio::task::yield_now().await;
    }
    let answer = tokio::time::timeout(Duration::from_secs(10), ask(&pool, "/")).await.expect("there is room");
    assert_eq!(answer.expect("an answer").1, server.address.port);
    assert_eq!(pool.0.lanes.lock().len(), 2);
    stuck.iter().for_each(JoinHandle::abort);
    for task in stuck {
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
    }
    ask(&pool, "/").await.expect("an answer");
    assert_eq!(pool.0.lanes.lock().len(), 1, "it is let go when it is not needed");
}
