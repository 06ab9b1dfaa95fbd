//! Waiting for changes of files, without asking again and again.
//!
//! One inotify instance serves all who wait: the system allows a user only 128 of them.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::{io::unix::AsyncFd, sync::Notify};

/// Everything that concerns a log file or a folder of them.
const FLAGS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF);

/// The files that somebody waits for.
#[derive(Clone)]
pub struct FsWatch(Arc<Inner>);

struct Inner {
    instance: AsyncFd<OwnedFd>,
    waiting: Mutex<HashMap<i32, Vec<Arc<Notify>>>>,
}

/// Somebody's interest in a file or folder; it ends when it is dropped.
pub struct Watch {
    hub: FsWatch,
    id: i32,
    changed: Arc<Notify>,
}

impl FsWatch {
    /// Nothing is watched yet. [`FsWatch::run`] must run for changes to arrive.
    pub fn new() -> io::Result<Self> {
        let instance = open()?;
        Ok(Self(Arc::new(Inner { instance, waiting: Mutex::default() })))
    }

    /// Watches a file or folder.
    pub fn watch(&self, path: &Path) -> io::Result<Watch> {
        let changed = Arc::new(Notify::new());
        // Under the lock, so that nobody removes the watch between the two steps.
        let mut waiting = self.0.waiting.lock();
        let id = inotify::add_watch(self.0.instance.get_ref(), path, FLAGS)?;
        waiting.entry(id).or_default().push(changed.clone());
        drop(waiting);
        Ok(Watch { hub: self.clone(), id, changed })
    }

    /// Delivers changes until it is dropped.
    pub async fn run(self) {
        let outcome = read(&self.0.instance, |id| {
            for changed in self.0.waiting.lock().get(&id).into_iter().flatten() {
                changed.notify_one();
            }
        });
        if let Err(error) = outcome.await {
            tracing::error!(%error, "file changes cannot be read");
        }
    }
}

impl Watch {
    /// Returns when something changed since it returned last.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.hub.0.waiting.lock();
        if let Some(list) = waiting.get_mut(&self.id) {
            list.retain(|other| !Arc::ptr_eq(other, &self.changed));
            if list.is_empty() {
                waiting.remove(&self.id);
                // The file may be gone, and its watch with it.
                let _ = inotify::remove_watch(self.hub.0.instance.get_ref(), self.id);
            }
        }
    }
}

/// A new inotify instance.
pub(crate) fn open() -> io::Result<AsyncFd<OwnedFd>> {
    let instance = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // SAFETY: an `OwnedFd` keeps its descriptor open until it is dropped, and nobody can replace it in here.
    Ok(unsafe { AsyncFd::register(instance) }?)
}

/// Calls `event` with the watch of every event, for ever.
pub(crate) async fn read(instance: &AsyncFd<OwnedFd>, mut event: impl FnMut(i32)) -> io::Result<()> {
    loop {
        let mut ready = instance.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(instance.get_ref().as_fd(), &mut buffer);
        loop {
            match events.next() {
                Ok(next) => event(next.wd()),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
    }
}
