//! How fast an autoscaler may move: what was recommended and done before, and the limits that follow. Pure.

use std::cmp::{max, min};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// How long the highest recommendation holds before there are fewer, unless the autoscaler says so itself.
const STABILIZATION_DOWN: i32 = 300;
/// Who says nothing about it at most doubles, or goes to four.
const UP_FACTOR: i32 = 2;
const UP_MINIMUM: i32 = 4;

const TOO_FAST_UP: Limit = Limit {
    reason: "ScaleUpLimit",
    message: "the desired replica count is increasing faster than the maximum scale rate",
};
const TOO_FAST_DOWN: Limit = Limit {
    reason: "ScaleDownLimit",
    message: "the desired replica count is decreasing faster than the maximum scale rate",
};
const TOO_MANY: Limit =
    Limit { reason: "TooManyReplicas", message: "the desired replica count is more than the maximum replica count" };
const TOO_FEW: Limit =
    Limit { reason: "TooFewReplicas", message: "the desired replica count is less than the minimum replica count" };
const WITHIN: Limit =
    Limit { reason: "DesiredWithinRange", message: "the desired count is within the acceptable range" };
const STABILIZED_UP: Limit = Limit {
    reason: "ScaleUpStabilized",
    message: "recent recommendations were lower than current one, applying the lowest recent recommendation",
};
const STABILIZED_DOWN: Limit = Limit {
    reason: "ScaleDownStabilized",
    message: "recent recommendations were higher than current one, applying the highest recent recommendation",
};
const AS_RECOMMENDED: Limit = Limit { reason: "ReadyForNewScale", message: "recommended size matches current size" };

/// Why a number is what it is, for a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In a word.
    pub reason: &'static str,
    /// In words.
    pub message: &'static str,
}

/// What an autoscaler has recommended and done, as far back as it matters.
#[derive(Debug, Clone, Default)]
pub struct History {
    recommendations: Vec<(Timestamp, i32)>,
    /// How many were added (or, below zero, taken away).
    changes: Vec<(Timestamp, i32)>,
}

/// Between which numbers of replicas.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// So many there are.
    pub current: i32,
    /// At least.
    pub min: i32,
    /// At most.
    pub max: i32,
}

/// What became of a recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalized {
    /// So many there should be now.
    pub replicas: i32,
    /// Whether earlier recommendations counted.
    pub stabilized: Limit,
    /// Whether limits counted, and which.
    pub limited: bool,
    /// Which.
    pub limit: Limit,
}

impl History {
    /// What there is counts as recommended when nothing was yet.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// Takes in a recommendation, and holds it back as the autoscaler says.
    pub fn normalize(
        &mut self,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        range: Range,
        desired: i32,
        now: Timestamp,
    ) -> Normalized {
        let rules = behavior.map(Rules::of);
        let (up, down) = rules.as_ref().map_or((0, STABILIZATION_DOWN), |rules| (rules.up_window, rules.down_window));
        let recent = self.stabilize(range.current, desired, up, down, rules.is_some(), now);
        let stabilized = match (recent == desired, desired >= range.current) {
            (true, _) => AS_RECOMMENDED,
            (false, true) if rules.is_some() => STABILIZED_UP,
            (false, _) => STABILIZED_DOWN,
        };
        let (replicas, limit) = match &rules {
            Some(rules) => self.within_rates(rules, range, recent, now),
            None => within_defaults(range, recent),
        };
        Normalized { replicas, stabilized, limited: replicas != recent, limit }
    }

    fn stabilize(&mut self, current: i32, desired: i32, up: i32, down: i32, both: bool, now: Timestamp) -> i32 {
        let (up_from, down_from) = (before(now, up), before(now, down));
        let since = |from: Timestamp| {
            self.recommendations.iter().filter(move |(at, _)| *at > from).map(|(_, recommended)| *recommended)
        };
        let highest = since(down_from).fold(desired, max);
        let recommendation = if both {
            let lowest = since(up_from).fold(desired, min);
            current.max(lowest).min(highest)
        } else {
            highest
        };
        self.recommendations.retain(|(at, _)| *at > up_from || *at > down_from);
        self.recommendations.push((now, desired));
        recommendation
    }

    fn within_rates(&self, rules: &Rules<'_>, range: Range, desired: i32, now: Timestamp) -> (i32, Limit) {
        if desired > range.current {
            let rate = self.most(rules.up, range.current, now).max(range.current);
            let (most, limit) = if range.max > rate { (rate, TOO_FAST_UP) } else { (range.max, TOO_MANY) };
            if desired > most {
                return (most, limit);
            }
        } else if desired < range.current {
            let rate = self.fewest(rules.down, range.current, now).min(range.current);
            let (fewest, limit) = if range.min < rate { (rate, TOO_FAST_DOWN) } else { (range.min, TOO_FEW) };
            if desired < fewest {
                return (fewest, limit);
            }
        }
        (desired, WITHIN)
    }

    /// How many the policies allow at most.
    fn most(&self, rules: Option<&HPAScalingRules>, current: i32, now: Timestamp) -> i32 {
        let proposed = |policy: &HPAScalingPolicy| {
            let before = self.at_start(policy, current, now);
            match policy.type_.as_str() {
                "Percent" => to_i32((f64::from(before) * (1.0 + f64::from(policy.value) / 100.0)).ceil()),
                _ => before.saturating_add(policy.value),
            }
        };
        let all = rules.iter().flat_map(|rules| rules.policies.iter().flatten()).map(proposed);
        match rules.and_then(|rules| rules.select_policy.as_deref()) {
            Some("Disabled") => current,
            Some("Min") => all.min().unwrap_or(i32::MAX),
            _ => all.max().unwrap_or(i32::MIN),
        }
    }

    /// How many the policies leave at least.
    fn fewest(&self, rules: Option<&HPAScalingRules>, current: i32, now: Timestamp) -> i32 {
        let proposed = |policy: &HPAScalingPolicy| {
            let before = self.at_start(policy, current, now);
            match policy.type_.as_str() {
                "Percent" => to_i32((f64::from(before) * (1.0 - f64::from(policy.value) / 100.0)).trunc()),
                _ => before.saturating_sub(policy.value),
            }
        };
        let all = rules.iter().flat_map(|rules| rules.policies.iter().flatten()).map(proposed);
        match rules.and_then(|rules| rules.select_policy.as_deref()) {
            Some("Disabled") => current,
            Some("Min") => all.max().unwrap_or(i32::MIN),
            _ => all.min().unwrap_or(i32::MAX),
        }
    }

    /// How many there were when the period of a policy began.
    fn at_start(&self, policy: &HPAScalingPolicy, current: i32, now: Timestamp) -> i32 {
        let from = before(now, policy.period_seconds);
        let changed = self.changes.iter().filter(|(at, _)| *at > from).map(|(_, change)| *change);
        changed.fold(current, i32::saturating_sub)
    }

    /// Takes in that there are as many as were wanted.
    pub fn scaled(&mut self, behavior: Option<&HorizontalPodAutoscalerBehavior>, from: i32, to: i32, now: Timestamp) {
        let Some(behavior) = behavior else { return };
        let rules = behavior.scale_up.iter().chain(&behavior.scale_down);
        let periods = rules.flat_map(|rules| rules.policies.iter().flatten()).map(|policy| policy.period_seconds);
        let oldest = before(now, periods.max().unwrap_or_default());
        self.changes.retain(|(at, _)| *at > oldest);
        self.changes.push((now, to.saturating_sub(from)));
    }
}

/// What an autoscaler says about its speed.
struct Rules<'a> {
    up: Option<&'a HPAScalingRules>,
    down: Option<&'a HPAScalingRules>,
    up_window: i32,
    down_window: i32,
}

impl<'a> Rules<'a> {
    fn of(behavior: &'a HorizontalPodAutoscalerBehavior) -> Self {
        let (up, down) = (behavior.scale_up.as_ref(), behavior.scale_down.as_ref());
        let window = |rules: Option<&HPAScalingRules>| rules.and_then(|rules| rules.stabilization_window_seconds);
        Self {
            up,
            down,
            up_window: window(up).unwrap_or_default(),
            down_window: window(down).unwrap_or(STABILIZATION_DOWN),
        }
    }
}

fn within_defaults(range: Range, desired: i32) -> (i32, Limit) {
    let rate = range.current.saturating_mul(UP_FACTOR).max(UP_MINIMUM);
    let (most, limit) = if range.max > rate { (rate, TOO_FAST_UP) } else { (range.max, TOO_MANY) };
    if desired < range.min {
        (range.min, TOO_FEW)
    } else if desired > most {
        (most, limit)
    } else {
        (desired, WITHIN)
    }
}

fn before(now: Timestamp, seconds: i32) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MIN)
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
fn to_i32(value: f64) -> i32 {
    value as i32
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("a small number of seconds")
    }

    fn behavior(value: Value) -> HorizontalPodAutoscalerBehavior {
        from_value(value).expect("a behavior")
    }

    fn wide(current: i32) -> Range {
        Range { current, min: 1, max: 1000 }
    }

    #[test]
    fn without_rules_it_at_most_doubles_and_the_highest_of_five_minutes_holds() {
        let cases = [
            (wide(1), 9, 4, true, "ScaleUpLimit"),
            (wide(10), 30, 20, true, "ScaleUpLimit"),
            (wide(10), 15, 15, false, "DesiredWithinRange"),
            (Range { current: 10, min: 1, max: 12 }, 15, 12, true, "TooManyReplicas"),
        ];
        for (range, desired, replicas, limited, reason) in cases {
            let got = History::default().normalize(None, range, desired, at(0));
            assert_eq!(
                (got.replicas, got.limited, got.limit.reason),
                (replicas, limited, reason),
                "{range:?} to {desired}"
            );
        }
        let mut history = History::default();
        history.begin(10, at(0));
        let held = history.normalize(None, wide(10), 2, at(100));
        assert_eq!((held.replicas, held.stabilized.reason), (10, "ScaleDownStabilized"));
        let freed = history.normalize(None, wide(10), 3, at(301));
        assert_eq!(
            (freed.replicas, freed.stabilized.reason),
            (3, "ReadyForNewScale"),
            "2 of 100 s is lower, 10 is over"
        );
        let few = History::default().normalize(None, Range { current: 10, min: 5, max: 20 }, 2, at(0));
        assert_eq!((few.replicas, few.limit.reason), (5, "TooFewReplicas"));
    }

    #[test]
    fn policies_limit_the_rate_and_the_select_policy_says_which_counts() {
        let up = |select: &str| {
            behavior(json!({"scaleUp": {"selectPolicy": select, "stabilizationWindowSeconds": 0, "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 25, "periodSeconds": 60}]}}))
        };
        let down = |select: &str| {
            behavior(json!({"scaleDown": {"selectPolicy": select, "stabilizationWindowSeconds": 0, "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 10, "periodSeconds": 60}]}}))
        };
        let cases = [
            (up("Max"), 10, 50, 14, "ScaleUpLimit"),
            (up("Min"), 10, 50, 13, "ScaleUpLimit"),
            (up("Max"), 100, 500, 125, "ScaleUpLimit"),
            (up("Disabled"), 10, 50, 10, "ScaleUpLimit"),
            (up("Max"), 10, 12, 12, "DesiredWithinRange"),
            (down("Max"), 80, 1, 72, "ScaleDownLimit"),
            (down("Min"), 80, 1, 76, "ScaleDownLimit"),
            (down("Max"), 10, 1, 6, "ScaleDownLimit"),
            (down("Disabled"), 10, 1, 10, "ScaleDownLimit"),
        ];
        for (behavior, current, desired, replicas, reason) in cases {
            let got = History::default().normalize(Some(&behavior), wide(current), desired, at(0));
            assert_eq!((got.replicas, got.limit.reason), (replicas, reason), "{behavior:?}: {current} to {desired}");
        }
    }

    #[test]
    fn what_changed_within_the_period_counts_against_the_rate() {
        let behavior = behavior(json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}}));
        let mut history = History::default();
        let mut step = |current: i32, desired: i32, second: i64| {
            let to = history.normalize(Some(&behavior), wide(current), desired, at(second)).replicas;
            if to != current {
                history.scaled(Some(&behavior), current, to, at(second));
            }
            to
        };
        assert_eq!(step(10, 12, 0), 12);
        assert_eq!(step(12, 50, 15), 14, "two of four are used up");
        assert_eq!(step(14, 50, 30), 14);
        assert_eq!(step(14, 50, 61), 16, "the first two are over a minute old");
        assert_eq!(step(16, 1, 200), 8);
        assert_eq!(step(8, 1, 230), 8, "half of what there was a minute ago");
        assert_eq!(step(8, 1, 261), 4);
    }

    #[test]
    fn windows_hold_back_in_both_directions() {
        let behavior = behavior(json!({
            "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 120, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}));
        let mut history = History::default();
        history.begin(10, at(0));
        let mut ask = |desired: i32, second: i64| {
            let got = history.normalize(Some(&behavior), wide(10), desired, at(second));
            (got.replicas, got.stabilized.reason)
        };
        assert_eq!(ask(20, 30), (10, "ScaleUpStabilized"), "ten was recommended within the minute");
        assert_eq!(ask(15, 59), (10, "ScaleUpStabilized"));
        assert_eq!(ask(18, 61), (15, "ScaleUpStabilized"), "the lowest of the last minute");
        assert_eq!(ask(4, 100), (10, "ScaleDownStabilized"), "no higher than now, no lower than what was recommended");
        assert_eq!(ask(4, 182), (4, "ReadyForNewScale"));
    }
}
