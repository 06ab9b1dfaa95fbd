//! How long a Job waits before it makes another pod after failures. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::pod;

/// The first pause, which doubles with every failure, and the longest.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// The failures of a Job since a pod of it last succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    count: u32,
    last: Option<Timestamp>,
}

impl Failures {
    /// With pods that have ended since.
    pub fn with(&self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let success = succeeded.iter().filter_map(|pod| pod::finished_at(pod)).max();
        let times = failed.iter().filter_map(|pod| pod::finished_at(pod));
        let (before, later): (Self, Vec<_>) = match success {
            Some(success) => (Self::default(), times.filter(|time| *time > success).collect()),
            None => (*self, times.collect()),
        };
        let count = u32::try_from(later.len()).unwrap_or(u32::MAX);
        Self { count: before.count.saturating_add(count), last: later.into_iter().max().max(before.last) }
    }

    /// How long there is still to wait.
    pub fn wait(&self, now: Timestamp) -> Option<SignedDuration> {
        remaining(self.count, self.last?, now)
    }
}

/// How long the index of a failed pod has still to wait.
pub fn wait_after(failed: &Pod, now: Timestamp) -> Option<SignedDuration> {
    let count = u32::try_from(pod::failures_with(failed)).unwrap_or_default();
    remaining(count, pod::finished_at(failed)?, now)
}

fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    let doublings = failures.checked_sub(1)?;
    let pause = FIRST.checked_mul(2_i32.saturating_pow(doublings)).unwrap_or(LONGEST).min(LONGEST);
    let remaining = pause - now.duration_since(last);
    remaining.is_positive().then_some(remaining)
}
