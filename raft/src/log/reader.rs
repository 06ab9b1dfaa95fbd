//! Reading the log: what is applied next comes from memory, older entries from the disk.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    sync::Arc,
};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use openraft::{OptionalSend, RaftLogReader};
use storage::StoreError;

use super::{Shared, disk};
use crate::{
    TypeConfig, entry,
    types::{Entry, Vote},
};

/// How many bytes go to a peer in one batch, give or take a step.
const BYTES_PER_BATCH: usize = 1 << 20;
/// How many entries are read before their size is looked at.
const ENTRIES_PER_STEP: u64 = 16;
/// How many entries a stream reads at once.
const ENTRIES_AT_ONCE: u64 = 256;

/// A reader; there may be many.
#[derive(Debug, Clone)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

/// What memory has of a range.
struct Recalled {
    /// What has to be read from the disk before it.
    older: Range<u64>,
    entries: Vec<Entry>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Cuts `range` to what the log has and takes from memory what is there.
    fn recall(&self, range: &Range<u64>) -> Option<Recalled> {
        let state = self.shared.state.lock();
        let start = range.start.max(state.first?);
        let end = range.end.min(state.last?.index + 1);
        if start >= end {
            return None;
        }
        let recent = state.recent.first().unwrap_or(end).clamp(start, end);
        Some(Recalled { older: start..recent, entries: state.recent.range(recent, end).cloned().collect() })
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        let Some(Recalled { older, entries }) = self.recall(&range) else { return Ok(Vec::new()) };
        if older.is_empty() {
            return Ok(entries);
        }
        let shared = self.shared.clone();
        let wanted = older.clone();
        let read = tokio::task::spawn_blocking(move || disk::read(&shared.database, wanted)).await;
        match read.map_err(|error| StoreError::Unavailable(format!("reading the log was broken off: {error}")))? {
            Ok(mut all) => {
                all.extend(entries);
                Ok(all)
            }
            // What was purged or truncated meanwhile is not missing.
            Err(error) => match self.recall(&older) {
                Some(now) if now.older == older => Err(error),
                _ => Box::pin(self.entries(range)).await,
            },
        }
    }
}

fn indices(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries(indices(&range)).await.map_err(|error| self.shared.failure.note(error))
    }

    /// As much as a batch for a peer should hold. Empty when the beginning was purged meanwhile: then nothing is sent, and
    /// openraft looks again.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, start);
        while next < end && bytes < BYTES_PER_BATCH {
            let piece = self.try_get_log_entries(next..end.min(next + ENTRIES_PER_STEP)).await?;
            if piece.first().is_none_or(|first| first.log_id.index != next) {
                break;
            }
            bytes += piece.iter().map(entry::size).sum::<usize>();
            next += piece.len() as u64;
            entries.extend(piece);
        }
        Ok(entries)
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reader = self.clone();
        let pieces = stream::try_unfold((reader, indices(&range)), |(mut reader, rest)| async move {
            let end = rest.end.min(rest.start.saturating_add(ENTRIES_AT_ONCE));
            let piece = reader.try_get_log_entries(rest.start..end).await?;
            let next = piece.last().map(|last| last.log_id.index + 1);
            Ok::<_, io::Error>(next.map(|next| (stream::iter(piece).map(Ok), (reader, next..rest.end))))
        });
        Box::pin(pieces.try_flatten())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.state.lock().vote)
    }
}
