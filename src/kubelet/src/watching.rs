//! How the kubelet waits before it watches again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_millis(20);
const MAX: Duration = Duration::from_secs(5);

/// Grows from 20 ms to 5 s: a lost connection is back before a person notices, and a dead server is not hammered.
#[derive(Debug, Clone)]
pub struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.0;
        self.0 = (delay * 2).min(MAX);
        Some(delay)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0 = FIRST;
    }
}
