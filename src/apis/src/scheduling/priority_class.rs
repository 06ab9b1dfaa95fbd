//! PriorityClasses.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta,
};
use serde_json::Value;

use crate::{
    checks,
    json::{default, flag, int, text},
    kind::Kind,
    metadata,
};

/// The highest priority that a user may give.
const USER_MAX: i64 = 1_000_000_000;
const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
/// Classes that every cluster has, and what they are worth.
const SYSTEM: &[(&str, i64)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(crate) struct PriorityClass;

impl Kind for PriorityClass {
    fn has_generation(&self) -> bool {
        true
    }

    /// It has a generation, and it stays the first.
    fn is_new_generation(&self, _new: &Value, _old: &Value) -> bool {
        false
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let name = meta::name(object);
        let value = int(object, "value").unwrap_or_default();
        if name.starts_with("system-") {
            if let Some(why) = not_a_system_class(name, value, flag(object, "globalDefault")) {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), detail));
            }
        } else if value > USER_MAX {
            let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.push(FieldError::forbidden(&Path::new("value"), detail));
        }
        checks::required_one_of(errors, &Path::new("preemptionPolicy"), text(object, "preemptionPolicy"), POLICIES);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if int(new, "value").unwrap_or_default() != int(old, "value").unwrap_or_default() {
            errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        checks::immutable_text(errors, &Path::new("preemptionPolicy"), new, old, "preemptionPolicy");
    }
}

fn not_a_system_class(name: &str, value: i64, is_default: bool) -> Option<String> {
    let Some((_, known)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *known {
        Some(format!("value of {name} PriorityClass must be {known}"))
    } else if is_default {
        Some(format!("globalDefault of {name} PriorityClass must be false"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_highest_classes_are_the_systems_own() {
        let said = |name: &str, value: i64| {
            let mut object = json!({"metadata": {"name": name}, "value": value});
            crate::set_defaults("scheduling.k8s.io", "v1", "PriorityClass", &mut object);
            crate::validate_create("scheduling.k8s.io", "PriorityClass", &object).to_string()
        };
        assert_eq!(said("a", USER_MAX), "");
        assert_eq!(said("system-node-critical", 2_000_001_000), "");
        assert!(said("a", USER_MAX + 1).contains("maximum allowed value"));
        assert!(said("system-x", 1).ends_with("system-x is not a known system priority class"));
    }
}
