//! What a deletion does to an object: pure decisions, in the order of kube-apiserver's generic store.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::meta;
use crate::endpoints::options::{DeleteOptions, Propagation};

/// Finalizer by which the dependents are left alone.
const ORPHAN: &str = "orphan";
/// Finalizer by which the dependents go first.
const FOREGROUND: &str = "foregroundDeletion";

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The object stays, marked.
    Mark(Value),
    /// The object is marked and goes at once.
    MarkAndRemove(Value),
    /// The object goes at once.
    Remove,
    /// It is going already; nothing changes.
    Pending,
}

/// How graceful a kind is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// Whether the kind is deleted gracefully (pods).
    pub graceful: bool,
    /// Whether dependents are left alone unless asked otherwise.
    pub orphans: bool,
    /// Whether the kind takes part in garbage collection.
    pub collected: bool,
}

/// Decides about the deletion of `object`.
pub fn decide(object: &Value, options: &DeleteOptions, manners: Manners, now: Timestamp) -> Step {
    let mut marked = object.clone();
    let grace = match begin(&mut marked, options, manners, now) {
        Begun::Pending => return Step::Pending,
        Begun::Graceful(seconds) => Some(seconds),
        Begun::Immediate => None,
    };
    let finalizers = if manners.collected { finalizers(object, options, manners.orphans) } else { None };
    if let Some(finalizers) = finalizers {
        meta::set_finalizers(&mut marked, finalizers);
    }
    let held = !meta::list(&marked, "finalizers").is_empty();
    match grace {
        None if held => {
            mark(&mut marked, now);
            if marked == *object { Step::Pending } else { Step::Mark(marked) }
        }
        None => Step::Remove,
        Some(seconds) if held || seconds > 0 => Step::Mark(marked),
        Some(_) => Step::MarkAndRemove(marked),
    }
}

enum Begun {
    Pending,
    Graceful(i64),
    Immediate,
}

fn begin(object: &mut Value, options: &DeleteOptions, manners: Manners, now: Timestamp) -> Begun {
    if !manners.graceful {
        return Begun::Immediate;
    }
    let asked = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let deleted = meta::text(object, "deletionTimestamp").to_owned();
    if !deleted.is_empty() {
        let current = meta::number(object, "deletionGracePeriodSeconds").unwrap_or(0);
        if current == 0 {
            return Begun::Immediate;
        }
        // A grace period that runs can only be made shorter.
        let Some(asked) = asked.filter(|asked| *asked < current) else { return Begun::Pending };
        let at = deleted.parse::<Timestamp>().unwrap_or(now);
        let shorter = SignedDuration::from_secs(asked - current);
        meta::set(object, "deletionTimestamp", meta::time(at.checked_add(shorter).unwrap_or(now)));
        meta::set(object, "deletionGracePeriodSeconds", asked);
        return Begun::Graceful(asked);
    }
    let own = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let mut seconds = asked.or(own).unwrap_or(0);
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Failed" | "Succeeded") {
        // Nothing runs that could end gracefully.
        seconds = 0;
    }
    let seconds = if seconds < 0 { 1 } else { seconds };
    let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    meta::set(object, "deletionTimestamp", meta::time(at));
    meta::set(object, "deletionGracePeriodSeconds", seconds);
    bump(object);
    Begun::Graceful(seconds)
}

fn mark(object: &mut Value, now: Timestamp) {
    if meta::text(object, "deletionTimestamp").is_empty() {
        meta::set(object, "deletionTimestamp", meta::time(now));
        bump(object);
    }
    meta::set(object, "deletionGracePeriodSeconds", 0);
}

fn bump(object: &mut Value) {
    if let Some(generation) = meta::number(object, "generation").filter(|generation| *generation > 0) {
        meta::set(object, "generation", generation + 1);
    }
}

/// The finalizers that the propagation policy asks for, where they differ from those there are.
fn finalizers(object: &Value, options: &DeleteOptions, orphans: bool) -> Option<Vec<String>> {
    let present = meta::list(object, "finalizers");
    let has = |finalizer: &str| present.contains(&finalizer);
    let orphan = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => orphan,
        (None, Some(policy)) => policy == Propagation::Orphan,
        (None, None) if has(ORPHAN) => true,
        (None, None) if has(FOREGROUND) => false,
        (None, None) => orphans,
    };
    let foreground = match (options.orphan_dependents, options.propagation) {
        (Some(_), _) => false,
        (None, Some(policy)) => policy == Propagation::Foreground,
        (None, None) => has(FOREGROUND) && !has(ORPHAN),
    };
    let mut wanted: Vec<String> = present
        .iter()
        .filter(|finalizer| !matches!(**finalizer, ORPHAN | FOREGROUND))
        .map(|finalizer| (*finalizer).to_owned())
        .collect();
    if orphan {
        wanted.push(ORPHAN.into());
    }
    if foreground {
        wanted.push(FOREGROUND.into());
    }
    let same = wanted.len() == present.len() && wanted.iter().all(|finalizer| has(finalizer));
    (!same).then_some(wanted)
}

/// Whether an update that leaves `new` behind ends a deletion that was waiting for it.
pub fn ends_with_update(new: &Value, old: &Value) -> bool {
    meta::list(new, "finalizers").is_empty()
        && !meta::text(old, "deletionTimestamp").is_empty()
        && meta::number(old, "deletionGracePeriodSeconds").unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PODS: Manners = Manners { graceful: true, orphans: false, collected: true };
    const OTHERS: Manners = Manners { graceful: false, orphans: false, collected: true };

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn marked(step: Step) -> Value {
        match step {
            Step::Mark(object) | Step::MarkAndRemove(object) => object,
            other => panic!("{other:?} marks nothing"),
        }
    }

    #[test]
    fn a_running_pod_gets_its_grace_and_one_that_never_ran_gets_none() {
        let mut pod = json!({"metadata": {"name": "p", "generation": 1}, "spec": {"terminationGracePeriodSeconds": 30, "nodeName": "n"}});
        let step = decide(&pod, &DeleteOptions::default(), PODS, now());
        assert!(matches!(step, Step::Mark(_)));
        let object = marked(step);
        assert_eq!(object["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
        assert_eq!(object["metadata"]["generation"], 2);
        pod["spec"]["nodeName"] = "".into();
        let step = decide(&pod, &DeleteOptions::default(), PODS, now());
        assert!(matches!(step, Step::MarkAndRemove(_)));
        assert_eq!(marked(step)["metadata"]["deletionGracePeriodSeconds"], 0);
    }

    #[test]
    fn a_grace_period_that_runs_can_be_shortened_and_not_lengthened() {
        let pod = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}, "spec": {"nodeName": "n"}});
        let longer = DeleteOptions { grace_period_seconds: Some(60), ..DeleteOptions::default() };
        assert_eq!(decide(&pod, &longer, PODS, now()), Step::Pending);
        let now_options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let step = decide(&pod, &now_options, PODS, now());
        assert!(matches!(step, Step::MarkAndRemove(_)));
        assert_eq!(marked(step)["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    }

    #[test]
    fn finalizers_hold_an_object_and_policies_add_them() {
        let object = json!({"metadata": {"name": "x"}});
        assert_eq!(decide(&object, &DeleteOptions::default(), OTHERS, now()), Step::Remove);
        let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        let held = marked(decide(&object, &foreground, OTHERS, now()));
        assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        assert_eq!(
            decide(&held, &DeleteOptions::default(), OTHERS, now()),
            Step::Pending,
            "asked again, nothing changes"
        );
        let orphans = Manners { orphans: true, ..OTHERS };
        let held = marked(decide(&object, &DeleteOptions::default(), orphans, now()));
        assert_eq!(held["metadata"]["finalizers"], json!(["orphan"]));
        let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        assert_eq!(decide(&object, &background, orphans, now()), Step::Remove);
    }

    #[test]
    fn the_update_that_takes_the_last_finalizer_ends_the_deletion() {
        let old = json!({"metadata": {"deletionTimestamp": "x", "deletionGracePeriodSeconds": 0, "finalizers": ["a"]}});
        let new = json!({"metadata": {"deletionTimestamp": "x"}});
        assert!(ends_with_update(&new, &old));
        assert!(!ends_with_update(&old, &old));
        let graceful = json!({"metadata": {"deletionTimestamp": "x", "deletionGracePeriodSeconds": 30}});
        assert!(!ends_with_update(&graceful, &graceful));
    }
}
