//! Work queues: a key is in line once, is worked on by one worker at a time, and comes back after a failure when its
//! back-off says.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use component_base::SharedClock;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// The first back-off after a failure, which doubles up to the longest: those of client-go.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1000);

/// A queue that handlers fill and workers empty.
pub struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    line: Mutex<Line<T>>,
    changed: Notify,
    clock: SharedClock,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Debug + Eq + Hash + Ord> Queue<T> {
    /// An empty queue; `clock` is what [`Queue::add_at`] speaks of.
    pub fn new(clock: SharedClock) -> Self {
        Self(Arc::new(Shared { line: Mutex::new(Line::default()), changed: Notify::new(), clock }))
    }

    /// In line, unless it is already; what is being worked on comes again afterwards.
    pub fn add(&self, key: T) {
        if self.0.line.lock().add(key) {
            self.0.changed.notify_one();
        }
    }

    /// In line after `delay`; of several, the soonest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.0.line.lock().add_at(key, Instant::now() + delay);
        self.0.changed.notify_one();
    }

    /// In line when the clock shows `time`.
    pub fn add_at(&self, key: T, time: Timestamp) {
        let delay = time.duration_since(self.0.clock.now());
        self.add_after(key, Duration::try_from(delay).unwrap_or_default());
    }

    /// In line after its back-off, which grows with every call until [`Queue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let delay = self.0.line.lock().backoff(&key);
        self.add_after(key, delay);
    }

    /// How often in a row it has been added rate-limited.
    pub fn failures(&self, key: &T) -> u32 {
        self.0.line.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// It succeeded: the next back-off is the first again.
    pub fn forget(&self, key: &T) {
        self.0.line.lock().failures.remove(key);
    }

    /// The next key, which is the caller's until [`Queue::done`].
    pub async fn get(&self) -> T {
        loop {
            let changed = self.0.changed.notified();
            let (key, wake) = {
                let mut line = self.0.line.lock();
                (line.get(Instant::now()), line.next_wake())
            };
            if let Some(key) = key {
                // More may be in line: another worker looks too.
                self.0.changed.notify_one();
                return key;
            }
            tokio::select! {
                () = changed => {}
                () = until(wake) => {}
            }
        }
    }

    /// The caller has worked on it.
    pub fn done(&self, key: &T) {
        if self.0.line.lock().done(key) {
            self.0.changed.notify_one();
        }
    }

    /// How many keys are in line.
    pub fn len(&self) -> usize {
        self.0.line.lock().ready.len()
    }

    /// Whether no key is in line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

struct Line<T> {
    ready: VecDeque<T>,
    /// In line, or to come again when it is done.
    dirty: HashSet<T>,
    working: HashSet<T>,
    waiting: BinaryHeap<Reverse<(Instant, T)>>,
    wakes: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
}

impl<T: Ord> Default for Line<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            waiting: BinaryHeap::new(),
            wakes: HashMap::new(),
            failures: HashMap::new(),
        }
    }
}

impl<T: Clone + Debug + Eq + Hash + Ord> Line<T> {
    /// Whether a worker should look.
    fn add(&mut self, key: T) -> bool {
        if !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn add_at(&mut self, key: T, time: Instant) {
        if self.wakes.get(&key).is_some_and(|sooner| *sooner <= time) {
            return;
        }
        self.wakes.insert(key.clone(), time);
        self.waiting.push(Reverse((time, key)));
    }

    fn get(&mut self, now: Instant) -> Option<T> {
        while self.next_wake().is_some_and(|time| time <= now) {
            let Some(Reverse((time, key))) = self.waiting.pop() else { break };
            if self.wakes.get(&key) == Some(&time) {
                self.wakes.remove(&key);
                self.add(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: &T) -> bool {
        self.working.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.ready.push_back(key.clone());
        }
        again
    }

    fn next_wake(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((time, _))| *time)
    }

    fn backoff(&mut self, key: &T) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(*failures)).min(LONGEST_BACKOFF);
        *failures = failures.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use component_base::SystemClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_is_in_line_once_and_comes_again_when_it_changed_meanwhile() {
        let (mut line, now) = (Line::default(), Instant::now());
        assert!(line.add("a") && !line.add("a"));
        assert_eq!(line.get(now), Some("a"));
        assert!(!line.add("a"), "another worker must not take it now");
        assert_eq!(line.get(now), None);
        assert!(line.done(&"a"));
        assert_eq!((line.get(now), line.done(&"a")), (Some("a"), false));
    }

    #[test]
    fn of_several_delays_the_soonest_counts() {
        let (mut line, now) = (Line::default(), Instant::now());
        for seconds in [9, 2, 5] {
            line.add_at("a", now + SECOND * seconds);
        }
        assert_eq!(line.get(now + SECOND), None);
        assert_eq!(line.get(now + SECOND * 2), Some("a"));
        line.done(&"a");
        assert_eq!(line.get(now + SECOND * 60), None, "once is enough");
    }

    #[test]
    fn back_off_doubles_up_to_its_end() {
        let mut line = Line::default();
        let delays: Vec<_> = (0..40).map(|_| line.backoff(&"a")).collect();
        assert_eq!(delays[..3], [5, 10, 20].map(Duration::from_millis));
        assert_eq!(delays[39], LONGEST_BACKOFF);
        line.failures.remove("a");
        assert_eq!(line.backoff(&"a"), FIRST_BACKOFF);
    }

    #[tokio::test]
    async fn workers_wait_until_there_is_something() {
        let queue = Queue::new(std::sync::Arc::new(SystemClock));
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { [queue.get().await, queue.get().await] }
        });
        queue.add_after("late", Duration::from_millis(20));
        queue.add("early");
        let got = tokio::time::timeout(SECOND * 10, worker).await.expect("in time").expect("no panic");
        assert_eq!(got, ["early", "late"]);
    }
}
