//! Pods that wait for a node: first the important, then the older; those that failed come back when something
//! changed, and no sooner than their back-off says.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::pod::PodInfo;

/// The first back-off. kube-scheduler waits a second; what is told by an event need not.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// The longest back-off, as kube-scheduler's.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Where a waiting pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In line.
    Active,
    /// Will be in line at its time.
    BackingOff,
    /// Waits for something to change.
    Unschedulable,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    until: Instant,
    ticket: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct InLine {
    priority: i32,
    ticket: u64,
    uid: String,
}

impl Ord for InLine {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority.cmp(&other.priority).then(other.ticket.cmp(&self.ticket))
    }
}

impl PartialOrd for InLine {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The waiting pods.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<String, Waiting>,
    active: BinaryHeap<InLine>,
    backing_off: BinaryHeap<Reverse<(Instant, String)>>,
    next_ticket: u64,
}

impl Queue {
    /// Takes in a pod that has no node, or what changed of it; a change brings it in line at once.
    pub fn put(&mut self, pod: Arc<PodInfo>, now: Instant) {
        let uid = pod.uid.clone();
        match self.pods.get_mut(&uid) {
            // Its own status, which the scheduler writes, is no reason to try again.
            Some(waiting) if waiting.pod.pod.spec == pod.pod.spec && waiting.pod.labels == pod.labels => {
                waiting.pod = pod;
            }
            Some(waiting) => {
                waiting.pod = pod;
                self.activate(&uid);
            }
            None => {
                self.next_ticket += 1;
                let ticket = self.next_ticket;
                self.pods.insert(uid.clone(), Waiting { pod, place: Place::Active, attempts: 0, until: now, ticket });
                self.activate(&uid);
            }
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// The pod whose turn it is.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.wake(now);
        while let Some(next) = self.active.pop() {
            if let Some(waiting) = self.pods.get_mut(&next.uid).filter(|waiting| waiting.place == Place::Active) {
                // It stays known while it is tried, so that changes of it are not taken for a new pod.
                waiting.place = Place::Unschedulable;
                waiting.attempts += 1;
                return Some(waiting.pod.clone());
            }
        }
        None
    }

    /// A pod that found no node waits for a change; one that failed for a passing reason (`retry`) for its back-off.
    pub fn failed(&mut self, uid: &str, retry: bool, now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.until = now + backoff(waiting.attempts);
        if retry && waiting.place == Place::Unschedulable {
            waiting.place = Place::BackingOff;
            self.backing_off.push(Reverse((waiting.until, uid.to_owned())));
        }
    }

    /// Something changed that may make room: every pod is tried again, each after its back-off.
    pub fn something_changed(&mut self, now: Instant) {
        for (uid, waiting) in &mut self.pods {
            if waiting.place == Place::Unschedulable {
                waiting.place = Place::BackingOff;
                self.backing_off.push(Reverse((waiting.until, uid.clone())));
            }
        }
        self.wake(now);
    }

    /// When the next pod comes in line by itself.
    pub fn next_wake(&self) -> Option<Instant> {
        self.backing_off.peek().map(|Reverse((until, _))| *until)
    }

    fn wake(&mut self, now: Instant) {
        while self.next_wake().is_some_and(|until| until <= now) {
            let Some(Reverse((_, uid))) = self.backing_off.pop() else { return };
            if self.pods.get(&uid).is_some_and(|waiting| waiting.place == Place::BackingOff) {
                self.activate(&uid);
            }
        }
    }

    fn activate(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.get_mut(uid) {
            waiting.place = Place::Active;
            self.active.push(InLine { priority: waiting.pod.priority, ticket: waiting.ticket, uid: uid.to_owned() });
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority, "containers": []}});
        Arc::new(PodInfo::new(Arc::new(from_value(pod).expect("a Pod"))))
    }

    #[test]
    fn the_important_come_first_and_then_the_older() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("old", 0), ("young", 0), ("important", 9)] {
            queue.put(pod(name, priority), now);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(now)).map(|pod| pod.name.clone()).collect();
        assert_eq!(order, ["important", "old", "young"]);
    }

    #[test]
    fn what_failed_waits_for_a_change_and_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0), now);
        let tried = queue.pop(now).expect("in line");
        queue.failed(&tried.uid, false, now);
        let later = now + LONGEST_BACKOFF;
        assert!(queue.pop(later).is_none(), "nothing has changed");
        queue.something_changed(now);
        assert!(queue.pop(now).is_none(), "it still backs off");
        assert_eq!(queue.next_wake(), Some(now + FIRST_BACKOFF));
        assert!(queue.pop(later).is_some());
    }

    #[test]
    fn a_change_of_the_pod_itself_brings_it_in_line_at_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("a", 0), now);
        queue.pop(now);
        queue.put(pod("a", 0), now);
        assert!(queue.pop(now).is_none(), "nothing of its spec changed");
        queue.put(pod("a", 1), now);
        assert!(queue.pop(now).is_some());
    }
}
