//! The objects of one resource, in memory, and what happened to them lately.
//!
//! Lists and watches are answered from here. Watchers hold no queue of their own: each has a position in the shared
//! history and reads on when it is woken, so a thousand watchers cost no more memory than one, and one that falls behind
//! the history is told so (410 `Expired`) instead of holding the others up.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::entry::Entry;

/// Changes that are always remembered.
const HISTORY_MIN: usize = 256;
/// Changes that are remembered at most.
const HISTORY_MAX: usize = 20_000;
/// How long a change between the two is remembered.
const HISTORY_AGE: SignedDuration = SignedDuration::from_secs(90);

/// What happened to one object.
#[derive(Debug)]
pub struct Change {
    /// The revision at which it happened.
    pub revision: u64,
    /// The object as it is now, or as it was when it was deleted.
    pub entry: Arc<Entry>,
    /// The object before.
    pub before: Option<Arc<Entry>>,
    /// Whether it is gone.
    pub deleted: bool,
    at: Timestamp,
}

/// Which objects of a resource are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of one namespace.
    Namespace(String),
}

impl Scope {
    /// Whether the object under `key` is meant.
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => {
                key.strip_prefix(namespace.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
        }
    }

    /// What the keys of the objects begin with.
    pub fn prefix(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::Namespace(namespace) => format!("{namespace}/"),
        }
    }
}

/// The revision asked for is older than what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    /// The oldest revision from which a watch may start.
    pub oldest: u64,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Arc<Entry>>,
    history: VecDeque<Arc<Change>>,
    /// The position of the first remembered change.
    first: u64,
    /// Every change after this revision is remembered.
    since: u64,
    /// The revision of the last change.
    changed: u64,
}

/// One resource's part of the watch cache.
#[derive(Debug)]
pub struct ResourceCache {
    /// The API group it is stored under.
    pub group: String,
    /// Its plural name.
    pub resource: String,
    state: RwLock<State>,
    woken: watch::Sender<u64>,
}

/// A reader's position in the history.
#[derive(Debug)]
pub struct Cursor {
    cache: Arc<ResourceCache>,
    position: u64,
    after: u64,
    woken: watch::Receiver<u64>,
}

impl ResourceCache {
    /// An empty cache.
    pub fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            state: RwLock::default(),
            woken: watch::Sender::new(0),
        }
    }

    /// Takes in the first state of the store, read at `revision`.
    pub fn load(&self, entries: Vec<Entry>, revision: u64) {
        let mut state = self.state.write();
        state.objects = entries.into_iter().map(|entry| (entry.key.clone(), Arc::new(entry))).collect();
        state.since = revision;
        state.changed = state.objects.values().map(|entry| entry.revision).max().unwrap_or(0);
    }

    /// Takes in a written object.
    pub fn put(&self, entry: Entry, now: Timestamp) {
        let entry = Arc::new(entry);
        let mut state = self.state.write();
        let before = state.objects.insert(entry.key.clone(), entry.clone());
        state.remember(Change { revision: entry.revision, entry, before, deleted: false, at: now });
        drop(state);
        self.wake();
    }

    /// Takes in that the object under `key` went away at `revision`.
    pub fn delete(&self, key: &str, revision: u64, now: Timestamp) {
        let mut state = self.state.write();
        let Some(before) = state.objects.remove(key) else { return };
        let entry = Arc::new(before.gone(revision));
        state.remember(Change { revision, entry, before: Some(before), deleted: true, at: now });
        drop(state);
        self.wake();
    }

    /// The keys it holds, for comparing with the store after a gap.
    pub fn keys(&self) -> Vec<(String, u64)> {
        self.state.read().objects.values().map(|entry| (entry.key.clone(), entry.revision)).collect()
    }

    fn wake(&self) {
        self.woken.send_modify(|count| *count += 1);
    }

    /// The object under `key`.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().objects.get(key).cloned()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of `scope` from `start` on that `select` takes, in the order of their keys, and the revision of the
    /// resource's last change as of then.
    pub fn list(
        &self,
        scope: &Scope,
        start: Option<&str>,
        mut select: impl FnMut(&Entry) -> bool,
    ) -> (Vec<Arc<Entry>>, u64) {
        let state = self.state.read();
        let prefix = scope.prefix();
        let from = start.map_or_else(|| prefix.clone(), |start| format!("{prefix}{start}"));
        let objects = state
            .objects
            .range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(_, entry)| select(entry))
            .map(|(_, entry)| entry.clone())
            .collect();
        (objects, state.changed)
    }

    /// The revision of the last change.
    pub fn changed(&self) -> u64 {
        self.state.read().changed
    }

    /// A reader of everything that happens after `revision`.
    ///
    /// # Errors
    /// When some of it is forgotten already.
    pub fn follow(self: &Arc<Self>, revision: u64) -> Result<Cursor, TooOld> {
        let woken = self.woken.subscribe();
        let state = self.state.read();
        if revision < state.since {
            return Err(TooOld { oldest: state.since });
        }
        let skipped = state.history.partition_point(|change| change.revision <= revision);
        Ok(Cursor { cache: self.clone(), position: state.first + skipped as u64, after: revision, woken })
    }

    /// All objects of `scope` now, and a reader of everything that happens after.
    pub fn snapshot(self: &Arc<Self>, scope: &Scope) -> (Vec<Arc<Entry>>, Cursor) {
        let woken = self.woken.subscribe();
        let state = self.state.read();
        let objects = state.objects.values().filter(|entry| scope.contains(&entry.key)).cloned().collect();
        let position = state.first + state.history.len() as u64;
        (objects, Cursor { cache: self.clone(), position, after: state.changed, woken })
    }
}

impl State {
    fn remember(&mut self, change: Change) {
        let now = change.at;
        self.changed = change.revision;
        self.history.push_back(Arc::new(change));
        while self.history.len() > HISTORY_MIN {
            let Some(oldest) = self.history.front() else { break };
            if self.history.len() <= HISTORY_MAX && now.duration_since(oldest.at) < HISTORY_AGE {
                break;
            }
            self.since = oldest.revision;
            self.history.pop_front();
            self.first += 1;
        }
    }
}

impl Cursor {
    /// What happened since the last call, without waiting.
    ///
    /// # Errors
    /// When some of it is forgotten already: the reader was too slow.
    pub fn ready(&mut self, at_most: usize) -> Result<Vec<Arc<Change>>, TooOld> {
        let state = self.cache.state.read();
        let Some(offset) = self.position.checked_sub(state.first) else {
            return Err(TooOld { oldest: state.since });
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let changes: Vec<_> = state.history.iter().skip(offset).take(at_most).cloned().collect();
        drop(state);
        self.position += changes.len() as u64;
        let after = self.after;
        Ok(changes.into_iter().filter(|change| change.revision > after).collect())
    }

    /// The revision after which it reads.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Waits until something may have happened.
    pub async fn woken(&mut self) {
        // The sender lives in the cache that this cursor holds, so it cannot be gone.
        let _ = self.woken.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::encoding::encode;

    fn entry(key: &str, revision: u64) -> Entry {
        let object = json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":key}});
        let value: Bytes = encode(&object).stored().clone();
        Entry::read("", "configmaps", key.into(), value, revision).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_follower_sees_what_happens_after_its_revision_in_order() {
        let cache = Arc::new(ResourceCache::new("", "configmaps"));
        cache.load(vec![entry("a/x", 3)], 5);
        cache.put(entry("a/y", 6), at(0));
        let mut cursor = cache.follow(5).unwrap();
        cache.delete("a/x", 7, at(0));
        let seen = cursor.ready(10).unwrap();
        assert_eq!(
            seen.iter().map(|change| (change.revision, change.deleted)).collect::<Vec<_>>(),
            [(6, false), (7, true)]
        );
        assert_eq!(seen[1].entry.revision, 7, "a deletion carries its own revision");
        assert!(cursor.ready(10).unwrap().is_empty());
        assert_eq!(cache.follow(4).unwrap_err(), TooOld { oldest: 5 });
    }

    #[test]
    fn a_reader_behind_the_history_is_told_so() {
        let cache = Arc::new(ResourceCache::new("", "configmaps"));
        let mut cursor = cache.follow(0).unwrap();
        for revision in 1..=(HISTORY_MIN as u64 + 10) {
            cache.put(entry("a/x", revision), at(revision as i64 * 1000));
        }
        assert_eq!(cursor.ready(10).unwrap_err(), TooOld { oldest: 10 });
        assert!(cache.follow(10).is_ok());
    }

    #[test]
    fn a_namespace_is_not_the_prefix_of_another() {
        let cache = Arc::new(ResourceCache::new("", "configmaps"));
        cache.load(vec![entry("a/x", 1), entry("ab/x", 1), entry("a-b/x", 1)], 1);
        let (listed, _) = cache.list(&Scope::Namespace("a".into()), None, |_| true);
        assert_eq!(listed.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["a/x"]);
        let (listed, _) = cache.list(&Scope::All, Some("a/y"), |_| true);
        assert_eq!(listed.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["ab/x"], "from a key on");
    }

    #[tokio::test]
    async fn a_waiting_follower_is_woken_by_a_change() {
        let cache = Arc::new(ResourceCache::new("", "configmaps"));
        let mut cursor = cache.follow(0).unwrap();
        let writer = cache.clone();
        tokio::spawn(async move { writer.put(entry("a/x", 1), at(0)) });
        cursor.woken().await;
        assert_eq!(cursor.ready(1).unwrap().len(), 1);
    }
}
