//! An HTTP component: a listener, and an instance for each request.
//!
//! No instance lives while nothing is asked. A request gets a fresh one (which costs some tens of microseconds), so
//! that what one request leaves behind no other sees; a pod may ask to have an instance serve several, one after the
//! other, which doubles the rate ([`crate::ContainerSpec::requests_per_instance`]). How many run at once is bounded by
//! the container, by its memory limit and by the node; what is beyond waits.
//!
//! A guest that traps answers its own request with 500 and ends the container, as a crash would end a process: the
//! kubelet starts it again. Other requests under way end with it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::{
            Proxy, ProxyPre,
            http::types::{ErrorCode, Scheme},
        },
        body::HyperOutgoingBody,
    },
};

use crate::{
    command::{EXIT_KILLED, Ended},
    guest::{Environment, Guest},
    limits::NoRoom,
    logs::Stream,
    meter::Metered,
};

const BACKLOG: u32 = 1024;
/// Requests of one container that are answered at once.
const CONCURRENCY_MAX: usize = 256;
/// Requests of one container that wait for their turn; more are answered 503.
const WAITING_MAX: usize = 8192;
/// How long a connection may stay open after its container ended, to take its last answer.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// How long an instance that may serve again waits for that.
const IDLE_TIME_MAX: Duration = Duration::from_secs(1);
/// When the process is out of descriptors, for example. Not on anybody's way: nothing can be accepted then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

type Answer = Response<UnsyncBoxBody<Bytes, wasmtime_wasi_http::Error>>;

/// One container's server.
pub(crate) struct HttpServer {
    engine: Engine,
    program: ProxyPre<Guest>,
    environment: Arc<Environment>,
    requests_per_instance: u32,
    idle: parking_lot::Mutex<Idle>,
    /// The node's slots for instances.
    slots: Arc<Semaphore>,
    permits: Semaphore,
    waiting: AtomicUsize,
    calls: TaskTracker,
    /// Stop accepting; what is under way may end.
    stop: CancellationToken,
    /// End what is under way.
    kill: CancellationToken,
    failure: parking_lot::Mutex<Option<Ended>>,
}

/// One instance, which holds one of the node's slots.
struct Live {
    store: Store<Guest>,
    proxy: Proxy,
    served: u32,
    idle_since: Instant,
    _slot: OwnedSemaphorePermit,
}

/// Instances between two requests, the longest idle first.
#[derive(Default)]
struct Idle {
    instances: Vec<Live>,
    /// Whether a task ends those that nobody asks.
    swept: bool,
}

impl HttpServer {
    pub fn new(
        engine: Engine,
        program: ProxyPre<Guest>,
        environment: Arc<Environment>,
        requests_per_instance: u32,
        slots: Arc<Semaphore>,
        stop: CancellationToken,
        kill: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            program,
            environment,
            requests_per_instance,
            idle: parking_lot::Mutex::default(),
            slots,
            permits: Semaphore::new(CONCURRENCY_MAX),
            waiting: AtomicUsize::new(0),
            calls: TaskTracker::new(),
            stop,
            kill,
            failure: parking_lot::Mutex::new(None),
        })
    }

    /// Opens the listener. To be called on the runtime that will serve it.
    pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted container takes over from connections of the last one that are still closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    }

    /// Serves until told to stop, or until the guest fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Ended {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.kill.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.spawn_connection(stream),
                    Err(error) => {
                        tracing::warn!(%error, "a container's listener cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Before anybody learns of the end: the address is free for the next container.
        drop(listener);
        if let Some(failure) = self.failure.lock().take() {
            self.kill.cancel();
            return failure;
        }
        self.calls.close();
        tokio::select! {
            biased;
            () = self.kill.cancelled() => Ended::told(EXIT_KILLED, "killed at the end of its grace period"),
            () = self.calls.wait() => Ended::with_code(0),
        }
    }

    /// Serves one connection beside the others.
    pub fn spawn_connection(self: &Arc<Self>, stream: TcpStream) {
        let server = self.clone();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = {
                let server = server.clone();
                service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                })
            };
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).half_close(true);
            builder.http2().timer(TokioTimer::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return log_end(ended),
                () = server.stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            // What is under way is waited for as long as the grace lasts, and a moment longer for the last bytes.
            let linger = async {
                server.kill.cancelled().await;
                tokio::time::sleep(LINGER_MAX).await;
            };
            tokio::select! {
                ended = connection.as_mut() => log_end(ended),
                () = linger => {}
            }
        });
    }

    async fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Answer {
        let (_waiting, before) = Waiting::join(&self.waiting);
        if before >= WAITING_MAX {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting\n");
        }
        if request.uri().authority().is_none() && !request.headers().contains_key(header::HOST) {
            let host = HeaderValue::from_str(&self.environment.pod_ip.to_string());
            request.headers_mut().insert(header::HOST, host.expect("an address is a header value"));
        }
        let (sender, receiver) = oneshot::channel();
        let call = Metered::new(self.environment.meter.clone(), self.clone().call(request, sender));
        let kill = self.kill.clone();
        self.calls.spawn(async move {
            tokio::select! {
                biased;
                () = kill.cancelled() => {}
                () = call => {}
            }
        });
        match receiver.await {
            Ok(Ok(response)) => response.map(|body| body.boxed_unsync()),
            Ok(Err(error)) => {
                self.note(&format!("the guest answered with an error: {error:?}"));
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the guest answered with an error\n")
            }
            Err(_gone) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the guest ended without an answer\n"),
        }
    }

    /// One request in an instance that serves no other meanwhile. The answer goes out as soon as the guest sets it; the
    /// guest may go on writing its body, and working after that.
    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        sender: oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>,
    ) {
        let Ok(_permit) = self.permits.acquire().await else { return };
        let outcome = async {
            let idle = self.idle.lock().instances.pop();
            let mut live = match idle {
                Some(live) => live,
                None => self.instance().await?,
            };
            let Live { store, proxy, .. } = &mut live;
            let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
            let out = store.data_mut().http().new_response_outparam(sender)?;
            proxy.wasi_http_incoming_handler().call_handle(store, request, out).await?;
            wasmtime::Result::Ok(live)
        }
        .await;
        match outcome {
            Ok(live) => self.keep(live),
            Err(error) => self.fail(Ended::with_error(&error, &self.environment)),
        }
    }

    /// A fresh instance; waits while the node has no slot, and while the container's memory is taken by others.
    async fn instance(&self) -> wasmtime::Result<Live> {
        let slot = self.slots.clone().acquire_owned().await?;
        loop {
            let released = self.environment.budget.released();
            tokio::pin!(released);
            let mut store = self.environment.component_store(&self.engine)?;
            match self.program.instantiate_async(&mut store).await {
                Ok(proxy) => return Ok(Live { store, proxy, served: 0, idle_since: Instant::now(), _slot: slot }),
                Err(error) if error.is::<NoRoom>() => {}
                Err(error) if error.is::<PoolConcurrencyLimitError>() => {}
                Err(error) => return Err(error),
            }
            drop(store);
            released.await;
        }
    }

    /// Keeps an instance that has served for the next request, if it may serve another.
    fn keep(self: &Arc<Self>, mut live: Live) {
        live.served += 1;
        if live.served >= self.requests_per_instance || self.stop.is_cancelled() {
            return;
        }
        live.idle_since = Instant::now();
        let mut idle = self.idle.lock();
        idle.instances.push(live);
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// Ends instances that were idle for too long, until there is none.
    async fn sweep(self: Arc<Self>) {
        loop {
            let next = {
                let mut idle = self.idle.lock();
                let now = Instant::now();
                let stopped = self.stop.is_cancelled();
                idle.instances.retain(|live| !stopped && now < live.idle_since + IDLE_TIME_MAX);
                let next = idle.instances.first().map(|live| live.idle_since + IDLE_TIME_MAX);
                idle.swept = next.is_some();
                next
            };
            let Some(next) = next else { return };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// The first failure counts; what comes after it is its consequence.
    fn fail(&self, ended: Ended) {
        self.failure.lock().get_or_insert(ended);
        self.stop.cancel();
    }

    fn note(&self, text: &str) {
        self.environment.log.write(Stream::Stderr, format!("coracle: {text}\n").as_bytes());
    }
}

/// A request that has no answer yet. Its client may leave at any time, and the future is dropped with this in it.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// One more; and how many there were before it.
    fn join(count: &'a AtomicUsize) -> (Self, usize) {
        let before = count.fetch_add(1, Ordering::Relaxed);
        (Self(count), before)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
