//! One kept connection, to one server after another.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use component_base::SharedEntropy;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http2};
use kube::client::Body;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::BoxError;

use super::{
    Address, Servers, Unreachable,
    dial::{self, Connected},
};

/// Streams on one connection; the server allows a thousand, and a little room is left for what ends slowly.
const STREAMS_MAX: usize = 900;
/// Where there are several servers, not all clients of one that died turn to the next at the same moment.
const JITTER: Duration = Duration::from_millis(150);
/// The pause after all servers were tried in vain: the first, and the longest that it grows to.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the connections of a pool have in common.
pub struct Plan {
    servers: Arc<Servers>,
    tls: Arc<ClientConfig>,
    entropy: SharedEntropy,
    /// The server that answered last: connections go to the same one.
    preferred: Mutex<Option<Address>>,
    renewals: watch::Sender<u64>,
}

impl Plan {
    pub(super) fn new(servers: Arc<Servers>, tls: Arc<ClientConfig>, entropy: SharedEntropy) -> Self {
        Self { servers, tls, entropy, preferred: Mutex::default(), renewals: watch::Sender::new(0) }
    }

    pub(super) fn renew(&self) {
        self.renewals.send_modify(|count| *count += 1);
    }

    /// Connects to any server, the lost one last; never gives up. The answer says whether there was more than one.
    async fn connect(&self, lost: Option<&Address>, state: &watch::Sender<State>) -> (Connected, bool) {
        let mut list = self.servers.watch();
        let mut pause = FIRST_PAUSE;
        let mut troubled = false;
        if lost.is_some() && list.borrow().len() > 1 {
            tokio::time::sleep(self.part_of(JITTER)).await;
        }
        loop {
            let all = list.borrow_and_update().clone();
            let preferred = self.preferred.lock().clone();
            let mut reasons = Vec::new();
            for address in order(&all, preferred.as_ref(), lost, || self.draw()) {
                match dial::dial(&address, &self.tls, all.len() > 1).await {
                    Ok(connected) => {
                        if troubled {
                            tracing::warn!(%address, "the cluster is reached again");
                        }
                        *self.preferred.lock() = Some(address);
                        return (connected, all.len() > 1);
                    }
                    Err(error) => reasons.push(error.to_string()),
                }
            }
            let reasons: Arc<str> = reasons.join("; ").into();
            if !troubled {
                tracing::warn!(%reasons, "no server of the cluster can be reached; it is tried until one can");
            }
            troubled = true;
            state.send_if_modified(|state| {
                let stale = !matches!(state, State::Live { requests, .. } if !requests.is_closed());
                if stale {
                    *state = State::Dialing(reasons);
                }
                stale
            });
            tokio::select! {
                () = tokio::time::sleep(pause / 2 + self.part_of(pause / 2)) => {}
                Ok(()) = list.changed() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn draw(&self) -> u32 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn part_of(&self, whole: Duration) -> Duration {
        whole.mul_f64(f64::from(self.draw()) / f64::from(u32::MAX))
    }
}

/// In which order servers are tried: the preferred one first, the lost one last, the others as chance has it, so that
/// clients spread over them.
fn order(
    all: &[Address],
    preferred: Option<&Address>,
    lost: Option<&Address>,
    mut draw: impl FnMut() -> u32,
) -> Vec<Address> {
    let mut ranked: Vec<(u8, u32, &Address)> = all
        .iter()
        .map(|address| {
            let rank = if Some(address) == lost { 2 } else { u8::from(Some(address) != preferred) };
            (rank, draw(), address)
        })
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, _, address)| address.clone()).collect()
}

enum State {
    /// There is no connection, for these reasons.
    Dialing(Arc<str>),
    /// This one, the `number`th.
    Live { number: u64, requests: http2::SendRequest<Body> },
}

/// A kept connection. It ends with its last user.
pub struct Lane {
    state: Arc<watch::Sender<State>>,
    in_flight: AtomicUsize,
    _end_with_this: DropGuard,
}

impl Lane {
    pub(super) fn open(plan: Arc<Plan>) -> Arc<Self> {
        let state = Arc::new(watch::Sender::new(State::Dialing("no answer yet".into())));
        let stop = CancellationToken::new();
        tokio::spawn(keep(plan, state.clone(), stop.clone()));
        Arc::new(Self { state, in_flight: AtomicUsize::new(0), _end_with_this: stop.drop_guard() })
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < STREAMS_MAX
    }

    pub(super) fn is_half_empty(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < STREAMS_MAX / 2
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Sends a request as soon as there is a connection, and again if it had not left when that broke.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Answer>, BoxError> {
        let flight = Flight::of(self);
        let mut used = 0;
        loop {
            let (number, mut requests) = self.live(used, deadline).await?;
            match requests.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Answer { body, _flight: flight })),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => (used, request) = (number, unsent),
                    None => return Err(failed.into_error().into()),
                },
            }
        }
    }

    /// A connection that is younger than the `after`th.
    async fn live(&self, after: u64, deadline: Instant) -> Result<(u64, http2::SendRequest<Body>), Unreachable> {
        let mut state = self.state.subscribe();
        let younger = |state: &State| matches!(state, State::Live { number, .. } if *number > after);
        // An error is the deadline; the sender lives in this lane.
        let _ = tokio::time::timeout_at(deadline, state.wait_for(younger)).await;
        match &*self.state.borrow() {
            State::Live { number, requests } if *number > after => Ok((*number, requests.clone())),
            State::Live { .. } => Err(Unreachable { reasons: "the connection broke".to_owned() }),
            State::Dialing(reasons) => Err(Unreachable { reasons: reasons.to_string() }),
        }
    }
}

/// Keeps a connection, and says in `state` which.
async fn keep(plan: Arc<Plan>, state: Arc<watch::Sender<State>>, stop: CancellationToken) {
    let mut renewals = plan.renewals.subscribe();
    let mut list = plan.servers.watch();
    let mut lost = None;
    let mut retired: Option<CancellationToken> = None;
    for number in 1.. {
        let (mut connected, several) = tokio::select! {
            connected = plan.connect(lost.as_ref(), &state) => connected,
            () = stop.cancelled() => return retired.iter().for_each(CancellationToken::cancel),
        };
        tracing::debug!(address = %connected.address, "connected");
        state.send_replace(State::Live { number, requests: connected.requests.clone() });
        retired.take().iter().for_each(CancellationToken::cancel);
        lost = None;
        tokio::select! {
            ended = &mut connected.ended => {
                let reason = match ended {
                    Ok(Some(error)) => error.to_string(),
                    _ => "it said good-bye".to_owned(),
                };
                tracing::info!(address = %connected.address, reason, "the connection to a server ended");
                state.send_replace(State::Dialing(reason.into()));
                lost = Some(connected.address);
            }
            // What is under way ends by itself, on the old connection.
            Ok(()) = renewals.changed() => {}
            // A connection that was made when there was no other server would not notice that it is half open.
            Ok(_) = list.wait_for(|all| !several && all.len() > 1) => retired = Some(connected.abort),
            () = stop.cancelled() => return connected.abort.cancel(),
        }
    }
}

/// Counts one request from before it is sent until its answer is read.
struct Flight(Arc<Lane>);

impl Flight {
    fn of(lane: &Arc<Lane>) -> Self {
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(lane.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; holds its connection.
pub struct Answer {
    body: Incoming,
    _flight: Flight,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_server_is_tried_first_and_the_lost_one_last() {
        let all: Vec<Address> = (1..=4).map(|port| Address { host: "a".into(), port }).collect();
        let ports = |preferred: Option<usize>, lost: Option<usize>| -> Vec<u16> {
            let mut number = 9;
            let draw = || {
                number -= 1;
                number
            };
            let at = |index: Option<usize>| index.map(|index| &all[index]);
            order(&all, at(preferred), at(lost), draw).iter().map(|address| address.port).collect()
        };
        assert_eq!(ports(None, None), [4, 3, 2, 1], "as they are drawn");
        assert_eq!(ports(Some(0), Some(3)), [1, 3, 2, 4]);
        assert_eq!(ports(Some(3), Some(3)), [3, 2, 1, 4], "what was preferred may be lost");
    }
}
