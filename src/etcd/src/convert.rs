//! Between the protocol's messages and the store's words.

use bytes::Bytes;
use storage::{Event, EventKind, KeyRange, KeyValue};

use crate::{door::signed, pb};

/// A range as the protocol writes it: no end is one key, a zero byte is no upper bound.
pub(crate) fn key_range(start: Bytes, end: Bytes) -> KeyRange {
    KeyRange { start, end: (!end.is_empty()).then_some(end) }
}

/// A number of the protocol as the store has it; there are no negative ones.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl From<KeyValue> for pb::KeyValue {
    fn from(kv: KeyValue) -> Self {
        Self {
            key: kv.key,
            create_revision: signed(kv.create_revision),
            mod_revision: signed(kv.mod_revision),
            version: signed(kv.version),
            value: kv.value,
            lease: kv.lease,
        }
    }
}

/// An event, with what was before if the watch wants it.
pub(crate) fn event(event: &Event, prev_kv: bool) -> pb::Event {
    let kind = match event.kind {
        EventKind::Put => pb::event::EventType::Put,
        EventKind::Delete => pb::event::EventType::Delete,
    };
    pb::Event {
        r#type: kind.into(),
        kv: Some(event.kv.clone().into()),
        prev_kv: event.prev_kv.clone().filter(|_| prev_kv).map(Into::into),
    }
}
