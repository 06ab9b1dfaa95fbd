//! The log and the vote, in the column family of that name beside the keyspace.
//!
//! openraft appends to memory, and is told when the entries are on the disk. In between a thread writes all that came
//! meanwhile and syncs once: many writers share one sync, and neither openraft nor the executor ever waits for the disk.
//! What was appended last stays in memory, since that is what is applied and sent to peers next.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `raft-log` | index, 8 bytes big-endian | the entry, see [`crate::entry`] |
//! | `raft` | `vote`, `purged` | see [`crate::records`] |

mod disk;
mod reader;
mod recent;
mod writer;

use std::{io, sync::Arc};

use openraft::{
    LogState, OptionalSend,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use storage::{Database, StoreError};
use tokio_util::task::task_tracker::TaskTrackerToken;

pub(crate) use self::{disk::LOG, reader::LogReader};
use self::{
    recent::Recent,
    writer::{Write, Writer},
};
use crate::{
    TypeConfig, entry,
    error::Failure,
    network::Reach,
    records::{self, PURGED, VOTE},
    types::{Entry, LogId, Vote},
};

/// The log of this server. openraft owns it; readers share its state.
pub(crate) struct LogStore {
    writer: Writer,
    shared: Arc<Shared>,
}

/// What the log, its readers and its writer know together.
#[derive(Debug)]
struct Shared {
    database: Database,
    failure: Failure,
    state: Mutex<State>,
    // Dropped last: then nothing of this holds the database open any more.
    _open: TaskTrackerToken,
}

/// Where the log is. It is ahead of the disk by what the writer has not written yet.
#[derive(Debug)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// The last entry; when there is none, what was purged last.
    last: Option<LogId>,
    /// The first entry there is, if there is any.
    first: Option<u64>,
    recent: Recent,
    /// What others may know of where it ends.
    reach: Reach,
}

impl State {
    fn tell(&self) {
        self.reach.set(self.last.map(|last| last.index));
    }
}

impl LogStore {
    /// Opens the log and reads through it.
    ///
    /// # Errors
    /// When an entry is damaged or missing, or the disk fails.
    pub(crate) fn open(
        database: Database,
        failure: Failure,
        reach: Reach,
        open: TaskTrackerToken,
    ) -> Result<Self, StoreError> {
        let purged: Option<LogId> = records::read(&database, PURGED)?;
        let span = disk::verify(&database, purged.as_ref())?;
        let state = State {
            vote: records::read(&database, VOTE)?,
            last: span.as_ref().map(|span| span.last).or(purged),
            first: span.map(|span| span.first),
            purged,
            recent: Recent::default(),
            reach,
        };
        state.tell();
        let shared = Arc::new(Shared { database, failure, state: Mutex::new(state), _open: open });
        let writer = Writer::start(shared.clone())?;
        Ok(Self { writer, shared })
    }

    /// The last entry, or what was purged last.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.state.lock().last
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.shared.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.writer.vote(*vote).await?;
        self.shared.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        let sequence = {
            let mut state = self.shared.state.lock();
            let sequence = state.recent.begin_append();
            for entry in entries {
                let (index, bytes) = (entry.log_id.index, entry::encode(&entry));
                state.last = Some(entry.log_id);
                state.first.get_or_insert(index);
                state.recent.push(entry, bytes.len());
                records.push((index, bytes));
            }
            state.tell();
            sequence
        };
        self.writer.send(Write::Append { records, sequence, flushed })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = {
            let mut state = self.shared.state.lock();
            if last >= state.last {
                return Ok(());
            }
            let from = last.map_or(0, |last| last.index + 1);
            state.last = last.max(state.purged);
            state.first = state.first.filter(|first| *first < from);
            state.recent.truncate(from);
            state.tell();
            from
        };
        self.writer.send(Write::Truncate { from })
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        {
            let mut state = self.shared.state.lock();
            if state.purged.as_ref() >= Some(&upto) {
                return Ok(());
            }
            state.purged = Some(upto);
            if state.last.is_none_or(|last| last.index <= upto.index) {
                state.last = Some(upto);
                state.first = None;
            } else {
                state.first = state.first.map(|first| first.max(upto.index + 1));
            }
            state.recent.purge(upto.index);
            state.tell();
        }
        self.writer.send(Write::Purge { upto })
    }
}
