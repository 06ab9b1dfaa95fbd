//! Workers: take a key, bring what it names nearer to what is wanted, and say when to look again.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use super::{Context, Queue, is_conflict, is_terminating_namespace};

/// How a key was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As far as can be: something will change before there is more to do.
    Done,
    /// As far as can be for now: there is more to do after that time.
    After(Duration),
}

impl From<Option<Duration>> for Outcome {
    fn from(delay: Option<Duration>) -> Self {
        delay.map_or(Self::Done, Self::After)
    }
}

/// Why a key could not be worked on; it comes back after its back-off.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

/// Runs `count` workers that call `sync` with the queue's keys, once all informers that were asked for know their objects.
pub fn spawn_workers<T, F, Fut>(context: &Context, name: &'static str, count: usize, queue: &Queue<T>, sync: F)
where
    T: Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, SyncError>> + Send + 'static,
{
    let sync = Arc::new(sync);
    for _ in 0..count {
        let (queue, sync, informers) = (queue.clone(), sync.clone(), context.informers.clone());
        context.tasks.spawn(name, async move {
            informers.synced().await;
            loop {
                let key = queue.get().await;
                match sync(key.clone()).await {
                    Ok(outcome) => {
                        queue.forget(&key);
                        if let Outcome::After(delay) = outcome {
                            queue.add_after(key.clone(), delay);
                        }
                    }
                    Err(SyncError::Api(error)) if is_terminating_namespace(&error) => {
                        // There is nothing to bring about any more.
                        tracing::debug!(?key, %error, "given up");
                        queue.forget(&key);
                    }
                    Err(error) => {
                        match &error {
                            SyncError::Api(error) if is_conflict(error) => tracing::debug!(?key, %error, "again"),
                            _ => tracing::warn!(?key, %error, "cannot bring about what is wanted; trying again"),
                        }
                        queue.add_rate_limited(key.clone());
                    }
                }
                queue.done(&key);
            }
        });
    }
}
