//! Watches: many of them over one stream of requests and one of answers.
//!
//! One task serves a stream. It takes events from the store only as fast as the client takes them: a slow client's watches
//! fall behind in the store and read history, and cost no memory here.
//!
//! A progress notice says that all events up to its revision were sent before it. The task looks up to where the store has
//! told its watches, then takes all that waits for them, and only then sends the notice.

use std::{collections::BTreeSet, task::Poll, time::Duration};

use futures::{StreamExt, future::poll_fn};
use prost::Message;
use storage::{EventKind, KeyRange, StoreError, WatchBatch, WatchStream};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Door, convert,
    door::signed,
    fail,
    pb::{
        self, WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
        watch_request::RequestUnion, watch_server::Watch,
    },
};

/// How many answers wait for the client before the stream waits for it.
const ANSWERS_AT_ONCE: usize = 16;
/// How often a watch that asked for it hears how far it is, if nothing else happens; as in etcd.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
/// The largest answer to a watch that takes fragments, as in etcd: the largest request and half a mebibyte.
const MAX_ANSWER_BYTES: usize = storage::MAX_REQUEST_BYTES + (512 << 10);
/// What a notice to all watches of a stream has for a number, and the answer to a watch that could not be made.
const NO_WATCH: i64 = -1;

#[tonic::async_trait]
impl Watch for Door {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS_AT_ONCE);
        let session =
            Session { door: self.clone(), answers, watchers: Vec::new(), next_id: 0, turn: 0, asked: Asked::default() };
        self.tasks.spawn("etcd-watch", session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The client has gone away.
struct Gone;

/// The watches of one stream.
struct Session {
    door: Door,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    watchers: Vec<Watcher>,
    next_id: i64,
    /// Which watch is looked at first, so that a busy one does not starve the others.
    turn: usize,
    asked: Asked,
}

struct Watcher {
    id: i64,
    stream: WatchStream,
    prev_kv: bool,
    fragment: bool,
    no_put: bool,
    no_delete: bool,
    notify: bool,
    /// Whether nothing was sent since the last look.
    quiet: bool,
}

/// Who is to hear how far everything is, once everything up to `revision` is sent.
#[derive(Default)]
struct Asked {
    revision: u64,
    all: bool,
    ids: BTreeSet<i64>,
}

enum Happened {
    /// A watch has something, or has ended.
    Batch(usize, Option<Result<WatchBatch, StoreError>>),
    /// All watches have been read to the end, and somebody wants to know.
    Idle,
}

impl Session {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        let mut ticks = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let answers = self.answers.clone();
        loop {
            let served = tokio::select! {
                happened = self.happened() => match happened {
                    Happened::Batch(index, batch) => self.batch(index, batch).await,
                    Happened::Idle => self.progress().await,
                },
                request = requests.next() => match request {
                    Some(Ok(WatchRequest { request_union: Some(request) })) => self.request(request).await,
                    // As etcd: an empty request is passed over.
                    Some(Ok(WatchRequest { request_union: None })) => Ok(()),
                    Some(Err(_)) | None => Err(Gone),
                },
                _ = ticks.tick() => {
                    self.look();
                    Ok(())
                }
                () = answers.closed() => Err(Gone),
            };
            if served.is_err() {
                return;
            }
        }
    }

    /// Waits for the next thing that the store has to say.
    fn happened(&mut self) -> impl Future<Output = Happened> {
        // Pending has to mean that nothing waits, and not that the task had its share of time.
        tokio::task::unconstrained(poll_fn(|context| {
            let count = self.watchers.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                if let Poll::Ready(batch) = self.watchers[index].stream.poll_next_unpin(context) {
                    self.turn = index + 1;
                    return Poll::Ready(Happened::Batch(index, batch));
                }
            }
            if self.asked.all || !self.asked.ids.is_empty() { Poll::Ready(Happened::Idle) } else { Poll::Pending }
        }))
    }

    async fn request(&mut self, request: RequestUnion) -> Result<(), Gone> {
        match request {
            RequestUnion::CreateRequest(request) => self.create(request).await,
            RequestUnion::CancelRequest(request) => self.cancel(request.watch_id).await,
            RequestUnion::ProgressRequest(_) => {
                self.asked.revision = self.door.keyspace.told();
                self.asked.all = true;
                Ok(())
            }
        }
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Gone> {
        let revision = self.door.store.revision();
        let mut answer = WatchResponse { header: self.door.header(revision), created: true, ..none() };
        let (id, wanted) = match self.plan(&request, revision) {
            Ok(planned) => planned,
            Err(reason) => {
                answer.watch_id = NO_WATCH;
                answer.canceled = true;
                answer.cancel_reason = reason.to_owned();
                return self.send(answer).await;
            }
        };
        answer.watch_id = id;
        let stream = self.door.store.watch(wanted);
        self.send(answer).await?;
        match stream {
            Ok(stream) => {
                let filtered = |filter: FilterType| request.filters.contains(&filter.into());
                self.watchers.push(Watcher {
                    id,
                    stream,
                    prev_kv: request.prev_kv,
                    fragment: request.fragment,
                    no_put: filtered(FilterType::Noput),
                    no_delete: filtered(FilterType::Nodelete),
                    notify: request.progress_notify,
                    quiet: true,
                });
                Ok(())
            }
            Err(error) => self.end(id, &error).await,
        }
    }

    /// A number for a new watch, and what is asked of the store; or why it cannot be.
    fn plan(
        &mut self,
        request: &WatchCreateRequest,
        revision: u64,
    ) -> Result<(i64, storage::WatchRequest), &'static str> {
        // An empty key is the smallest there is.
        let key = if request.key.is_empty() { KeyRange::UNBOUNDED.into() } else { request.key.clone() };
        let range = convert::key_range(key, request.range_end.clone());
        if range.end.as_ref().is_some_and(|end| end[..] != *KeyRange::UNBOUNDED && *end <= range.start) {
            return Err("mvcc: watcher range is empty");
        }
        let taken = |id| self.watchers.iter().any(|watcher| watcher.id == id);
        let id = if request.watch_id == 0 {
            let free = (self.next_id..).find(|id| !taken(*id)).expect("a stream has fewer watches than numbers");
            self.next_id = free + 1;
            free
        } else if taken(request.watch_id) {
            return Err("mvcc: duplicate watch ID provided on the WatchStream");
        } else {
            request.watch_id
        };
        // What is told as the revision of the answer is the last one that the watch does not see.
        let start =
            if request.start_revision == 0 { revision + 1 } else { convert::unsigned(request.start_revision).max(1) };
        Ok((id, storage::WatchRequest { range, start_revision: Some(start) }))
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(index) = self.watchers.iter().position(|watcher| watcher.id == id) else { return Ok(()) };
        self.watchers.swap_remove(index);
        let header = self.door.header_now();
        self.send(WatchResponse { header, watch_id: id, canceled: true, ..none() }).await
    }

    /// Says that a watch ends because the store cannot serve it.
    async fn end(&mut self, id: i64, error: &StoreError) -> Result<(), Gone> {
        let mut answer = WatchResponse { watch_id: id, canceled: true, ..none() };
        match error {
            StoreError::Compacted { compacted, .. } => {
                // As in etcd, this one has no revision: where the store is says nothing about the watch.
                answer.header = self.door.header(0);
                answer.compact_revision = signed(*compacted);
            }
            error => {
                answer.header = self.door.header_now();
                answer.cancel_reason = fail::store(error.clone()).message().to_owned();
            }
        }
        self.send(answer).await
    }

    async fn batch(&mut self, index: usize, batch: Option<Result<WatchBatch, StoreError>>) -> Result<(), Gone> {
        let watcher = &mut self.watchers[index];
        let id = watcher.id;
        match batch {
            Some(Ok(batch)) => {
                let wanted = |kind| match kind {
                    EventKind::Put => !watcher.no_put,
                    EventKind::Delete => !watcher.no_delete,
                };
                let events = batch.events.iter().filter(|event| wanted(event.kind));
                let events: Vec<_> = events.map(|event| convert::event(event, watcher.prev_kv)).collect();
                if events.is_empty() {
                    return Ok(());
                }
                watcher.quiet = false;
                let fragment = watcher.fragment;
                let header = self.door.header(batch.revision);
                let answer = WatchResponse { header, watch_id: id, events, ..none() };
                if !fragment || answer.encoded_len() < MAX_ANSWER_BYTES {
                    return self.send(answer).await;
                }
                for part in fragments(answer) {
                    self.send(part).await?;
                }
                Ok(())
            }
            Some(Err(error)) => {
                self.watchers.swap_remove(index);
                self.end(id, &error).await
            }
            // The store closes.
            None => Err(Gone),
        }
    }

    /// Notes which watches want to hear that nothing happened.
    fn look(&mut self) {
        let quiet = self.watchers.iter().filter(|watcher| watcher.notify && watcher.quiet).map(|watcher| watcher.id);
        self.asked.ids.extend(quiet);
        self.asked.revision = self.door.keyspace.told();
        self.watchers.iter_mut().for_each(|watcher| watcher.quiet = true);
    }

    async fn progress(&mut self) -> Result<(), Gone> {
        let Asked { revision, all, ids } = std::mem::take(&mut self.asked);
        let ids = ids.into_iter().filter(|id| self.watchers.iter().any(|watcher| watcher.id == *id));
        let ids: Vec<_> = ids.chain(all.then_some(NO_WATCH)).collect();
        for watch_id in ids {
            let header = self.door.header(revision);
            self.send(WatchResponse { header, watch_id, ..none() }).await?;
        }
        Ok(())
    }

    // Exclusively: the watches of a session can be sent between threads, but not shared.
    async fn send(&mut self, answer: WatchResponse) -> Result<(), Gone> {
        self.answers.send(Ok(answer)).await.map_err(|_| Gone)
    }
}

fn none() -> WatchResponse {
    WatchResponse::default()
}

/// An answer in parts that are small enough, or hold one event; all but the last say that more follows.
fn fragments(answer: WatchResponse) -> Vec<WatchResponse> {
    let WatchResponse { events, .. } = answer;
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..answer };
    let room = MAX_ANSWER_BYTES - empty.encoded_len();
    let mut parts: Vec<Vec<pb::Event>> = vec![Vec::new()];
    let mut size = 0;
    for event in events {
        // Its tag and its length take a few bytes more.
        let added = event.encoded_len() + 8;
        if size + added > room && size > 0 {
            parts.push(Vec::new());
            size = 0;
        }
        size += added;
        parts.last_mut().expect("there is one from the beginning").push(event);
    }
    let last = parts.len() - 1;
    let part = |(index, events)| WatchResponse { events, fragment: index != last, ..empty.clone() };
    parts.into_iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_hold_all_events_in_order_and_only_the_last_says_that_it_is_the_last() {
        let event = |number: i64| pb::Event {
            kv: Some(pb::KeyValue {
                mod_revision: number,
                value: vec![0; 700 << 10].into(),
                ..pb::KeyValue::default()
            }),
            ..pb::Event::default()
        };
        let parts = fragments(WatchResponse { watch_id: 7, events: (0..7).map(event).collect(), ..none() });
        assert_eq!(parts.iter().map(|part| part.events.len()).collect::<Vec<_>>(), [2, 2, 2, 1]);
        assert_eq!(parts.iter().map(|part| part.fragment).collect::<Vec<_>>(), [true, true, true, false]);
        assert!(parts.iter().all(|part| part.watch_id == 7 && part.encoded_len() <= MAX_ANSWER_BYTES));
        let revisions = parts.iter().flat_map(|part| &part.events).filter_map(|event| event.kv.as_ref());
        assert!(revisions.map(|kv| kv.mod_revision).eq(0..7));
    }
}
