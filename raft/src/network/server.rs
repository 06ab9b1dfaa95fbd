//! Answering another server.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, future::join};
use serde::{Serialize, de::DeserializeOwned};
use storage::Command;
use tokio::{
    io::{AsyncWriteExt, BufWriter, ReadHalf, WriteHalf, split},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, PeerError, PeerStream,
    frame::{self, Frame, LONGEST},
    message::{self, kind},
    receive::Receiving,
};
use crate::{RaftStore, types::Append};

/// How long a connection may be without a word: who keeps one says something four times in this time.
const QUIET: Duration = Duration::from_secs(60);
/// How long the last answers may take to go out.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How many answers wait for the connection to take them.
const QUEUED: usize = 64;
/// How many batches wait for Raft.
const BATCHES: usize = 8;
/// How many requests of one connection are worked on at once.
const AT_ONCE: usize = 256;

/// Serves one connection of server `from` until it ends; `Ok` when the other side ended it.
pub(crate) async fn serve(store: RaftStore, mut stream: Box<dyn PeerStream>, from: u64) -> Result<(), PeerError> {
    let local = &store.local;
    tokio::select! {
        welcomed = local.welcome(from, &mut stream) => welcomed?,
        () = local.closing.cancelled() => return Err(PeerError::Closing),
    }
    let (mut reader, writer) = split(stream);
    let (answers, queued) = mpsc::channel(QUEUED);
    let mut serving = Serving {
        store: &store,
        from,
        answers,
        appends: HashMap::new(),
        receiving: None,
        tasks: JoinSet::new(),
        room: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let mut sending = std::pin::pin!(send(writer, queued));
    let taken = tokio::select! {
        taken = serving.take_all(&mut reader) => taken,
        sent = &mut sending => return sent.map_err(PeerError::Io),
        () = local.closing.cancelled() => Err(PeerError::Closing),
    };
    // What was taken is still answered, and what was not is known not to be.
    let closes = matches!(taken, Err(PeerError::Closing));
    let last = async move {
        if closes {
            serving.appends.clear();
            while serving.tasks.join_next().await.is_some() {}
            serving.say(Frame::new(kind::GOODBYE, 0, Bytes::new())).await;
        }
    };
    match timeout(LAST_WORDS, join(last, sending)).await {
        Ok(((), Err(error))) => taken.and(Err(error.into())),
        _ => taken,
    }
}

async fn send(to: WriteHalf<Box<dyn PeerStream>>, mut queued: mpsc::Receiver<Frame>) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    while let Some(mut frame) = queued.recv().await {
        loop {
            frame::write(&mut to, &frame).await?;
            match queued.try_recv() {
                Ok(next) => frame = next,
                Err(_) => break,
            }
        }
        to.flush().await?;
    }
    Ok(())
}

/// One connection.
struct Serving<'a> {
    store: &'a RaftStore,
    from: u64,
    answers: mpsc::Sender<Frame>,
    /// Streams of batches, by their number.
    appends: HashMap<u64, mpsc::Sender<Append>>,
    receiving: Option<(Receiving, CancellationToken)>,
    /// What is worked on; ends with the connection.
    tasks: JoinSet<()>,
    room: Arc<Semaphore>,
}

impl Serving<'_> {
    /// Takes what comes until nothing comes any more.
    async fn take_all(&mut self, from: &mut ReadHalf<Box<dyn PeerStream>>) -> Result<(), PeerError> {
        loop {
            let frame = timeout(QUIET, frame::read(from, LONGEST)).await.map_err(|_| PeerError::Silent(QUIET))??;
            let Some(frame) = frame else { return Ok(()) };
            self.take(frame).await?;
            while self.tasks.try_join_next().is_some() {}
        }
    }

    async fn take(&mut self, Frame { kind, number, body }: Frame) -> Result<(), PeerError> {
        // Perhaps since it said its first words.
        self.store.local.refuse_removed(self.from)?;
        match kind {
            kind::PING => self.say(Frame::new(kind::PONG, number, Bytes::new())).await,
            kind::APPEND => self.append(number, message::decode_append(&body)?).await,
            kind::APPEND_END => drop(self.appends.remove(&number)),
            kind::VOTE => {
                let (raft, request) = (self.store.raft.clone(), parse(&body)?);
                self.answer(number, async move { answered(raft.vote(request).await) }).await;
            }
            kind::PRE_VOTE => {
                let (raft, request) = (self.store.raft.clone(), parse(&body)?);
                self.answer(number, async move { answered(raft.pre_vote(request).await) }).await;
            }
            kind::TRANSFER => {
                let (raft, request) = (self.store.raft.clone(), parse(&body)?);
                self.answer(number, async move { answered(raft.handle_transfer_leader(request).await) }).await;
            }
            kind::PROPOSE => {
                let command =
                    Command::decode(&body).map_err(|error| PeerError::Garbage(format!("a command: {error}")))?;
                let store = self.store.clone();
                self.answer(number, async move { store.propose_for_peer(command).await }).await;
            }
            kind::READ_INDEX => {
                let store = self.store.clone();
                self.answer(number, async move { store.read_index_for_peer().await }).await;
            }
            kind::CHANGE => {
                let (store, change) = (self.store.clone(), parse(&body)?);
                self.answer(number, async move { store.change_for_peer(change).await }).await;
            }
            kind::LEASE => {
                let (store, question) = (self.store.clone(), parse(&body)?);
                self.answer(number, async move { store.wish_for_peer(question).await }).await;
            }
            kind::SNAPSHOT => self.begin_snapshot(number, &body)?,
            kind::SNAPSHOT_PART => match &mut self.receiving {
                Some((_, newer)) if newer.is_cancelled() => {
                    return Err(PeerError::Garbage("a newer snapshot is on its way".to_owned()));
                }
                Some((receiving, _)) if receiving.number == number => receiving.part(body)?,
                _ => return Err(PeerError::Garbage("a piece of no snapshot".to_owned())),
            },
            kind::SNAPSHOT_END => match self.receiving.take() {
                Some((receiving, _)) if receiving.number == number => {
                    let (raft, local) = (self.store.raft.clone(), self.store.local.clone());
                    self.answer(number, receiving.end(raft, local, body)).await;
                }
                _ => return Err(PeerError::Garbage("the end of no snapshot".to_owned())),
            },
            kind => return Err(PeerError::Garbage(format!("a frame has the unknown kind {kind}"))),
        }
        Ok(())
    }

    /// When the connection does not take it any more, it ends.
    async fn say(&self, frame: Frame) {
        let _ = self.answers.send(frame).await;
    }

    /// Works on a request beside the others.
    async fn answer(&mut self, number: u64, work: impl Future<Output = Answer> + Send + 'static) {
        let answers = self.answers.clone();
        // It is never closed.
        let Ok(permit) = self.room.clone().acquire_owned().await else { return };
        let work = async move {
            let mut body = work.await.encode();
            if body.len() > LONGEST - 16 {
                body = Answer::Unknown(format!("it was done, but its answer of {} bytes is too long", body.len()))
                    .encode();
            }
            let _ = answers.send(Frame::new(kind::ANSWER, number, body)).await;
            drop(permit);
        };
        let local = &self.store.local;
        self.tasks.spawn(local.open.track_future(local.answering.track_future(work)));
    }

    /// Hands a batch to the stream that it belongs to. Waits when Raft does not keep up, and so makes the sender wait.
    async fn append(&mut self, number: u64, append: Append) {
        let stream = self.appends.entry(number).or_insert_with(|| {
            let (to, batches) = mpsc::channel(BATCHES);
            let (raft, answers) = (self.store.raft.clone(), self.answers.clone());
            let work = async move {
                let mut appended = std::pin::pin!(raft.stream_append(ReceiverStream::new(batches)));
                while let Some(Ok(appended)) = appended.next().await {
                    let frame = Frame::new(kind::APPENDED, number, message::encode_appended(&appended));
                    if answers.send(frame).await.is_err() {
                        return;
                    }
                }
                let _ = answers.send(Frame::new(kind::APPEND_DONE, number, Bytes::new())).await;
            };
            self.tasks.spawn(self.store.open.track_future(work));
            to
        });
        // Behind a conflict nothing is taken any more, and nobody waits for an answer.
        let _ = stream.send(append).await;
    }

    fn begin_snapshot(&mut self, number: u64, body: &[u8]) -> Result<(), PeerError> {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let local = &self.store.local;
        let receiving = Receiving::begin(local, number, body, NAMES.fetch_add(1, Ordering::Relaxed))?;
        let this = CancellationToken::new();
        std::mem::replace(&mut *local.receiving.lock(), this.clone()).cancel();
        self.receiving = Some((receiving, this));
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, PeerError> {
    Ok(message::from_json(body)?)
}

fn answered<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Answer {
    match result {
        Ok(value) => Answer::json(&value),
        Err(error) => Answer::Unavailable(error.to_string()),
    }
}
