//! Conditions as newer kinds have them (`metav1.Condition`).

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks,
    json::{has, int, text},
};

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;
/// What the state of a condition may be.
pub(crate) const STATES: &[&str] = &["False", "True", "Unknown"];
const REASON: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const REASON_MESSAGE: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";

/// What is wrong with a list of conditions.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, conditions: &[Value]) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        checks::label_name(errors, &path.child("type"), kind);
        checks::one_of(errors, &path.child("status"), text(condition, "status"), STATES);
        if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
            let detail = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(&path.child("observedGeneration"), generation, detail));
        }
        if !has(condition, "lastTransitionTime") {
            errors.push(FieldError::required(&path.child("lastTransitionTime"), ""));
        }
        let reason = text(condition, "reason");
        let at = path.child("reason");
        if checks::required(errors, &at, reason) {
            if reason.len() > REASON_MAX {
                errors.push(FieldError::invalid(&at, reason, names::max_length_message(REASON_MAX)));
            }
            if !is_reason(reason) {
                let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
                errors.push(FieldError::invalid(&at, reason, names::regex_message(REASON_MESSAGE, REASON, &examples)));
            }
        }
        if text(condition, "message").len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAX));
        }
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    reason.starts_with(|first: char| first.is_ascii_alphabetic())
        && reason.bytes().all(|byte| word(byte) || matches!(byte, b',' | b':'))
        && reason.bytes().last().is_some_and(word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_says_what_since_when_and_why() {
        let count = |conditions: &[Value]| {
            let mut errors = ErrorList::new();
            check(&mut errors, &Path::new("c"), conditions);
            errors.len()
        };
        let good = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z", "reason": "All_Good"});
        assert_eq!(count(std::slice::from_ref(&good)), 0);
        assert_eq!(count(&[good.clone(), good.clone()]), 1);
        assert_eq!(count(&[json!({"type": "Ready"})]), 3);
        let mut odd = good;
        odd["reason"] = "a-b".into();
        assert_eq!(count(&[odd]), 1);
    }
}
