//! A container's memory, counted over all of its instances.
//!
//! Wasmtime asks before a memory grows. A grow too many is remembered and ends the guest at once: the guest itself
//! would only see an allocation that failed, and its trap would look like any other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use wasmtime::ResourceLimiter;

use crate::meter::Bucket;

/// What a container may use; `None` is all there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// CPU time in each period, and the period.
    pub cpu: Option<(Duration, Duration)>,
}

impl Limits {
    pub(crate) fn bucket(&self) -> Option<Bucket> {
        self.cpu.map(|(quota, period)| Bucket::new(quota, period))
    }
}

/// The guest wanted more memory than its container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {used} bytes in use, {more} more wanted, limit {limit}")]
pub struct OutOfMemory {
    /// What the container's instances had.
    pub used: u64,
    /// What one of them wanted.
    pub more: u64,
    /// What they may have together.
    pub limit: u64,
}

/// An instance did not fit beside the others; once one of them ends it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another instance beside those that run")]
pub struct NoRoom;

/// The memory of one container.
#[derive(Debug)]
pub struct MemoryBudget {
    used: AtomicU64,
    peak: AtomicU64,
    limit: AtomicU64,
    exceeded: AtomicBool,
    released: Notify,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            exceeded: AtomicBool::new(false),
            released: Notify::new(),
        }
    }

    /// Changes the limit; what is in use stays in use.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.released.notify_waiters();
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that ever was in use.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Whether a guest was ended for wanting too much.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Resolves when memory was given back after this call.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    fn take(&self, more: u64) -> Result<(), OutOfMemory> {
        let limit = self.limit.load(Ordering::Relaxed);
        let grown = |used: u64| used.checked_add(more).filter(|sum| *sum <= limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(before) => {
                self.peak.fetch_max(before + more, Ordering::Relaxed);
                Ok(())
            }
            Err(used) => Err(OutOfMemory { used, more, limit }),
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.released.notify_waiters();
    }
}

/// The limiter of one store: what its instance has goes back to the budget when the store ends.
#[derive(Debug)]
pub struct GuestLimiter {
    budget: Arc<MemoryBudget>,
    held: u64,
}

impl GuestLimiter {
    /// A limiter that draws on `budget`.
    pub fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, held: 0 }
    }
}

impl ResourceLimiter for GuestLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The guest's own bound: it learns of it as the language has it.
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        match self.budget.take(more) {
            Ok(()) => {
                self.held += more;
                Ok(true)
            }
            Err(error) if current == 0 && error.used > self.held => Err(NoRoom.into()),
            Err(error) => {
                self.budget.exceeded.store(true, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

impl Drop for GuestLimiter {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65_536;

    #[test]
    fn instances_share_a_limit_and_give_back_when_they_end() {
        let budget = Arc::new(MemoryBudget::new(Some(4 * PAGE as u64)));
        let mut first = GuestLimiter::new(budget.clone());
        let mut second = GuestLimiter::new(budget.clone());
        assert!(first.memory_growing(0, 3 * PAGE, None).expect("fits"));
        assert!(second.memory_growing(0, PAGE, None).expect("fits"));
        drop(second);
        assert_eq!((budget.used(), budget.peak()), (3 * PAGE as u64, 4 * PAGE as u64));
        assert!(!budget.exceeded());
    }

    #[test]
    fn a_grow_too_many_is_remembered_and_a_new_instance_waits_instead() {
        let budget = Arc::new(MemoryBudget::new(Some(2 * PAGE as u64)));
        let mut first = GuestLimiter::new(budget.clone());
        first.memory_growing(0, 2 * PAGE, None).expect("fits");
        let mut second = GuestLimiter::new(budget.clone());
        let error = second.memory_growing(0, PAGE, None).expect_err("full");
        assert!(error.is::<NoRoom>() && !budget.exceeded());
        let error = first.memory_growing(2 * PAGE, 3 * PAGE, None).expect_err("too much");
        assert!(error.is::<OutOfMemory>() && budget.exceeded());
    }

    #[test]
    fn an_instance_that_never_fits_is_out_of_memory_by_itself() {
        let budget = Arc::new(MemoryBudget::new(Some(PAGE as u64)));
        let mut only = GuestLimiter::new(budget.clone());
        assert!(only.memory_growing(0, 2 * PAGE, None).expect_err("too much").is::<OutOfMemory>());
        assert!(budget.exceeded());
    }

    #[test]
    fn a_guests_own_maximum_is_not_ours() {
        let mut limiter = GuestLimiter::new(Arc::new(MemoryBudget::new(None)));
        assert!(!limiter.memory_growing(0, 2 * PAGE, Some(PAGE)).expect("no error"));
    }
}
