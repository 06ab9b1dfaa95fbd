//! Many like requests at once, but not all at once while the first may fail.

use std::future::Future;

use futures::future::join_all;

/// So many at first: what most owners want is then made durable in one go.
const FIRST: usize = 4;

/// Calls `start` for 0 up to `count`, a few at a time, then twice as many and so on, and stops after a round in which one failed: a
/// quota that is exhausted, say, is then met a few times and not five hundred. Returns what succeeded, and the first failure.
pub async fn slow_start<T, E, Fut>(count: usize, start: impl Fn(usize) -> Fut) -> (Vec<T>, Option<E>)
where
    Fut: Future<Output = Result<T, E>>,
{
    let (mut done, mut size, mut succeeded) = (0, FIRST, Vec::with_capacity(count));
    while done < count {
        let size_now = size.min(count - done);
        let mut failure = None;
        for result in join_all((done..done + size_now).map(&start)).await {
            match result {
                Ok(value) => succeeded.push(value),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if failure.is_some() {
            return (succeeded, failure);
        }
        (done, size) = (done + size_now, size * 2);
    }
    (succeeded, None)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_failure_ends_the_round_it_happens_in() {
        let calls = AtomicUsize::new(0);
        let (succeeded, failure) = slow_start(100, |n| {
            calls.fetch_add(1, Ordering::Relaxed);
            async move { if n == 6 { Err("full") } else { Ok(n) } }
        })
        .await;
        assert_eq!((succeeded, failure), (vec![0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11], Some("full")));
        assert_eq!(calls.into_inner(), 12);
        let (all, failure) = slow_start(9, |n| async move { Ok::<_, ()>(n) }).await;
        assert_eq!((all.len(), failure), (9, None));
    }
}
