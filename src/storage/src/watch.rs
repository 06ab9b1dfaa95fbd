//! Watches: history from the database, then live events from the hub.
//!
//! A watch first replays what happened since its start. When it has seen everything it joins the hub, under the hub's
//! lock, so that no revision falls between. A watch that does not take its events in time is let go by the hub and
//! replays from where it was: slow watches cost reads, never memory, and nobody waits for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{Event, KeyRange, Keyspace, StoreError, WatchBatch, WatchRequest, WatchStream};

/// How many batches wait for a watch before it is let go.
const QUEUED_BATCHES: usize = 1024;

/// Tells watches what each revision changed.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last revision that was told.
    revision: u64,
    next_id: u64,
    watches: HashMap<u64, Watch>,
    closed: bool,
}

#[derive(Debug)]
struct Watch {
    range: KeyRange,
    queue: mpsc::Sender<WatchBatch>,
}

/// A place in the hub, given up when dropped.
#[derive(Debug)]
struct Seat {
    hub: Arc<Hub>,
    id: u64,
    queue: mpsc::Receiver<WatchBatch>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.state.lock().watches.remove(&self.id);
    }
}

/// What came of asking for a place.
enum Joined {
    /// The place, and the revision that the store is at.
    Seat(Seat, u64),
    /// There is history to read first.
    Behind,
    Closed,
}

impl Hub {
    pub(crate) fn new(revision: u64) -> Self {
        Self { state: Mutex::new(State { revision, next_id: 0, watches: HashMap::new(), closed: false }) }
    }

    /// Tells all watches; never waits.
    pub(crate) fn publish(&self, batches: &[WatchBatch]) {
        let Some(last) = batches.last() else { return };
        let mut state = self.state.lock();
        state.revision = last.revision;
        state.watches.retain(|_, watch| {
            batches
                .iter()
                .filter_map(|batch| select(batch, &watch.range))
                .all(|batch| watch.queue.try_send(batch).is_ok())
        });
    }

    /// Sends all watches back to the database: what it holds was replaced.
    pub(crate) fn reset(&self, revision: u64) {
        let mut state = self.state.lock();
        state.revision = revision;
        state.watches.clear();
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.watches.clear();
    }

    /// The last revision that was told: watches that have seen all that waits for them have seen everything up to it.
    pub(crate) fn told(&self) -> u64 {
        self.state.lock().revision
    }

    /// Takes a place for a watch that has seen everything before `next`.
    fn join(self: &Arc<Self>, range: &KeyRange, next: u64) -> Joined {
        let mut state = self.state.lock();
        if state.closed {
            return Joined::Closed;
        }
        if next <= state.revision {
            return Joined::Behind;
        }
        let id = state.next_id;
        state.next_id += 1;
        let (sender, queue) = mpsc::channel(QUEUED_BATCHES);
        state.watches.insert(id, Watch { range: range.clone(), queue: sender });
        Joined::Seat(Seat { hub: self.clone(), id, queue }, state.revision)
    }
}

/// The part of a batch that lies in `range`.
fn select(batch: &WatchBatch, range: &KeyRange) -> Option<WatchBatch> {
    let within = |event: &&Event| range.contains(&event.kv.key);
    let count = batch.events.iter().filter(within).count();
    if count == batch.events.len() {
        return Some(batch.clone());
    }
    (count > 0)
        .then(|| WatchBatch { revision: batch.revision, events: batch.events.iter().filter(within).cloned().collect() })
}

/// One watch on its way.
struct Follower {
    keyspace: Keyspace,
    range: KeyRange,
    /// The first revision that it has not seen.
    next: u64,
    replayed: VecDeque<WatchBatch>,
    seat: Option<Seat>,
    failed: bool,
}

/// The stream of a watch.
pub(crate) fn stream(keyspace: Keyspace, request: WatchRequest) -> Result<WatchStream, StoreError> {
    let next = match request.start_revision {
        None | Some(0) => keyspace.revision() + 1,
        Some(start) => start,
    };
    let compacted = keyspace.compacted_revision();
    if next < compacted {
        return Err(StoreError::Compacted { requested: next, compacted });
    }
    let follower =
        Follower { keyspace, range: request.range, next, replayed: VecDeque::new(), seat: None, failed: false };
    Ok(Box::pin(futures::stream::unfold(follower, |mut follower| async move {
        let item = follower.next().await?;
        follower.failed = item.is_err();
        Some((item, follower))
    })))
}

impl Follower {
    async fn next(&mut self) -> Option<Result<WatchBatch, StoreError>> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(batch) = self.replayed.pop_front() {
                return Some(Ok(batch));
            }
            match &mut self.seat {
                Some(seat) => match seat.queue.recv().await {
                    // A watch may begin in the future.
                    Some(batch) if batch.revision < self.next => {}
                    Some(batch) => {
                        self.next = batch.revision + 1;
                        return Some(Ok(batch));
                    }
                    None => self.seat = None,
                },
                None => match self.keyspace.hub().join(&self.range, self.next) {
                    Joined::Closed => return None,
                    Joined::Seat(seat, revision) => {
                        self.seat = Some(seat);
                        return Some(Ok(WatchBatch { revision, events: Arc::from([]) }));
                    }
                    Joined::Behind => match self.keyspace.replay(&self.range, self.next) {
                        Ok(replay) => {
                            self.next = replay.next;
                            self.replayed = replay.batches.into();
                        }
                        Err(error) => return Some(Err(error)),
                    },
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::{Command, Op, Txn, keyspace::tests::open};

    fn put(keyspace: &Keyspace, key: &str) {
        let op = Op::Put { key: key.to_owned().into(), value: "v".into(), lease: 0 };
        let mut session = keyspace.session();
        session.apply(&Command::Txn(Txn { success: vec![op], ..Txn::default() })).unwrap();
        session.commit().unwrap();
    }

    async fn take(stream: &mut WatchStream, revision: u64, keys: &[&str]) {
        let batch = stream.next().await.unwrap().unwrap();
        assert_eq!(batch.revision, revision);
        let found: Vec<_> = batch.events.iter().map(|event| event.kv.key.clone()).collect();
        assert_eq!(found, keys);
    }

    #[tokio::test]
    async fn a_watch_replays_history_says_so_and_goes_on_live() {
        let (_directory, keyspace) = open();
        put(&keyspace, "a/1");
        put(&keyspace, "b/1");
        put(&keyspace, "a/2");
        let request = WatchRequest { range: KeyRange::prefix("a/"), start_revision: Some(2) };
        let mut stream = keyspace.watch(request).unwrap();
        take(&mut stream, 2, &["a/1"]).await;
        take(&mut stream, 4, &["a/2"]).await;
        take(&mut stream, 4, &[]).await;
        put(&keyspace, "b/2");
        put(&keyspace, "a/1");
        take(&mut stream, 6, &["a/1"]).await;
        keyspace.hub().close();
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_watch_misses_nothing_and_holds_nobody_up() {
        let (_directory, keyspace) = open();
        let mut stream = keyspace.watch(WatchRequest { range: KeyRange::all(), start_revision: None }).unwrap();
        take(&mut stream, 1, &[]).await;
        let count = QUEUED_BATCHES as u64 + 500;
        for _ in 0..count {
            put(&keyspace, "k");
        }
        let mut expected = 2;
        while expected < count + 2 {
            let batch = stream.next().await.unwrap().unwrap();
            if !batch.events.is_empty() {
                assert_eq!(batch.revision, expected);
                expected += 1;
            }
        }
    }

    #[tokio::test]
    async fn a_watch_that_falls_behind_compaction_ends_with_that_error() {
        let (_directory, keyspace) = open();
        let mut stream = keyspace.watch(WatchRequest { range: KeyRange::all(), start_revision: Some(2) }).unwrap();
        for _ in 0..3 {
            put(&keyspace, "k");
        }
        let mut session = keyspace.session();
        session.apply(&Command::Compact { revision: 3 }).unwrap();
        session.commit().unwrap();
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Compacted { requested: 2, compacted: 3 }), "{error}");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_watch_may_begin_in_the_future_and_leaves_the_hub_when_dropped() {
        let (_directory, keyspace) = open();
        let mut stream = keyspace.watch(WatchRequest { range: KeyRange::all(), start_revision: Some(4) }).unwrap();
        take(&mut stream, 1, &[]).await;
        for _ in 0..3 {
            put(&keyspace, "k");
        }
        take(&mut stream, 4, &["k"]).await;
        assert_eq!(keyspace.hub().state.lock().watches.len(), 1);
        drop(stream);
        assert!(keyspace.hub().state.lock().watches.is_empty());
    }
}
