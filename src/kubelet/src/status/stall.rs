//! A status whose writes change nothing (the API server, or a webhook, keeps what it had) is written less and less often. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::Value;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// What was written in vain, and until when it is not worth another attempt.
#[derive(Debug, Default)]
pub struct Stall {
    asked: Option<Value>,
    times: u32,
    until: Option<Instant>,
}

impl Stall {
    /// Until when `patch` waits, because the like of it has just changed nothing. What asks for something else does not wait.
    pub fn holds(&self, patch: &Value, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now && self.asked.as_ref() == Some(&timeless(patch)))
    }

    /// A write of `patch` at a status that was `before` was answered with a status `after`, at `now`.
    pub fn answered(&mut self, patch: &Value, before: Option<&PodStatus>, after: Option<&PodStatus>, now: Instant) {
        if before != after {
            *self = Self::default();
            return;
        }
        let asked = Some(timeless(patch));
        if self.asked != asked {
            *self = Self { asked, ..Self::default() };
        }
        self.until = Some(now + FIRST.saturating_mul(1 << self.times.min(8)).min(LONGEST));
        self.times = self.times.saturating_add(1);
    }
}

/// A patch without the moments in its conditions, which are new with every attempt.
fn timeless(patch: &Value) -> Value {
    let mut patch = patch.clone();
    let conditions = patch.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.retain(|field, _| !matches!(field.as_str(), "lastTransitionTime" | "lastProbeTime"));
    }
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changes_nothing_waits_longer_each_time_and_what_is_new_does_not() {
        let began = Instant::now();
        let patch = |phase: &str, second: u8| {
            let time = format!("2026-01-01T00:00:{second:02}Z");
            json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]}})
        };
        let status = PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() };
        let changed = PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() };
        let mut stall = Stall::default();
        assert_eq!(stall.holds(&patch("Running", 1), began), None, "nothing was tried yet");
        let mut waits = Vec::new();
        let mut now = began;
        for second in 1..=12 {
            stall.answered(&patch("Running", second), Some(&status), Some(&status), now);
            let until = stall.holds(&patch("Running", second + 1), now).expect("it was in vain");
            waits.push((until - now).as_millis());
            assert_eq!(stall.holds(&patch("Failed", 1), now), None, "that was not tried");
            now = until;
            assert_eq!(stall.holds(&patch("Running", second), now), None, "its time has come");
        }
        assert_eq!(waits[..4], [250, 500, 1000, 2000]);
        assert_eq!(waits[8..], [60_000; 4]);
        stall.answered(&patch("Running", 1), Some(&status), Some(&changed), now);
        assert_eq!(stall.holds(&patch("Running", 1), now), None, "that changed something");
        stall.answered(&patch("Running", 1), Some(&status), Some(&status), now);
        let until = stall.holds(&patch("Running", 1), now).expect("in vain");
        assert_eq!((until - now).as_millis(), 250, "it begins anew");
    }
}
