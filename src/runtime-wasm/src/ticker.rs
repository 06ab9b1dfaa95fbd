//! The epoch's ticker: one thread an engine, and only while guests compute.
//!
//! A tick makes every computing guest give way at its next loop or call. Who begins to compute says so
//! ([`Activity::enter`]); after a while in which nobody did the thread sleeps without a timer, so an idle node is
//! silent.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::{Engine, EngineWeak};

/// The longest a guest computes before it gives way.
pub const TICK: Duration = Duration::from_millis(1);
/// Waking the thread costs more than a few needless ticks.
const IDLE_TICKS_MAX: u32 = 32;

/// Who computes at this moment.
#[derive(Debug, Default)]
pub struct Activity {
    computing: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Activity {
    /// Starts the ticker of `engine`; it ends with the engine.
    pub fn start(engine: &Engine) -> std::io::Result<Arc<Self>> {
        let activity = Arc::new(Self::default());
        let (theirs, engine) = (activity.clone(), engine.weak());
        let handle = thread::Builder::new().name("epoch-ticker".to_owned()).spawn(move || tick(&theirs, &engine))?;
        // Set once, here.
        let _ = activity.thread.set(handle.thread().clone());
        Ok(activity)
    }

    /// A guest computes until the returned mark is dropped.
    pub fn enter(&self) -> Computing<'_> {
        self.computing.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Computing(self)
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        // Lets a sleeping thread see that its engine is gone.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A guest computes.
#[derive(Debug)]
pub struct Computing<'a>(&'a Activity);

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        self.0.computing.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(activity: &Activity, engine: &EngineWeak) {
    let mut idle = 0;
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        idle = if activity.computing.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < IDLE_TICKS_MAX {
            thread::sleep(TICK);
            continue;
        }
        idle = 0;
        activity.asleep.store(true, Ordering::SeqCst);
        // Whoever entered before this line was seen here; whoever enters after it sees that we sleep.
        if activity.computing.load(Ordering::SeqCst) == 0 {
            while activity.asleep.load(Ordering::SeqCst) {
                thread::park();
            }
        }
        activity.asleep.store(false, Ordering::SeqCst);
    }
}
