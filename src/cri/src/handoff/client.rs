//! The proxy's side of a hand-over.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::net::SocketType;
use tokio::{io::unix::AsyncFd, sync::oneshot};

use super::message;
use crate::socket;

/// Why a connection was not handed over. It is still the caller's, untouched.
#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    /// No runtime listens.
    #[error("connect to hand-over socket {path}: {source}")]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The message could not be sent.
    #[error("send a connection: {0}")]
    Send(io::Error),
    /// The runtime does not serve that address.
    #[error("connection was refused: {0}")]
    Refused(String),
    /// The runtime ended before it answered.
    #[error("the runtime ended before it answered")]
    Closed,
}

/// Hands connections to the runtime. Cloning is cheap, and all clones share one socket.
#[derive(Debug, Clone)]
pub struct HandoffClient {
    path: Arc<Path>,
    line: Arc<Mutex<Option<Arc<Line>>>>,
}

/// One connected socket and who waits on it.
#[derive(Debug)]
struct Line {
    socket: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    closed: bool,
    answers: HashMap<u64, oneshot::Sender<Result<(), String>>>,
}

impl HandoffClient {
    /// A client of the runtime that listens (or will listen) at `path`. It connects when it is first used, and again
    /// after the runtime was restarted.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().into(), line: Arc::default() }
    }

    /// Gives `connection` to the runtime, to be served as one to `pod`. After `Ok` the runtime has its own descriptor
    /// of it, and the caller closes hers.
    ///
    /// # Errors
    /// When the runtime refuses, is not there, or ends before it answered: the connection is untouched.
    pub async fn hand_over(&self, pod: SocketAddr, connection: BorrowedFd<'_>) -> Result<(), HandoffError> {
        match self.line()?.offer(pod, connection).await {
            // The line was broken before anything was sent on it: by now there may be a new runtime.
            Err(HandoffError::Send(_)) => self.line()?.offer(pod, connection).await,
            outcome => outcome,
        }
    }

    fn line(&self) -> Result<Arc<Line>, HandoffError> {
        let mut slot = self.line.lock();
        if let Some(line) = slot.as_ref().filter(|line| !line.waiting.lock().closed) {
            return Ok(line.clone());
        }
        let failed = |source| HandoffError::Connect { path: self.path.to_path_buf(), source };
        let socket = socket::connect(&self.path, SocketType::SEQPACKET).map_err(failed)?;
        let line = Arc::new(Line { socket: message::watch(socket).map_err(failed)?, waiting: Mutex::default() });
        tokio::spawn(deliver_answers(line.clone()));
        Ok(slot.insert(line).clone())
    }
}

impl Line {
    async fn offer(&self, pod: SocketAddr, connection: BorrowedFd<'_>) -> Result<(), HandoffError> {
        let (answer, answered) = oneshot::channel();
        let Some(id) = self.expect_answer(answer) else { return Err(HandoffError::Closed) };
        let _forget = Forget { line: self, id };
        if let Err(error) = message::send(&self.socket, &message::encode_offer(id, pod), Some(connection)).await {
            self.close();
            return Err(HandoffError::Send(error));
        }
        answered.await.map_err(|_| HandoffError::Closed)?.map_err(HandoffError::Refused)
    }

    fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.answers.clear();
    }

    fn expect_answer(&self, answer: oneshot::Sender<Result<(), String>>) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return None;
        }
        waiting.next_id += 1;
        let id = waiting.next_id;
        waiting.answers.insert(id, answer);
        Some(id)
    }
}

/// Forgets who waited, also when the waiting future is dropped.
struct Forget<'a> {
    line: &'a Line,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.line.waiting.lock().answers.remove(&self.id);
    }
}

async fn deliver_answers(line: Arc<Line>) {
    let mut buffer = [0; message::MESSAGE_BYTES_MAX];
    loop {
        match message::receive(&line.socket, &mut buffer).await {
            Ok((length, _)) if length > 0 => {
                if let Some((id, answer)) = message::decode_answer(&buffer[..length])
                    && let Some(waiting) = line.waiting.lock().answers.remove(&id)
                {
                    // Who waited may have gone; the answer is then nobody's.
                    let _ = waiting.send(answer);
                }
            }
            _ended => break,
        }
    }
    line.close();
}
