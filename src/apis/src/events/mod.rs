//! Kinds of `events.k8s.io`: the events of the core group under other names.

use crate::{core::event, kind::Kind};

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Event" => &event::EVENTS,
        _ => return None,
    })
}
