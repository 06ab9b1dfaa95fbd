//! Which occurrences become events of their own, and which an earlier event's count, as client-go's event correlator decides it. Pure.
//!
//! ```text
//!   the tenth message of one reason about one object within ten minutes ──► one event for that and what follows
//!   the same again                                                       ──► the count of the event that is there
//!   more than 25 at once, then one in five minutes, about one object     ──► dropped (and counted)
//! ```
//!
//! Of each the last 4,096 that were heard of are remembered.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

/// From that many different messages on, within that time, they become one event.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// A component may say that much about an object at once, and then a thing every five minutes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
const REMEMBERED_MAX: usize = 4_096;
/// Kubernetes refuses longer messages.
const MESSAGE_MAX: usize = 1_024;

/// `Normal` or `Warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// `message`, cut to what Kubernetes takes.
pub fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX) {
        message.truncate(end);
    }
    message
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// Who says so: the component, and its host if it has one.
    pub source: [&'a str; 2],
    /// What it happened to: API version, kind, namespace, name and uid.
    pub object: [&'a str; 5],
    /// To which part of that, or nothing.
    pub field_path: &'a str,
    /// `Normal` or `Warning`.
    pub severity: &'a str,
    /// What it was, in a word.
    pub reason: &'a str,
    /// What it was.
    pub message: &'a str,
    /// When.
    pub at: Timestamp,
}

/// An event as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// What it says.
    pub message: String,
    /// How often it happened; the first time it is created.
    pub count: i32,
    /// When it happened first.
    pub first: Timestamp,
}

/// Remembers what was said.
#[derive(Debug)]
pub struct Correlator {
    similar: Recent<Similar>,
    written: Recent<Written>,
    budgets: Recent<Budget>,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Budget {
    left: f64,
    since: Timestamp,
}

impl Default for Correlator {
    fn default() -> Self {
        Self {
            similar: Recent::new(REMEMBERED_MAX),
            written: Recent::new(REMEMBERED_MAX),
            budgets: Recent::new(REMEMBERED_MAX),
        }
    }
}

impl Correlator {
    /// What is to be written of an occurrence; `None` when its source says too much about its object.
    pub fn observe(&mut self, occurrence: &Occurrence<'_>) -> Option<Written> {
        let (key, message) = self.combine(occurrence);
        // What is dropped is counted too, so that the count is right when there is one again.
        let written = self.written.entry(key, || Written {
            name: event_name(occurrence),
            message: String::new(),
            count: 0,
            first: occurrence.at,
        });
        written.count = written.count.saturating_add(1);
        written.message = message;
        let written = written.clone();
        self.may_speak(occurrence).then_some(written)
    }

    /// Under which key an occurrence is counted, and what it says there.
    fn combine(&mut self, occurrence: &Occurrence<'_>) -> (String, String) {
        let Occurrence { source, object, severity, reason, message, at, .. } = *occurrence;
        let kind = join(&[&source, &object, &[severity, reason]]);
        let similar = self.similar.entry(kind.clone(), || Similar { messages: HashSet::new(), last: at });
        if at.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = at;
        similar.messages.insert(message.to_owned());
        if similar.messages.len() < SIMILAR_MAX {
            return (join(&[&[&kind, occurrence.field_path, message]]), message.to_owned());
        }
        similar.messages.remove(message);
        (kind, format!("(combined from similar events): {message}"))
    }

    fn may_speak(&mut self, occurrence: &Occurrence<'_>) -> bool {
        let (key, now) = (join(&[&occurrence.source, &occurrence.object]), occurrence.at);
        let budget = self.budgets.entry(key, || Budget { left: BURST, since: now });
        let refilled = now.duration_since(budget.since).as_secs_f64().max(0.0) / REFILL_SECONDS;
        budget.left = (budget.left + refilled).min(BURST);
        budget.since = now;
        if budget.left < 1.0 {
            return false;
        }
        budget.left -= 1.0;
        true
    }
}

fn join(parts: &[&[&str]]) -> String {
    parts.concat().join("\n")
}

/// The object's name and the moment, as Kubernetes names events.
fn event_name(occurrence: &Occurrence<'_>) -> String {
    let [_, _, _, name, _] = occurrence.object;
    format!("{name}.{:x}", occurrence.at.as_nanosecond())
}

/// The values that were asked for last, by key.
#[derive(Debug)]
struct Recent<V> {
    values: HashMap<String, (u64, V)>,
    order: BTreeMap<u64, String>,
    asked: u64,
    most: usize,
}

impl<V> Recent<V> {
    fn new(most: usize) -> Self {
        Self { values: HashMap::new(), order: BTreeMap::new(), asked: 0, most }
    }

    /// The value at `key`, which is now the last that is forgotten.
    fn entry(&mut self, key: String, make: impl FnOnce() -> V) -> &mut V {
        self.asked += 1;
        let asked = self.asked;
        match self.values.get(&key) {
            Some((before, _)) => {
                self.order.remove(before);
            }
            None if self.values.len() >= self.most => {
                if let Some((_, oldest)) = self.order.pop_first() {
                    self.values.remove(&oldest);
                }
            }
            None => {}
        }
        self.order.insert(asked, key.clone());
        let (at, value) = self.values.entry(key).or_insert_with(|| (asked, make()));
        *at = asked;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str, second: i64) -> Occurrence<'_> {
        Occurrence {
            source: ["kubelet", "n"],
            object: ["v1", "Pod", "default", "p", "u"],
            field_path: "",
            severity: "Warning",
            reason: "Unhealthy",
            message,
            at: Timestamp::from_second(second).expect("a small number of seconds"),
        }
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut correlator = Correlator::default();
        let first = correlator.observe(&occurrence("failed", 1)).expect("it is new");
        assert_eq!((first.name.as_str(), first.count), ("p.3b9aca00", 1));
        let second = correlator.observe(&occurrence("failed", 2)).expect("it may");
        assert_eq!(second, Written { count: 2, ..first.clone() });
        let container = Occurrence { field_path: "spec.containers{c}", ..occurrence("failed", 3) };
        assert_eq!(
            correlator.observe(&container).map(|written| written.count),
            Some(1),
            "another part is another event"
        );
        let other = Occurrence { source: ["kubelet", "m"], ..occurrence("failed", 3) };
        assert_eq!(correlator.observe(&other).map(|written| written.count), Some(1), "another source too");
    }

    #[test]
    fn from_the_tenth_message_on_they_become_one_until_it_is_quiet_for_ten_minutes() {
        let mut correlator = Correlator::default();
        let messages: Vec<_> = (0..14).map(|n| format!("failed {n}")).collect();
        let mut said = messages.iter().map(|message| correlator.observe(&occurrence(message, 1)).expect("it may"));
        assert_eq!(said.nth(8).map(|written| (written.message, written.count)), Some(("failed 8".to_owned(), 1)));
        let combined = said.next().expect("the tenth");
        assert_eq!((combined.message.as_str(), combined.count), ("(combined from similar events): failed 9", 1));
        let next = said.next().expect("the eleventh");
        assert_eq!((next.name, next.count), (combined.name, 2));
        assert_eq!(next.message, "(combined from similar events): failed 10");
        drop(said);
        let still = correlator.observe(&occurrence("failed 20", 601)).expect("it may");
        assert_eq!(still.count, 3);
        let anew = correlator.observe(&occurrence("failed 21", 1202)).expect("it may");
        assert_eq!((anew.message.as_str(), anew.count), ("failed 21", 1));
    }

    #[test]
    fn who_says_too_much_about_an_object_is_heard_every_five_minutes_with_the_right_count() {
        let mut correlator = Correlator::default();
        let heard = (0..40).filter(|_| correlator.observe(&occurrence("failed", 1)).is_some()).count();
        assert_eq!(heard, 25);
        let part = Occurrence { field_path: "spec.containers{c}", ..occurrence("failed", 1) };
        assert_eq!(correlator.observe(&part), None, "its parts are not other objects");
        assert_eq!(correlator.observe(&occurrence("failed", 300)), None);
        assert_eq!(correlator.observe(&occurrence("failed", 302)).map(|written| written.count), Some(42));
        assert_eq!(correlator.observe(&occurrence("failed", 303)), None);
        let other = Occurrence { object: ["v1", "Pod", "default", "q", "v"], ..occurrence("failed", 303) };
        assert!(correlator.observe(&other).is_some());
    }

    #[test]
    fn what_was_not_heard_of_for_longest_is_forgotten() {
        let mut recent = Recent::new(2);
        *recent.entry("a".to_owned(), || 0) += 1;
        *recent.entry("b".to_owned(), || 0) += 1;
        *recent.entry("a".to_owned(), || 0) += 1;
        recent.entry("c".to_owned(), || 0);
        assert_eq!(*recent.entry("a".to_owned(), || 0), 2);
        assert_eq!(*recent.entry("b".to_owned(), || 0), 0, "it gave way to c");
        assert_eq!((recent.values.len(), recent.order.len()), (2, 2));
    }
}
