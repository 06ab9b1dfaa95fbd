//! A connection that this server dialled: many requests under way at once.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, BufWriter, ReadBuf, ReadHalf, WriteHalf, split},
    sync::{Notify, mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Answer, PeerError, PeerStream,
    frame::{self, Frame, LONGEST},
    hello::Local,
    message::kind,
};
use crate::Server;

/// How long dialling may take.
const DIAL: Duration = Duration::from_secs(1);
/// How long the other side may owe an answer without a sign of life.
const SILENCE: Duration = Duration::from_secs(2);
/// When to ask for a sign of life.
const ASK: Duration = Duration::from_millis(700);
/// How often a connection that nobody uses is tried.
const IDLE: Duration = Duration::from_secs(15);
/// How many frames wait for the connection to take them.
const QUEUED: usize = 16;
/// A piece that, once it is taken, shows that bytes go through.
const PIECE: usize = 64 << 10;

/// A connection; clones share it. It ends when the last is dropped.
#[derive(Clone)]
pub(crate) struct Link {
    queue: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
    _running: Arc<DropGuard>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CallError {
    /// It was not asked.
    #[error("{0}")]
    NotSent(String),
    /// It may have been done.
    #[error("{0}")]
    Broken(String),
}

struct Shared {
    start: Instant,
    /// When bytes were last seen to go through, in milliseconds since the start.
    alive: AtomicU64,
    number: AtomicU64,
    state: Mutex<State>,
    /// Something is owed now.
    owed: Notify,
}

struct State {
    waiting: HashMap<u64, Waiter>,
    /// How many answers the other side owes.
    owed: usize,
    /// Why it broke.
    broken: Option<String>,
    /// Whether the other side has said that it did not take what it has not answered.
    untaken: bool,
}

enum Waiter {
    Once(oneshot::Sender<Frame>),
    /// Many answers under one number; how many are owed, and where they go.
    Many(usize, mpsc::UnboundedSender<Frame>),
}

impl Shared {
    fn touch(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.alive.fetch_max(passed, Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.alive.load(Ordering::Relaxed)))
    }

    /// Counts an answer that will be owed. From when nothing was owed, the other side has its full time again.
    fn owe(&self, state: &mut State) {
        if state.owed == 0 {
            self.touch();
            self.owed.notify_one();
        }
        state.owed += 1;
    }

    fn dispatch(&self, frame: Frame) {
        let mut state = self.state.lock();
        match state.waiting.get_mut(&frame.number) {
            Some(Waiter::Many(owed, to)) => {
                let paid = (*owed).min(1);
                *owed -= paid;
                // Whoever waited may have gone.
                let _ = to.send(frame);
                state.owed -= paid;
            }
            Some(Waiter::Once(_)) => {
                if let Some(Waiter::Once(to)) = state.waiting.remove(&frame.number) {
                    let _ = to.send(frame);
                    state.owed -= 1;
                }
            }
            None => {}
        }
    }

    /// Nobody waits for `number` any more.
    fn forget(&self, number: u64) {
        let mut state = self.state.lock();
        let owed = match state.waiting.remove(&number) {
            Some(Waiter::Once(_)) => 1,
            Some(Waiter::Many(owed, _)) => owed,
            None => 0,
        };
        state.owed -= owed;
    }

    fn broken(&self) -> Option<String> {
        self.state.lock().broken.clone()
    }

    /// Nobody waits in vain: everybody's way of getting an answer is dropped.
    fn end(&self, why: String) {
        let mut state = self.state.lock();
        state.broken.get_or_insert(why);
        state.waiting.clear();
        state.owed = 0;
    }
}

impl Link {
    /// Dials server `id`, and makes sure that both sides want to speak with each other.
    pub(super) async fn dial(local: &Arc<Local>, id: u64, server: &Server) -> Result<Self, PeerError> {
        let greeted = timeout(DIAL, async {
            let mut stream = local.connect.connect(id, server).await?;
            local.greet(id, &mut stream).await?;
            Ok::<_, PeerError>(stream)
        });
        let stream = greeted.await.map_err(|_| PeerError::Silent(DIAL))??;
        Ok(Self::over(stream, &local.closing))
    }

    fn over(stream: Box<dyn PeerStream>, closing: &CancellationToken) -> Self {
        let (queue, queued) = mpsc::channel(QUEUED);
        let state = State { waiting: HashMap::new(), owed: 0, broken: None, untaken: false };
        let shared = Arc::new(Shared {
            start: Instant::now(),
            alive: AtomicU64::new(0),
            number: AtomicU64::new(1),
            state: Mutex::new(state),
            owed: Notify::new(),
        });
        let stop = closing.child_token();
        tokio::spawn(run(stream, queued, queue.downgrade(), shared.clone(), stop.clone()));
        Self { queue, shared, _running: Arc::new(stop.drop_guard()) }
    }

    /// Whether it can still be used.
    pub(super) fn is_whole(&self) -> bool {
        self.shared.broken().is_none()
    }

    /// Asks once.
    pub(crate) async fn call(&self, kind: u8, body: impl Into<Bytes>) -> Result<Answer, CallError> {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed);
        let answer = self.expect(number)?;
        let forget = Forget { shared: &self.shared, number };
        self.send(Frame::new(kind, number, body)).await?;
        let answer = answer.await;
        drop(forget);
        let answer = answer.map_err(|_| self.lost())?;
        Answer::decode(answer.body).map_err(|error| CallError::Broken(error.to_string()))
    }

    /// Registers for the one answer to `number`.
    fn expect(&self, number: u64) -> Result<oneshot::Receiver<Frame>, CallError> {
        let (to, answer) = oneshot::channel();
        let mut state = self.shared.state.lock();
        if let Some(why) = &state.broken {
            return Err(CallError::NotSent(why.clone()));
        }
        state.waiting.insert(number, Waiter::Once(to));
        self.shared.owe(&mut state);
        Ok(answer)
    }

    /// Begins a conversation of several frames with one answer at its end.
    pub(super) fn conversation(&self) -> Result<(Conversation, oneshot::Receiver<Frame>), CallError> {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed);
        let answer = self.expect(number)?;
        Ok((Conversation { link: self.clone(), number, many: false }, answer))
    }

    /// Begins a conversation in which every frame has its answer.
    pub(super) fn stream(&self) -> Result<(Conversation, mpsc::UnboundedReceiver<Frame>), CallError> {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed);
        let (to, answers) = mpsc::unbounded_channel();
        let mut state = self.shared.state.lock();
        if let Some(why) = &state.broken {
            return Err(CallError::NotSent(why.clone()));
        }
        state.waiting.insert(number, Waiter::Many(0, to));
        Ok((Conversation { link: self.clone(), number, many: true }, answers))
    }

    async fn send(&self, frame: Frame) -> Result<(), CallError> {
        self.queue.send(frame).await.map_err(|_| CallError::NotSent(self.why()))
    }

    /// What became of a request that was not answered.
    fn lost(&self) -> CallError {
        let why = self.why();
        if self.shared.state.lock().untaken { CallError::NotSent(why) } else { CallError::Broken(why) }
    }

    /// Why it broke.
    pub(super) fn why(&self) -> String {
        self.shared.broken().unwrap_or_else(|| "the connection ended".to_owned())
    }
}

/// Forgets a request whose asker has gone.
struct Forget<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.forget(self.number);
    }
}

/// Several frames under one number. Dropping it forgets whatever answers are still owed.
pub(super) struct Conversation {
    link: Link,
    number: u64,
    many: bool,
}

impl Conversation {
    /// Sends the next frame.
    pub(super) async fn say(&self, kind: u8, body: impl Into<Bytes>) -> Result<(), CallError> {
        if self.many && kind == kind::APPEND {
            let mut state = self.link.shared.state.lock();
            if let Some(Waiter::Many(owed, _)) = state.waiting.get_mut(&self.number) {
                *owed += 1;
                self.link.shared.owe(&mut state);
            }
        }
        self.link.send(Frame::new(kind, self.number, body)).await
    }

    /// Why it broke.
    pub(super) fn why(&self) -> String {
        self.link.why()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.link.shared.forget(self.number);
        if self.many {
            // A full queue means that the other side is told by nothing coming any more: it keeps a small stream waiting.
            let _ = self.link.queue.try_send(Frame::new(kind::APPEND_END, self.number, Bytes::new()));
        }
    }
}

/// Carries frames until something ends it.
async fn run(
    stream: Box<dyn PeerStream>,
    queued: mpsc::Receiver<Frame>,
    queue: mpsc::WeakSender<Frame>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let (from, to) = split(stream);
    let why = tokio::select! {
        why = receive(from, &shared) => why,
        why = transmit(to, queued, &shared) => why,
        why = watch_over(queue, &shared) => why,
        () = stop.cancelled() => "this side closed the connection".to_owned(),
    };
    shared.end(why);
}

async fn receive(from: ReadHalf<Box<dyn PeerStream>>, shared: &Shared) -> String {
    let mut from = Watched { from, shared };
    loop {
        match frame::read(&mut from, LONGEST).await {
            Ok(Some(frame)) if frame.kind == kind::GOODBYE => {
                shared.state.lock().untaken = true;
                return "the other side closes".to_owned();
            }
            Ok(Some(frame)) => shared.dispatch(frame),
            Ok(None) => return "the other side closed the connection".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

/// Notes every arrival of bytes.
struct Watched<'a, T> {
    from: T,
    shared: &'a Shared,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.from).poll_read(context, buffer))?;
        self.shared.touch();
        Poll::Ready(Ok(()))
    }
}

async fn transmit(to: WriteHalf<Box<dyn PeerStream>>, mut queued: mpsc::Receiver<Frame>, shared: &Shared) -> String {
    let mut to = BufWriter::with_capacity(PIECE, to);
    let mut send = async || {
        while let Some(mut frame) = queued.recv().await {
            loop {
                if frame.body.len() < PIECE {
                    frame::write(&mut to, &frame).await?;
                } else {
                    write_long(&mut to, &frame, shared).await?;
                }
                match queued.try_recv() {
                    Ok(next) => frame = next,
                    Err(_) => break,
                }
            }
            to.flush().await?;
        }
        Ok::<_, io::Error>(())
    };
    match send().await {
        Ok(()) => "nobody uses it any more".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// While a long frame goes out no answer can be expected, but that it goes out is a sign of life.
async fn write_long(
    to: &mut BufWriter<WriteHalf<Box<dyn PeerStream>>>,
    frame: &Frame,
    shared: &Shared,
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(frame.body.len() + 16);
    frame::write(&mut bytes, frame).await?;
    for piece in bytes.chunks(PIECE) {
        to.write_all(piece).await?;
        to.flush().await?;
        shared.touch();
    }
    Ok(())
}

/// Returns when the other side owes an answer and gives no sign of life.
async fn watch_over(queue: mpsc::WeakSender<Frame>, shared: &Shared) -> String {
    // A full queue is tried again at the next look.
    let ask = || queue.upgrade().is_some_and(|queue| queue.try_send(Frame::new(kind::PING, 0, Bytes::new())).is_ok());
    loop {
        if shared.state.lock().owed == 0 {
            if timeout(IDLE, shared.owed.notified()).await.is_err() {
                ask();
            }
            continue;
        }
        let silent = shared.silent_for();
        if silent >= SILENCE {
            return format!("the other side owes an answer and said nothing for {} ms", silent.as_millis());
        }
        if silent >= ASK {
            ask();
        }
        let next = if silent < ASK { ASK - silent } else { ASK.min(SILENCE - silent) };
        tokio::time::sleep(next.max(Duration::from_millis(10))).await;
    }
}
