//! How far a server is.

use openraft::async_runtime::watch::WatchReceiver;

use crate::RaftStore;

/// How far a server is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The term it is in.
    pub term: u64,
    /// The last entry that it knows to be committed; 0 is none.
    pub committed: u64,
    /// The last entry that it has applied.
    pub applied: u64,
}

impl RaftStore {
    /// How far this server is.
    pub fn progress(&self) -> Progress {
        let (server, data) = (self.raft.server_metrics(), self.raft.data_metrics());
        let term = server.borrow_watched().vote.leader_id.term;
        let data = data.borrow_watched();
        let applied = data.last_applied.map_or(0, |last| last.index);
        // What is applied is committed, whatever is known of it otherwise.
        Progress { term, committed: data.local_committed.map_or(0, |last| last.index).max(applied), applied }
    }
}
