//! Which occurrences become events, and which an earlier event's count. Pure.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;

use super::Severity;

/// From that many similar ones within ten minutes, they become one event with a common message.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// A component may say that much about an object at once, and then a thing every five minutes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// So much is remembered; the oldest half is forgotten beyond that.
const REMEMBERED_MAX: usize = 4_096;

/// One thing that happened.
#[derive(Debug, Clone)]
pub(super) struct Occurrence {
    pub object: ObjectReference,
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
    pub at: Timestamp,
    pub component: &'static str,
}

/// What to do with an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: the object says too much.
    Drop,
    /// A new event.
    Create { name: String, key: String, message: String },
    /// An event that is there happened again.
    Repeat { name: String, key: String, message: String, count: i32 },
}

#[derive(Debug, Default)]
pub(super) struct Correlator {
    budgets: HashMap<String, (f64, Timestamp)>,
    similar: HashMap<String, Similar>,
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

impl Correlator {
    pub(super) fn observe(&mut self, occurrence: &Occurrence) -> Decision {
        let now = occurrence.at;
        let object = object_key(occurrence);
        let similar_key = format!("{object}/{}/{}", occurrence.severity.as_str(), occurrence.reason);
        let similar =
            self.similar.entry(similar_key.clone()).or_insert_with(|| Similar { messages: HashSet::new(), last: now });
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(occurrence.message.clone());
        let (key, message) = if similar.messages.len() >= SIMILAR_MAX {
            similar.messages.remove(&occurrence.message);
            (similar_key, format!("(combined from similar events): {}", occurrence.message))
        } else {
            (format!("{similar_key}/{}", occurrence.message), occurrence.message.clone())
        };
        if !self.may_speak(&object, now) {
            return Decision::Drop;
        }
        let decision = match self.known.get_mut(&key) {
            Some(known) => {
                known.count += 1;
                known.last = now;
                Decision::Repeat { name: known.name.clone(), key, message, count: known.count }
            }
            None => {
                let name = event_name(occurrence);
                self.known.insert(key.clone(), Known { name: name.clone(), count: 1, last: now });
                Decision::Create { name, key, message }
            }
        };
        self.forget_oldest();
        decision
    }

    /// The event was not written, or is gone.
    pub(super) fn forget(&mut self, key: &str) {
        self.known.remove(key);
    }

    fn may_speak(&mut self, object: &str, now: Timestamp) -> bool {
        let (budget, since) = self.budgets.entry(object.to_owned()).or_insert((BURST, now));
        let refilled = now.duration_since(*since).as_secs_f64().max(0.0) / REFILL_SECONDS;
        *budget = (*budget + refilled).min(BURST);
        *since = now;
        if *budget < 1.0 {
            return false;
        }
        *budget -= 1.0;
        true
    }

    fn forget_oldest(&mut self) {
        fn halve<T>(map: &mut HashMap<String, T>, last: impl Fn(&T) -> Timestamp) {
            if map.len() > REMEMBERED_MAX {
                let mut times: Vec<Timestamp> = map.values().map(&last).collect();
                times.sort_unstable();
                let middle = times[times.len() / 2];
                map.retain(|_, value| last(value) > middle);
            }
        }
        halve(&mut self.known, |known| known.last);
        halve(&mut self.similar, |similar| similar.last);
        halve(&mut self.budgets, |(_, since)| *since);
    }
}

fn object_key(occurrence: &Occurrence) -> String {
    let object = &occurrence.object;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let parts = [&object.kind, &object.namespace, &object.name, &object.uid, &object.field_path].map(part);
    format!("{}/{}", occurrence.component, parts.join("/"))
}

/// The object's name and the moment, as Kubernetes names events.
pub(super) fn event_name(occurrence: &Occurrence) -> String {
    let name = occurrence.object.name.as_deref().unwrap_or("object");
    format!("{name}.{:x}", occurrence.at.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str, second: i64) -> Occurrence {
        Occurrence {
            object: ObjectReference { name: Some("p".to_owned()), uid: Some("u".to_owned()), ..Default::default() },
            severity: Severity::Normal,
            reason: "SuccessfulCreate",
            message: message.to_owned(),
            at: Timestamp::from_second(second).expect("a small number of seconds"),
            component: "replicaset-controller",
        }
    }

    #[test]
    fn repeated_events_are_counted_similar_ones_combined_and_floods_dropped() {
        let mut correlator = Correlator::default();
        let Decision::Create { name, .. } = correlator.observe(&occurrence("created 0", 1)) else { panic!("new") };
        let repeated = correlator.observe(&occurrence("created 0", 2));
        assert!(matches!(repeated, Decision::Repeat { name: same, count: 2, .. } if same == name));
        let rest: Vec<_> = (1..30).map(|n| correlator.observe(&occurrence(&format!("created {n}"), 2))).collect();
        assert!(matches!(&rest[7], Decision::Create { message, .. } if message == "created 8"));
        assert!(matches!(&rest[8], Decision::Create { message, .. } if message.starts_with("(combined")));
        assert!(matches!(&rest[9], Decision::Repeat { count: 2, .. }));
        assert_eq!(rest[28], Decision::Drop);
        assert!(!matches!(correlator.observe(&occurrence("late", 400)), Decision::Drop), "five minutes later it may");
    }
}
