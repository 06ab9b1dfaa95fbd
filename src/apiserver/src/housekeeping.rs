//! What keeps the store from growing for ever: events go after an hour. Old versions the store forgets by itself.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    cacher::{Entry, Scope},
    core::Core,
    keys,
    registry::commit::Mutation,
};

/// How long an event is kept after it was last seen.
const EVENT_AGE: SignedDuration = SignedDuration::from_hours(1);
/// Events deleted in one transaction.
const BATCH: usize = 256;

/// When an event was last seen.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let texts = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
    texts.iter().filter_map(|pointer| event.pointer(pointer)?.as_str()?.parse().ok()).max()
}

/// Deletes events when their time is over, for as long as the server runs. It sleeps until then, and while there is none.
pub async fn expire_events(core: Arc<Core>) {
    let Some(cache) = core.cacher.resource("", "events") else { return };
    let mut changes = cache.snapshot(&Scope::All).1;
    loop {
        let now = core.clock.now();
        let events: Vec<(Arc<Entry>, Timestamp)> = cache
            .list(&Scope::All, None, |_| true)
            .0
            .into_iter()
            .map(|entry| {
                // Decoded for this once: thousands of events need not stay decoded.
                let seen = last_seen(&entry.decode()).unwrap_or(now);
                (entry, seen.saturating_add(EVENT_AGE).unwrap_or(Timestamp::MAX))
            })
            .collect();
        let (over, kept): (Vec<_>, Vec<_>) = events.into_iter().partition(|(_, until)| *until <= now);
        for batch in over.chunks(BATCH) {
            let mut mutation = Mutation::default();
            for (entry, _) in batch {
                mutation.delete(keys::full("", "events", entry.namespace(), entry.name()));
            }
            if let Err(error) = mutation.commit(&core.store).await {
                tracing::warn!(%error, "events that are over could not be deleted");
            }
        }
        let next = kept.iter().map(|(_, until)| *until).min();
        drop(kept);
        match next {
            Some(next) => {
                let wait = next.duration_since(core.clock.now()).max(SignedDuration::from_secs(1));
                tokio::time::sleep(wait.unsigned_abs()).await;
            }
            None => changes.woken().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_as_old_as_its_last_sight() {
        let event = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": "2026-01-01T02:00:00Z",
            "eventTime": null, "series": {"lastObservedTime": "2026-01-01T01:00:00.000000Z"}});
        assert_eq!(last_seen(&event), Some("2026-01-01T02:00:00Z".parse().unwrap()));
        assert_eq!(last_seen(&json!({"metadata": {"name": "x"}})), None);
    }
}
