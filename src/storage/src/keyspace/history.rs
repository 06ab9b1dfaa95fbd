//! What happened since a revision, read back from the database.

use super::{Keyspace, layout::Position, view::View};
use crate::{Event, EventKind, KeyRange, StoreError, WatchBatch};

/// How many changes are looked at in one step, so that a long history neither blocks nor fills the memory.
const CHANGES_AT_ONCE: usize = 2048;
/// How many bytes of values are taken in one step.
const BYTES_AT_ONCE: usize = 1 << 20;

/// One step through history.
#[derive(Debug)]
pub(crate) struct Replay {
    /// What happened, by revision.
    pub batches: Vec<WatchBatch>,
    /// The revision that the next step begins with.
    pub next: u64,
}

impl Keyspace {
    /// The events in `range` from the revision `from` on, as many as one step takes.
    pub(crate) fn replay(&self, range: &KeyRange, from: u64) -> Result<Replay, StoreError> {
        let until = self.revision();
        let view = View::new(&self.inner.database);
        let compacted = self.compacted_revision();
        if from < compacted {
            return Err(StoreError::Compacted { requested: from, compacted });
        }
        let mut step = Step { batches: Vec::new(), revision: 0, events: Vec::new() };
        let (mut changes, mut bytes, mut next) = (0, 0, until + 1);
        let mut cursor = view.changes(Position::first(from));
        while let Some((key, value)) = cursor.item() {
            let position = Position::read(key)?;
            if position.revision > until {
                break;
            }
            let full = changes >= CHANGES_AT_ONCE || bytes >= BYTES_AT_ONCE;
            if full && position.number == 0 {
                next = position.revision;
                break;
            }
            let change = super::layout::Change::decode(position.revision, value)?;
            changes += 1;
            if range.contains(&change.kv.key) {
                // What was before the compacted revision is forgotten, even if some of it is still on the disk.
                let known = position.revision > compacted;
                let prev_kv = if known { view.get(&change.kv.key, position.revision - 1)? } else { None };
                bytes += change.kv.value.len() + prev_kv.as_ref().map_or(0, |kv| kv.value.len());
                let kind = if change.deleted { EventKind::Delete } else { EventKind::Put };
                step.push(Event { kind, kv: change.kv, prev_kv });
            }
            cursor.next();
        }
        cursor.status().map_err(|error| self.inner.database.explain(&error))?;
        step.close();
        Ok(Replay { batches: step.batches, next: next.max(from) })
    }
}

/// Gathers events into batches.
struct Step {
    batches: Vec<WatchBatch>,
    revision: u64,
    events: Vec<Event>,
}

impl Step {
    fn push(&mut self, event: Event) {
        if event.kv.mod_revision != self.revision {
            self.close();
            self.revision = event.kv.mod_revision;
        }
        self.events.push(event);
    }

    fn close(&mut self) {
        if !self.events.is_empty() {
            let events = std::mem::take(&mut self.events).into();
            self.batches.push(WatchBatch { revision: self.revision, events });
        }
    }
}
