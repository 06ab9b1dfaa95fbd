//! What a container's guests compute, measured, and how much they may.
//!
//! [`Metered`] wraps the future that runs a guest. Each time it is polled it takes the thread's own CPU clock before
//! and after; since a guest gives way at every tick, a poll is a slice of about a millisecond. What was used is taken
//! from the container's [`Bucket`]; while that is empty the future is not polled.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep};

use crate::ticker::{Activity, TICK};

/// A quota's tokens: nanoseconds of a core, refilled with time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Cores, for example 0.1.
    rate: f64,
    /// The most that can be saved up, in nanoseconds.
    burst: f64,
    tokens: f64,
}

impl Bucket {
    /// As Linux' `cpu.max`: `quota` of every `period`. A period's quota can be used at once.
    pub fn new(quota: Duration, period: Duration) -> Self {
        let burst = quota.as_nanos() as f64;
        Self { rate: burst / period.as_nanos().max(1) as f64, burst, tokens: burst }
    }

    /// Adds what `elapsed` brought.
    pub fn refill(&mut self, elapsed: Duration) {
        self.tokens = (self.tokens + self.rate * elapsed.as_nanos() as f64).min(self.burst);
    }

    /// Takes what was used; it may go below nothing, and is then waited for.
    pub fn take(&mut self, used: Duration) {
        self.tokens -= used.as_nanos() as f64;
    }

    /// How long until there is something to use again.
    pub fn wait(&self) -> Option<Duration> {
        if self.tokens > 0.0 {
            return None;
        }
        // One slice's worth, or all that can be saved, so that a wait is not followed by an instant of work.
        let wanted = (TICK.as_nanos() as f64).min(self.burst);
        let nanoseconds = (wanted - self.tokens) / self.rate.max(1e-6);
        Some(Duration::from_nanos(nanoseconds as u64).max(TICK))
    }
}

/// The meter of one container.
#[derive(Debug)]
pub struct Meter {
    used_ns: AtomicU64,
    quota: Mutex<Option<(Bucket, Instant)>>,
    activity: Arc<Activity>,
}

impl Meter {
    /// A meter without a quota.
    pub fn new(activity: Arc<Activity>) -> Self {
        Self { used_ns: AtomicU64::new(0), quota: Mutex::new(None), activity }
    }

    /// Sets or takes away the quota.
    pub fn set_quota(&self, quota: Option<Bucket>) {
        *self.quota.lock() = quota.map(|bucket| (bucket, Instant::now()));
    }

    /// What was used since the start, in nanoseconds of a core.
    pub fn used_ns(&self) -> u64 {
        self.used_ns.load(Ordering::Relaxed)
    }

    fn wait(&self) -> Option<Duration> {
        let mut quota = self.quota.lock();
        let (bucket, last) = quota.as_mut()?;
        let now = Instant::now();
        bucket.refill(now.duration_since(*last));
        *last = now;
        bucket.wait()
    }

    fn take(&self, used: Duration) {
        self.used_ns.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some((bucket, _)) = self.quota.lock().as_mut() {
            bucket.take(used);
        }
    }
}

/// A guest's future under its container's meter.
#[derive(Debug)]
pub struct Metered<F> {
    guest: Pin<Box<F>>,
    meter: Arc<Meter>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Metered<F> {
    /// Runs `guest` under `meter`.
    pub fn new(meter: Arc<Meter>, guest: F) -> Self {
        Self { guest: Box::pin(guest), meter, pause: None }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            match this.meter.wait() {
                Some(wait) => this.pause = Some(Box::pin(tokio::time::sleep(wait))),
                None => break,
            }
        }
        let before = thread_time();
        let computing = this.meter.activity.enter();
        let outcome = this.guest.as_mut().poll(context);
        drop(computing);
        this.meter.take(thread_time().saturating_sub(before));
        outcome
    }
}

/// What this thread has computed so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_full_bucket_serves_a_burst_and_then_makes_wait() {
        let mut bucket = Bucket::new(10 * MS, 100 * MS);
        bucket.take(9 * MS);
        assert_eq!(bucket.wait(), None);
        bucket.take(2 * MS);
        let wait = bucket.wait().expect("it is in debt");
        assert!((19 * MS..21 * MS).contains(&wait), "{wait:?}");
        bucket.refill(wait);
        assert_eq!(bucket.wait(), None);
    }

    #[test]
    fn saved_up_tokens_are_bounded() {
        let mut bucket = Bucket::new(10 * MS, 100 * MS);
        bucket.refill(Duration::from_secs(3600));
        bucket.take(11 * MS);
        assert!(bucket.wait().is_some());
    }

    proptest! {
        #[test]
        fn over_time_no_more_than_the_quota_is_used(quota_ms in 1u64..400, slices in prop::collection::vec(1u64..3000, 200..400)) {
            let mut bucket = Bucket::new(Duration::from_millis(quota_ms), 100 * MS);
            let (mut now, mut used) = (Duration::ZERO, Duration::ZERO);
            for slice in slices {
                if let Some(wait) = bucket.wait() {
                    now += wait;
                    bucket.refill(wait);
                }
                let slice = Duration::from_micros(slice);
                bucket.take(slice);
                used += slice;
                now += slice;
                bucket.refill(slice);
            }
            let allowed = now.as_secs_f64() * quota_ms as f64 / 100.0 + quota_ms as f64 / 1000.0 + 0.004;
            prop_assert!(used.as_secs_f64() <= allowed, "{used:?} in {now:?}");
        }
    }

    #[tokio::test]
    async fn what_a_guest_computes_is_counted() {
        let meter = Arc::new(Meter::new(Arc::default()));
        let spin = async {
            let before = thread_time();
            while thread_time() - before < 5 * MS {}
        };
        Metered::new(meter.clone(), spin).await;
        assert!(meter.used_ns() >= 5_000_000, "{}", meter.used_ns());
    }
}
