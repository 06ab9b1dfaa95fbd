//! Labels, and what selects by them.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{checks, json, metadata};

/// A map of labels (null is as good as an empty one), whose keys and values are told by the map's own path.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, labels: &Value) {
    metadata::labels(labels, path, errors);
}

/// How strictly selectors are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Values have to be values of labels.
    Checked,
    /// An object that was stored with other values keeps them.
    Any,
}

/// A `LabelSelector`; null selects nothing and is all right.
pub(crate) fn check_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    check_selector_with(errors, path, selector, Values::Checked);
}

/// A `LabelSelector`, read as strictly as `values` says.
pub(crate) fn check_selector_with(errors: &mut ErrorList, path: &Path, selector: &Value, values: Values) {
    if selector.is_null() {
        return;
    }
    check(errors, &path.child("matchLabels"), json::field(selector, "matchLabels"));
    let path = path.child("matchExpressions");
    for (index, expression) in json::list(selector, "matchExpressions").iter().enumerate() {
        check_expression(errors, &path.index(index), expression, values);
    }
}

fn check_expression(errors: &mut ErrorList, path: &Path, expression: &Value, strict: Values) {
    let (operator, values) = (json::text(expression, "operator"), json::list(expression, "values"));
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path.child("values"), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    checks::label_name(errors, &path.child("key"), json::text(expression, "key"));
    if strict == Values::Checked {
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            checks::invalid(errors, &path.child("values").index(index), value, names::is_label_value(value));
        }
    }
}

/// Whether a `LabelSelector` has a value that is none of a label.
pub(crate) fn has_invalid_value(selector: &Value) -> bool {
    json::list(selector, "matchExpressions")
        .iter()
        .flat_map(|expression| json::list(expression, "values"))
        .any(|value| !names::is_label_value(value.as_str().unwrap_or_default()).is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(selector: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        check_selector(&mut errors, &Path::new("s"), selector);
        errors.iter().map(|error| error.to_string().chars().take(60).collect()).collect()
    }

    #[test]
    fn a_selector_is_told_operator_first_then_key_then_values() {
        assert!(said(&Value::Null).is_empty());
        assert!(
            said(&json!({"matchLabels": {"a": ""}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}))
                .is_empty()
        );
        let wrong = json!({"matchExpressions": [{"key": "a b", "operator": "x", "values": ["!"]}, {"key": "a", "operator": "In"}]});
        let told = said(&wrong);
        assert_eq!(told[0], "s.matchExpressions[0].operator: Invalid value: \"x\": not a va");
        assert!(told[1].starts_with("s.matchExpressions[0].key: Invalid"));
        assert!(told[2].starts_with("s.matchExpressions[0].values[0]: Invalid"));
        assert!(told[3].starts_with("s.matchExpressions[1].values: Required value: must be"));
        assert!(has_invalid_value(&wrong));
    }
}
