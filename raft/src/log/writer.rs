//! The thread that brings the log to the disk.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use openraft::storage::IOFlushed;
use rocksdb::WriteBatch;
use storage::StoreError;
use tokio::sync::oneshot;

use super::{Shared, disk};
use crate::{
    TypeConfig,
    records::{self, PURGED, VOTE},
    types::{LogId, Vote},
};

/// How many bytes go to the disk in one go at most, and so into one batch in memory.
const BYTES_AT_ONCE: usize = 8 << 20;

/// One change to the log. They reach the disk in the order they were sent in.
pub(super) enum Write {
    Append { records: Vec<(u64, Vec<u8>)>, sequence: u64, flushed: IOFlushed<TypeConfig> },
    Vote { vote: Vote, saved: oneshot::Sender<io::Result<()>> },
    Truncate { from: u64 },
    Purge { upto: LogId },
}

/// The thread, as others see it. Dropping it waits until everything sent is on the disk.
pub(super) struct Writer {
    sender: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel();
        let writing = shared.clone();
        let thread = thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || run(&writing, &receiver))
            .map_err(|error| StoreError::Io(format!("cannot start the thread that writes the log: {error}")))?;
        Ok(Self { sender: Some(sender), thread: Some(thread), shared })
    }

    /// Hands over a change.
    pub(super) fn send(&self, write: Write) -> io::Result<()> {
        self.shared.failure.check()?;
        let sender = self.sender.as_ref().expect("the sender is only taken when the writer is dropped");
        sender.send(write).map_err(|_| io::Error::other("the thread that writes the log has ended"))
    }

    /// Saves a vote; returns when it is on the disk.
    pub(super) async fn vote(&self, vote: Vote) -> io::Result<()> {
        let (saved, on_disk) = oneshot::channel();
        self.send(Write::Vote { vote, saved })?;
        on_disk.await.map_err(|_| io::Error::other("the thread that writes the log has ended"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic: failures go to those who wait for it.
            let _ = thread.join();
        }
    }
}

/// Takes what there is, writes it in one batch, syncs once, tells all who waited; until nothing more can come.
fn run(shared: &Shared, receiver: &mpsc::Receiver<Write>) {
    while let Ok(first) = receiver.recv() {
        let mut round = Round::default();
        round.take(shared, first);
        while round.batch.size_in_bytes() < BYTES_AT_ONCE
            && let Ok(next) = receiver.try_recv()
        {
            round.take(shared, next);
        }
        round.finish(shared);
    }
}

/// What goes to the disk together.
#[derive(Default)]
struct Round {
    batch: WriteBatch,
    /// The last append in it.
    sequence: Option<u64>,
    flushed: Vec<IOFlushed<TypeConfig>>,
    saved: Vec<oneshot::Sender<io::Result<()>>>,
}

impl Round {
    fn take(&mut self, shared: &Shared, write: Write) {
        let database = &shared.database;
        let log = database.family(disk::LOG);
        match write {
            Write::Append { records, sequence, flushed } => {
                for (index, bytes) in records {
                    self.batch.put_cf(log, disk::key(index), bytes);
                }
                self.sequence = Some(sequence);
                self.flushed.push(flushed);
            }
            Write::Vote { vote, saved } => {
                records::put(database, &mut self.batch, VOTE, &vote);
                self.saved.push(saved);
            }
            Write::Truncate { from } => self.batch.delete_range_cf(log, disk::key(from), disk::key(u64::MAX)),
            Write::Purge { upto } => {
                self.batch.delete_range_cf(log, disk::key(0), disk::key(upto.index + 1));
                records::put(database, &mut self.batch, PURGED, &upto);
            }
        }
    }

    fn finish(self, shared: &Shared) {
        let awaited = !self.flushed.is_empty() || !self.saved.is_empty();
        let result = write(shared, self.batch, self.sequence, awaited);
        let answer = || match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::other(error.clone())),
        };
        for flushed in self.flushed {
            flushed.io_completed(answer());
        }
        for saved in self.saved {
            // Whoever asked may have gone.
            let _ = saved.send(answer());
        }
    }
}

/// After a failure nothing is written any more: what failed would be a hole.
fn write(shared: &Shared, batch: WriteBatch, sequence: Option<u64>, durably: bool) -> Result<(), StoreError> {
    if let Some(error) = shared.failure.get() {
        return Err(error);
    }
    let written = shared.database.write(batch).and_then(|()| {
        if let Some(sequence) = sequence {
            shared.state.lock().recent.written(sequence);
        }
        // Not a synced write: that would make whoever applies to the keyspace meanwhile wait for the disk as well.
        if durably { shared.database.sync() } else { Ok(()) }
    });
    written.inspect_err(|error| drop(shared.failure.note(error.clone())))
}
