//! Kubernetes' back-off: a first failure is retried at once, later ones after 10 s, 20 s, … 5 min; ten good minutes
//! forget them.

use std::{collections::HashMap, hash::Hash, time::Duration};

use jiff::{SignedDuration, Timestamp};

/// The back-off of a kubelet's container restarts and image pulls.
pub const DELAY_FIRST: Duration = Duration::from_secs(10);
/// The longest time between two attempts.
pub const DELAY_MAX: Duration = Duration::from_secs(300);

/// How long each of a set of failing things still waits. Pure: the caller says what time it is.
#[derive(Debug)]
pub struct Backoff<K> {
    entries: HashMap<K, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// How long `key`, which failed at `failed`, must still wait at `now`; `None` when it may go on.
    pub fn remaining<Q>(&self, key: &Q, failed: Timestamp, now: Timestamp) -> Option<Duration>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.entries.get(key)?;
        if self.is_stale(entry, failed) {
            return None;
        }
        let waited = Duration::try_from(now.duration_since(failed)).unwrap_or_default();
        entry.delay.checked_sub(waited).filter(|rest| !rest.is_zero())
    }

    /// The delay that is in force for `key`.
    pub fn delay<Q>(&self, key: &Q) -> Duration
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).map_or(DELAY_FIRST, |entry| entry.delay)
    }

    /// Notes that `key`, which failed at `failed`, is tried again at `now`: its next failure waits longer.
    pub fn next(&mut self, key: K, failed: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(&key) {
            Some(entry) if !self.is_stale(entry, failed) => (entry.delay * 2).min(DELAY_MAX),
            _ => DELAY_FIRST,
        };
        self.entries.insert(key, Entry { delay, updated: now });
    }

    /// Forgets `key`.
    pub fn forget<Q>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.remove(key);
    }

    /// It ran well for twice the longest delay before it failed.
    fn is_stale(&self, entry: &Entry, failed: Timestamp) -> bool {
        let max = SignedDuration::try_from(DELAY_MAX).unwrap_or(SignedDuration::MAX);
        failed.duration_since(entry.updated) > max.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_twice_as_long() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.remaining("c", at(100), at(100)), None);
        backoff.next("c".to_owned(), at(100), at(100));
        assert_eq!(backoff.remaining("c", at(101), at(101)), Some(Duration::from_secs(10)));
        assert_eq!(backoff.remaining("c", at(101), at(111)), None);
        let mut failed = 111;
        for delay in [20, 40, 80, 160, 300, 300] {
            backoff.next("c".to_owned(), at(failed), at(failed));
            assert_eq!(backoff.remaining("c", at(failed), at(failed)), Some(Duration::from_secs(delay)));
            failed += i64::try_from(delay).expect("a small number");
        }
    }

    #[test]
    fn ten_good_minutes_are_a_new_start() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next("c".to_owned(), at(0), at(0));
        }
        assert!(backoff.remaining("c", at(600), at(600)).is_some());
        assert_eq!(backoff.remaining("c", at(601), at(601)), None);
        backoff.next("c".to_owned(), at(601), at(601));
        assert_eq!(backoff.delay("c"), Duration::from_secs(10));
    }
}
