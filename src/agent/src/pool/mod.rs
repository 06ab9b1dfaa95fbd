//! The way to the cluster through whichever of its servers answers.
//!
//! A [`Pool`] is a tower service that `kube::Client` takes. It keeps one HTTP/2 connection (more only when one carries as many
//! streams as the server lets it) to one of the servers that it knows, verified against the cluster's authority under the
//! name `kubernetes`, so that any address will do. When the connection breaks, or goes silent for two seconds where there
//! is another server, the next is tried at once, all in turn, with jitter and a bounded pause after each round, for ever.
//!
//! What had not left this process is sent again on the new connection. What had is reported as failed: nobody knows
//! whether it was done, so a write is never repeated blindly, and whoever reads asks again. As Kubernetes' own clients, it
//! repeats what a server refused with the words to come again (`Retry-After`).

mod dial;
mod lane;
mod servers;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use component_base::{JoinToken, SharedEntropy};
use http::{HeaderValue, Request, Response, StatusCode, header};
use kube::{
    Client,
    client::{Body, middleware::BaseUriLayer},
};
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::CertificateDer};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder};

pub use dial::{ClientCertificate, DialError, IdentityError, secure};
use lane::{Answer, Lane};
pub use servers::{Address, NoAddress, Servers};

/// Who the server takes the writer of fields to be: what an agent writes is the kubelet's.
const USER_AGENT: &str = "kubelet/coracle";
/// How long a request waits for a connection before it fails, so that its caller can say why.
const WAIT: Duration = Duration::from_secs(30);
/// How often a request is repeated because the server said to come again, and the longest pause it may ask for.
const RETRIES_MAX: u32 = 10;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// The most connections; each carries some hundred streams.
const LANES_MAX: usize = 64;

/// No server could be reached for a while.
#[derive(Debug, thiserror::Error)]
#[error("no server of the cluster answers: {reasons}")]
pub struct Unreachable {
    reasons: String,
}

/// What a pool is made from.
pub struct PoolConfig {
    /// Where the servers are.
    pub servers: Arc<Servers>,
    /// The cluster's authority, DER.
    pub authority: CertificateDer<'static>,
    /// How the client shows who it is.
    pub certificate: Arc<ClientCertificate>,
    /// Or with which token.
    pub token: Option<JoinToken>,
    /// For jitter.
    pub entropy: SharedEntropy,
}

/// The way to the cluster. Its connections end with its last clone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    plan: Arc<lane::Plan>,
    bearer: Option<HeaderValue>,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

impl Pool {
    /// A pool, which begins to connect at once.
    ///
    /// # Errors
    /// When the authority is none.
    pub fn new(config: PoolConfig) -> Result<Self, IdentityError> {
        let tls: Arc<ClientConfig> = dial::tls(config.authority, config.certificate)?;
        let bearer = config.token.map(|token| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).expect("tokens are of letters, digits and points");
            value.set_sensitive(true);
            value
        });
        let plan = Arc::new(lane::Plan::new(config.servers, tls, config.entropy));
        let lanes = Mutex::new(vec![Lane::open(plan.clone())]);
        Ok(Self(Arc::new(Shared { plan, bearer, lanes })))
    }

    /// A client that goes this way.
    pub fn client(&self) -> Client {
        let base = http::Uri::from_static("https://kubernetes");
        let service = ServiceBuilder::new().layer(BaseUriLayer::new(base)).service(self.clone());
        Client::new(service, "default")
    }

    /// Makes new connections, for example because there is a new certificate; what is under way goes on on the old ones.
    pub fn renew(&self) {
        self.0.plan.renew();
    }

    /// A connection with room, or a new one.
    fn lane(&self) -> Arc<Lane> {
        let mut lanes = self.0.lanes.lock();
        // What was needed once is let go when the first could well do without it.
        while lanes.len() > 1 && lanes[0].is_half_empty() && lanes[lanes.len() - 1].is_idle() {
            lanes.pop();
        }
        let free = lanes.iter().find(|lane| lane.has_room()).cloned();
        free.unwrap_or_else(|| {
            if lanes.len() < LANES_MAX {
                lanes.push(Lane::open(self.0.plan.clone()));
            }
            // The newest has most room; the first was made with the pool.
            lanes[lanes.len() - 1].clone()
        })
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let headers = request.headers_mut();
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        if let Some(bearer) = &self.0.bearer {
            headers.insert(header::AUTHORIZATION, bearer.clone());
        }
        let mut repeats = 0;
        loop {
            let again = if repeats < RETRIES_MAX { copy(&request) } else { None };
            let lane = self.lane();
            let response = lane.send(request, Instant::now() + WAIT).await?;
            let (Some(pause), Some(copy)) = (retry_after(&response), again) else { return Ok(response) };
            repeats += 1;
            request = copy;
            drop(response);
            tokio::time::sleep(pause).await;
        }
    }
}

/// When the server said to come again, if it did.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let status = response.status();
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The same request once more, where its body can be had twice.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut again = Request::new(request.body().try_clone()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

impl Service<Request<Body>> for Pool {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

#[cfg(test)]
mod tests;
