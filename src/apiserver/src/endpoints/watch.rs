//! `watch`: what happens to a resource's objects, as it happens.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Response, header};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Answer, Context, Presenter, list, options::ListOptions, selectors::Selection};
use crate::{
    cacher::{Cacher, Change, Cursor, Entry, Scope, TooOld},
    core::Core,
    fail,
    resources::Resource,
};

/// A watch without a timeout of its own lasts between this and twice this.
const LAST_MIN: Duration = Duration::from_secs(1800);
/// How often a quiet watch is told how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Changes read from the history at once.
const CHANGES_AT_ONCE: usize = 256;
/// Bytes sent at once.
const CHUNK: usize = 64 * 1024;

/// Answers with a stream of events.
pub async fn watch(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let options = ListOptions::of(&context.uri, true)?;
    let selection = Selection::of(resource, &options)?;
    let scope = resource.scope_of(&context.info);
    let wanted = match &options.resource_version {
        None => None,
        Some(version) => Some(list::parse_version(version).map_err(|why| Box::new(fail::unknown(why)))?),
    };
    let cache = resource.cache(&core.cacher);
    let initial_events = options.send_initial_events.unwrap_or(matches!(wanted, None | Some(0)));
    let (initial, initial_revision, cursor) = if initial_events {
        match wanted {
            None => core.cacher.fresh().await?,
            Some(revision) => core.cacher.reach(revision).await?,
        };
        // Read before the objects: what they hold is at least this new.
        let revision = core.cacher.revision();
        let (entries, cursor) = cache.snapshot(&scope);
        (entries, revision.max(cursor.after()), Ok(cursor))
    } else {
        let from = match wanted {
            None | Some(0) => core.cacher.fresh().await?,
            Some(revision) => revision,
        };
        (Vec::new(), from, cache.follow(from).map_err(|TooOld { oldest }| fail::too_old(from, oldest)))
    };
    let cursor = match cursor {
        Ok(cursor) => cursor,
        Err(expired) => return Ok(streamed(Body::from(error_event(&expired)))),
    };
    let lasts = options.timeout_seconds.filter(|seconds| *seconds > 0).map_or_else(
        || {
            let mut byte = [0; 2];
            core.entropy.fill(&mut byte);
            LAST_MIN + LAST_MIN.mul_f64(f64::from(u16::from_be_bytes(byte)) / f64::from(u16::MAX))
        },
        Duration::from_secs,
    );
    let watching = Watching {
        cacher: core.cacher.clone(),
        presenter,
        selection,
        scope,
        cursor,
        initial: Some(initial),
        initial_revision,
        announce_initial_end: options.send_initial_events == Some(true) && options.allow_watch_bookmarks,
        bookmarks: options.allow_watch_bookmarks,
        ends: Instant::now() + lasts,
        bookmark_at: Instant::now() + BOOKMARK_EVERY,
        stopping: core.tasks.stopping(),
        first: true,
        ended: false,
    };
    let chunks = stream::unfold(watching, |mut watching| async move {
        let chunk = watching.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watching))
    });
    Ok(streamed(Body::from_stream(chunks)))
}

fn streamed(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn error_event(status: &apimachinery::status::Status) -> Vec<u8> {
    format!("{}\n", json!({"type": "ERROR", "object": status})).into_bytes()
}

/// One watch.
struct Watching {
    cacher: Arc<Cacher>,
    presenter: Presenter,
    selection: Selection,
    scope: Scope,
    cursor: Cursor,
    initial: Option<Vec<Arc<Entry>>>,
    initial_revision: u64,
    announce_initial_end: bool,
    bookmarks: bool,
    ends: Instant,
    bookmark_at: Instant,
    stopping: CancellationToken,
    first: bool,
    ended: bool,
}

impl Watching {
    /// The next bytes; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(chunk) = self.initial_chunk() {
            return Some(chunk);
        }
        loop {
            // Read first: a bookmark then promises no more than what was looked at after.
            let revision = self.cacher.revision();
            let mut chunk = Vec::new();
            loop {
                match self.cursor.ready(CHANGES_AT_ONCE) {
                    Ok(changes) if changes.is_empty() => break,
                    Ok(changes) => {
                        for change in &changes {
                            self.write(change, &mut chunk);
                        }
                    }
                    Err(TooOld { oldest }) => {
                        self.ended = true;
                        chunk.extend_from_slice(&error_event(&fail::too_old(oldest.saturating_sub(1), oldest)));
                        return Some(chunk.into());
                    }
                }
                if chunk.len() >= CHUNK {
                    return Some(chunk.into());
                }
            }
            let now = Instant::now();
            if now >= self.ends {
                self.ended = true;
                if self.bookmarks {
                    chunk.extend_from_slice(&self.presenter.bookmark(revision, false));
                }
            } else if self.bookmarks && now >= self.bookmark_at {
                self.bookmark_at = now + BOOKMARK_EVERY;
                chunk.extend_from_slice(&self.presenter.bookmark(revision, false));
            }
            if !chunk.is_empty() {
                return Some(chunk.into());
            }
            if self.ended {
                return None;
            }
            let wake_at = if self.bookmarks { self.ends.min(self.bookmark_at) } else { self.ends };
            tokio::select! {
                () = self.cursor.woken() => {}
                () = tokio::time::sleep_until(wake_at) => {}
                () = self.stopping.cancelled() => return None,
            }
        }
    }

    /// What there was at the beginning, in pieces; then the bookmark that says so where it is asked for.
    fn initial_chunk(&mut self) -> Option<Bytes> {
        let entries = self.initial.as_mut()?;
        let mut chunk = Vec::new();
        let mut sent = 0;
        for entry in entries.iter() {
            sent += 1;
            if self.selection.selects(entry) {
                chunk.extend_from_slice(&self.presenter.event("ADDED", entry, std::mem::take(&mut self.first)));
            }
            if chunk.len() >= CHUNK {
                break;
            }
        }
        entries.drain(..sent);
        if entries.is_empty() {
            self.initial = None;
            if self.announce_initial_end {
                chunk.extend_from_slice(&self.presenter.bookmark(self.initial_revision, true));
            }
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }

    /// An event, seen through the selection: what enters it is added, what leaves it is deleted.
    fn write(&mut self, change: &Change, chunk: &mut Vec<u8>) {
        if !self.scope.contains(&change.entry.key) {
            return;
        }
        let now = !change.deleted && self.selection.selects(&change.entry);
        let before = change.before.as_ref().is_some_and(|before| self.selection.selects(before));
        let first = self.first;
        let event = match (before, now) {
            (false, true) => self.presenter.event("ADDED", &change.entry, first),
            (true, true) => self.presenter.event("MODIFIED", &change.entry, first),
            (true, false) => {
                // The last state that was selected, at the revision at which it no longer is.
                let before = change.before.as_ref().map(|before| before.gone(change.revision));
                let Some(last) = before else { return };
                self.presenter.event("DELETED", &last, first)
            }
            (false, false) => return,
        };
        self.first = false;
        chunk.extend_from_slice(&event);
    }
}
