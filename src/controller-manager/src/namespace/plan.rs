//! What a namespace that is going says of itself: five conditions, worded as kube-controller-manager words them.

use std::collections::BTreeMap;

use apimachinery::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What emptying a namespace came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Why not all resources are known.
    pub discovery: Option<String>,
    /// Why content could not be deleted, a line a resource.
    pub failures: Vec<String>,
    /// How many objects of a resource (`pods.`, `deployments.apps`) are left.
    pub remaining: BTreeMap<String, usize>,
    /// How many of them a finalizer holds.
    pub finalizers: BTreeMap<String, usize>,
}

struct Kind {
    name: &'static str,
    reason: &'static str,
    message: &'static str,
}

/// The types in their order, with what they say when all is well.
const KINDS: [Kind; 5] = [
    Kind {
        name: "NamespaceDeletionDiscoveryFailure",
        reason: "ResourcesDiscovered",
        message: "All resources successfully discovered",
    },
    Kind {
        name: "NamespaceDeletionGroupVersionParsingFailure",
        reason: "ParsedGroupVersions",
        message: "All legacy kube types successfully parsed",
    },
    Kind {
        name: "NamespaceDeletionContentFailure",
        reason: "ContentDeleted",
        message: "All content successfully deleted, may be waiting on finalization",
    },
    Kind { name: "NamespaceContentRemaining", reason: "ContentRemoved", message: "All content successfully removed" },
    Kind {
        name: "NamespaceFinalizersRemaining",
        reason: "ContentHasNoFinalizers",
        message: "All content-preserving finalizers finished",
    },
];

/// The conditions as they should be; `None` when they are.
pub fn conditions(current: &[Value], found: &Found, now: Timestamp) -> Option<Vec<Value>> {
    let mut conditions = current.to_vec();
    for kind in &KINDS {
        let trouble = trouble(kind.name, found);
        let (status, (reason, message)) = match trouble {
            Some((reason, message)) => ("True", (reason, message)),
            None => ("False", (kind.reason, kind.message.to_owned())),
        };
        let condition = conditions.iter_mut().find(|condition| condition["type"] == kind.name);
        match condition {
            Some(condition) => {
                if condition["status"] != status {
                    condition["lastTransitionTime"] = meta::time(now).into();
                }
                condition["status"] = status.into();
                condition["reason"] = reason.into();
                condition["message"] = message.into();
            }
            None => conditions.push(json!({
                "type": kind.name, "status": status, "lastTransitionTime": meta::time(now), "reason": reason, "message": message,
            })),
        }
    }
    (conditions != current).then_some(conditions)
}

/// What one condition has to report.
fn trouble(kind: &str, found: &Found) -> Option<(&'static str, String)> {
    let list = |words: Vec<String>| words.join(", ");
    match kind {
        "NamespaceDeletionDiscoveryFailure" => found.discovery.clone().map(|error| ("DiscoveryFailed", error)),
        "NamespaceDeletionContentFailure" if !found.failures.is_empty() => {
            let mut failures = found.failures.clone();
            failures.sort();
            let count = failures.len();
            Some((
                "ContentDeletionFailed",
                format!("Failed to delete all resource types, {count} remaining: {}", list(failures)),
            ))
        }
        "NamespaceContentRemaining" if !found.remaining.is_empty() => {
            let words = found.remaining.iter().map(|(what, count)| format!("{what} has {count} resource instances"));
            Some(("SomeResourcesRemain", format!("Some resources are remaining: {}", list(words.collect()))))
        }
        "NamespaceFinalizersRemaining" if !found.finalizers.is_empty() => {
            let words = found.finalizers.iter().map(|(what, count)| format!("{what} in {count} resource instances"));
            let words = list(words.collect());
            Some(("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {words}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_and_then_that_nothing_is() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a moment");
        let mut found = Found::default();
        found.remaining.insert("configmaps.".to_owned(), 2);
        found.finalizers.insert("a.test/hold".to_owned(), 1);
        let held = conditions(&[], &found, at("2026-01-01T00:00:00Z")).expect("new ones");
        let said: Vec<_> = held.iter().map(|one| (one["status"].as_str(), one["message"].as_str())).collect();
        assert_eq!(said[2], (Some("False"), Some("All content successfully deleted, may be waiting on finalization")));
        assert_eq!(said[3], (Some("True"), Some("Some resources are remaining: configmaps. has 2 resource instances")));
        let finalizers = "Some content in the namespace has finalizers remaining: a.test/hold in 1 resource instances";
        assert_eq!(said[4], (Some("True"), Some(finalizers)));
        assert_eq!(conditions(&held, &found, at("2026-01-01T00:01:00Z")), None);
        let empty = conditions(&held, &Found::default(), at("2026-01-01T00:02:00Z")).expect("changed");
        assert_eq!(
            (&empty[3]["reason"], &empty[3]["lastTransitionTime"]),
            (&json!("ContentRemoved"), &json!("2026-01-01T00:02:00Z"))
        );
        assert_eq!(empty[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
    }
}
