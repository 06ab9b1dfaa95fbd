//! The limit on requests that are worked on at once: 400 that read, 200 that write.
//!
//! Requests that last as long as they want (watches, streams) are not counted, and members of `system:masters` are never
//! turned away.

use std::sync::Arc;

use auth::UserInfo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reading requests at once.
pub const READS_MAX: usize = 400;
/// Writing requests at once.
pub const WRITES_MAX: usize = 200;

/// The permits of both kinds.
#[derive(Debug, Clone)]
pub struct InFlight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

/// Held while a request is worked on.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

impl InFlight {
    /// Limits of `reads` and `writes` at once.
    pub fn new(reads: usize, writes: usize) -> Self {
        Self { reads: Arc::new(Semaphore::new(reads)), writes: Arc::new(Semaphore::new(writes)) }
    }

    /// A permit for a request; `None` when there are too many.
    pub fn enter(&self, read: bool, user: &UserInfo) -> Option<Permit> {
        let kind = if read { &self.reads } else { &self.writes };
        match kind.clone().try_acquire_owned() {
            Ok(permit) => Some(Permit(Some(permit))),
            Err(_) if user.groups.iter().any(|group| group == "system:masters") => Some(Permit(None)),
            Err(_) => None,
        }
    }

    /// How many requests of each kind are being worked on.
    pub fn current(&self) -> (usize, usize) {
        (
            READS_MAX.saturating_sub(self.reads.available_permits()),
            WRITES_MAX.saturating_sub(self.writes.available_permits()),
        )
    }
}

impl Default for InFlight {
    fn default() -> Self {
        Self::new(READS_MAX, WRITES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_too_many_is_turned_away_unless_it_is_an_administrator() {
        let limits = InFlight::new(1, 1);
        let user = UserInfo::default();
        let held = limits.enter(true, &user).unwrap();
        assert!(limits.enter(true, &user).is_none());
        assert!(limits.enter(false, &user).is_some(), "writes are counted apart");
        let admin = UserInfo { groups: vec!["system:masters".into()], ..UserInfo::default() };
        assert!(limits.enter(true, &admin).is_some());
        drop(held);
        assert!(limits.enter(true, &user).is_some());
    }
}
