//! Checks that many kinds make, each adding what it finds to the list.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use crate::{golang::Struct, json};

/// What is said of a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// One error for each message.
pub(crate) fn invalid(errors: &mut ErrorList, path: &Path, value: impl Into<Value>, messages: Vec<String>) {
    if messages.is_empty() {
        return;
    }
    let value = value.into();
    errors.extend(messages.into_iter().map(|message| FieldError::invalid(path, value.clone(), message)));
}

/// A number that may not be negative.
pub(crate) fn non_negative(errors: &mut ErrorList, path: &Path, value: Option<i64>) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// A text that is one of `allowed`, which are named in the order given.
pub(crate) fn one_of(errors: &mut ErrorList, path: &Path, value: &str, allowed: &[&str]) {
    if !allowed.contains(&value) {
        errors.push(FieldError::not_supported(path, value, allowed));
    }
}

/// The same where the text must be given at all.
pub(crate) fn required_one_of(errors: &mut ErrorList, path: &Path, value: &str, allowed: &[&str]) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        one_of(errors, path, value, allowed);
    }
}

/// A text that must be given.
pub(crate) fn required(errors: &mut ErrorList, path: &Path, value: &str) -> bool {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    !value.is_empty()
}

/// A field that may not change. `null` and a missing field are the same.
pub(crate) fn immutable(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value, name: &str) {
    let (new, old) = (json::field(new, name), json::field(old, name));
    if new != old {
        errors.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
    }
}

/// The same of a text, where an empty one is as good as none.
pub(crate) fn immutable_text(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value, name: &str) {
    let (new, old) = (json::text(new, name), json::text(old, name));
    if new != old {
        errors.push(FieldError::invalid(path, new, IMMUTABLE));
    }
}

/// The same of a structure, which is shown as Go holds it.
pub(crate) fn immutable_struct(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value, shape: &Struct) {
    if new != old {
        errors.push(shown(ErrorKind::Invalid, path, &shape.show(new), IMMUTABLE));
    }
}

/// An error whose value is text that is shown as it is.
pub(crate) fn shown(kind: ErrorKind, path: &Path, value: &str, detail: &str) -> FieldError {
    let words = if detail.is_empty() { value.to_owned() } else { format!("{value}: {detail}") };
    FieldError::new(kind, path, None, words)
}

/// A key of labels.
pub(crate) fn label_name(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid(errors, path, value, names::is_qualified_name(value));
}

/// A name that is a DNS label.
pub(crate) fn dns_label(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid(errors, path, value, names::is_dns1123_label(value));
}

/// A name that is a DNS subdomain.
pub(crate) fn dns_subdomain(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid(errors, path, value, names::is_dns1123_subdomain(value));
}

/// A number of a port.
pub(crate) fn port_number(errors: &mut ErrorList, path: &Path, value: i64) {
    invalid(errors, path, value, names::is_valid_port_number(value));
}

/// A port by number or by name; nothing at all is number 0.
pub(crate) fn port_number_or_name(errors: &mut ErrorList, path: &Path, value: &Value) {
    match value.as_str() {
        Some(name) => invalid(errors, path, name, names::is_valid_port_name(name)),
        None => port_number(errors, path, value.as_i64().unwrap_or_default()),
    }
}
