//! The newest entries of the log, kept in memory.

use std::collections::VecDeque;

use crate::types::Entry;

/// How many bytes of entries are kept once they are written; those not yet written are always kept.
const KEPT_BYTES: usize = 1 << 20;
/// How many entries are kept once they are written.
const KEPT_ENTRIES: usize = 1024;

/// A contiguous piece of the log that ends where the log ends.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Kept>,
    bytes: usize,
    /// The number of the last append. Appends are numbered because an index may be appended again after a truncation:
    /// that the one was written says nothing about the other.
    sequence: u64,
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    bytes: usize,
    sequence: u64,
}

impl Recent {
    /// The number of the append that follows.
    pub(super) fn begin_append(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn push(&mut self, entry: Entry, bytes: usize) {
        self.bytes += bytes;
        self.entries.push_back(Kept { entry, bytes, sequence: self.sequence });
    }

    /// The first index that is here.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|kept| kept.entry.log_id.index)
    }

    /// The entries from `start` (which is here) up to before `end`.
    pub(super) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let skipped = self.first().map_or(0, |first| start.saturating_sub(first));
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let all = self.entries.iter().skip(skipped).map(|kept| &kept.entry);
        all.take_while(move |entry| entry.log_id.index < end)
    }

    /// Forgets what need not be kept, now that appends up to `written` can be read from the disk.
    pub(super) fn written(&mut self, written: u64) {
        while (self.bytes > KEPT_BYTES || self.entries.len() > KEPT_ENTRIES)
            && self.entries.front().is_some_and(|kept| kept.sequence <= written)
        {
            self.pop_front();
        }
    }

    /// Drops the entries from `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        while let Some(kept) = self.entries.pop_back_if(|kept| kept.entry.log_id.index >= from) {
            self.bytes -= kept.bytes;
        }
    }

    /// Drops the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.first().is_some_and(|first| first <= upto) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(kept) = self.entries.pop_front() {
            self.bytes -= kept.bytes;
        }
    }
}
