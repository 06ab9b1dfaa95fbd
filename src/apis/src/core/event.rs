//! Events: of the core group, where almost anything is taken, and of `events.k8s.io`, where everything has to be there. Both are the same
//! objects; errors name the fields as the core group does.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::{Value, json};

use crate::{
    checks,
    golang::{Shape, Struct},
    json::{default, field, has, int, text},
    kind::Kind,
    metadata,
};

const TEXT_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// Events of the core group.
pub(crate) static CORE: Event = Event { strict: false };
/// Events of `events.k8s.io`.
pub(crate) static EVENTS: Event = Event { strict: true };

pub(crate) struct Event {
    /// Whether it is of `events.k8s.io`.
    strict: bool,
}

static SOURCE: Struct = Struct(&[("Component", "component", Shape::Text), ("Host", "host", Shape::Text)]);

/// `ObjectReference`.
pub(crate) static REFERENCE: Struct = Struct(&[
    ("Kind", "kind", Shape::Text),
    ("Namespace", "namespace", Shape::Text),
    ("Name", "name", Shape::Text),
    ("UID", "uid", Shape::Text),
    ("APIVersion", "apiVersion", Shape::Text),
    ("ResourceVersion", "resourceVersion", Shape::Text),
    ("FieldPath", "fieldPath", Shape::Text),
]);

impl Event {
    /// The name on the wire of a field that the core group calls so.
    fn wire(&self, name: &'static str) -> &'static str {
        if !self.strict {
            return name;
        }
        match name {
            "involvedObject" => "regarding",
            "message" => "note",
            "source" => "deprecatedSource",
            "firstTimestamp" => "deprecatedFirstTimestamp",
            "lastTimestamp" => "deprecatedLastTimestamp",
            "count" => "deprecatedCount",
            "reportingComponent" => "reportingController",
            other => other,
        }
    }

    fn validate(&self, event: &Value, errors: &mut ErrorList) {
        let get = |name| field(event, self.wire(name));
        let own = meta::namespace(event);
        let about = text(get("involvedObject"), "namespace");
        let timed = has(event, "eventTime");
        let allowed = match (about, timed) {
            ("", false) => matches!(own, "" | "default"),
            ("", true) => matches!(own, "" | "default" | "kube-system"),
            (_, true) => true,
            (about, false) => about == own,
        };
        if !allowed {
            let path = Path::new("involvedObject").child("namespace");
            errors.push(FieldError::invalid(&path, about, "does not match event.namespace"));
        }
        if timed {
            self.validate_timed(event, errors);
        }
        let problems = if own.is_empty() { Vec::new() } else { names::is_dns1123_subdomain(own) };
        checks::invalid(errors, &Path::new("namespace"), own, problems);
    }

    /// Whoever says when it happened says the rest too.
    fn validate_timed(&self, event: &Value, errors: &mut ErrorList) {
        let value = |name| text(event, self.wire(name));
        let reporter = Path::new(self.wire("reportingComponent"));
        let given = value("reportingComponent");
        if checks::required(errors, &reporter, given) {
            checks::label_name(errors, &reporter, given);
        }
        for name in ["reportingInstance", "action", "reason"] {
            let path = Path::new(name);
            if checks::required(errors, &path, value(name)) && value(name).len() > TEXT_MAX {
                errors.push(FieldError::invalid(&path, "", format!("can have at most {TEXT_MAX} characters")));
            }
        }
        if value("message").len() > NOTE_MAX {
            let detail = format!("can have at most {NOTE_MAX} characters");
            errors.push(FieldError::invalid(&Path::new("message"), "", detail));
        }
    }

    fn validate_strictly(&self, event: &Value, errors: &mut ErrorList) {
        let get = |name| field(event, self.wire(name));
        validate_series(event, errors);
        if !has(event, "eventTime") {
            errors.push(FieldError::required(&Path::new("eventTime"), ""));
        }
        let kind = text(event, "type");
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
        }
        let mut unset = |name: &str, is_set: bool| {
            if is_set {
                errors.push(FieldError::invalid(&Path::new(name), "", "needs to be unset"));
            }
        };
        unset("firstTimestamp", !get("firstTimestamp").is_null());
        unset("lastTimestamp", !get("lastTimestamp").is_null());
        unset("count", int(event, self.wire("count")).unwrap_or_default() != 0);
        let source = get("source");
        unset("source", !text(source, "component").is_empty() || !text(source, "host").is_empty());
    }

    fn validate_change(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.stays(new, old, "involvedObject", |value| REFERENCE.show(value), errors);
        self.texts_stay(new, old, &["reason", "message"], errors);
        self.stays(new, old, "source", |value| SOURCE.show(value), errors);
        for name in ["firstTimestamp", "lastTimestamp", "count"] {
            checks::immutable(errors, &Path::new(name), new, old, self.wire(name));
        }
        self.texts_stay(new, old, &["reason", "type"], errors);
        checks::immutable(errors, &Path::new("eventTime"), new, old, "eventTime");
        self.texts_stay(new, old, &["action"], errors);
        self.stays(new, old, "related", |value| REFERENCE.show_pointer(value), errors);
        self.texts_stay(new, old, &["reportingComponent", "reportingInstance"], errors);
    }

    /// A structure, compared as Go shows it.
    fn stays(
        &self,
        new: &Value,
        old: &Value,
        name: &'static str,
        show: impl Fn(&Value) -> String,
        errors: &mut ErrorList,
    ) {
        let (now, before) = (show(field(new, self.wire(name))), show(field(old, self.wire(name))));
        if now != before {
            errors.push(checks::shown(ErrorKind::Invalid, &Path::new(name), &now, checks::IMMUTABLE));
        }
    }

    fn texts_stay(&self, new: &Value, old: &Value, names: &[&'static str], errors: &mut ErrorList) {
        for name in names {
            let path = Path::new(if *name == "reportingComponent" { "reportingController" } else { name });
            checks::immutable_text(errors, &path, new, old, self.wire(name));
        }
    }
}

fn validate_series(event: &Value, errors: &mut ErrorList) {
    if has(event, "series") {
        let (path, series) = (Path::new("series"), field(event, "series"));
        if int(series, "count").unwrap_or_default() < 2 {
            errors.push(FieldError::invalid(&path.child("count"), "", "should be at least 2"));
        }
        if !has(series, "lastObservedTime") {
            errors.push(FieldError::required(&path.child("lastObservedTime"), ""));
        }
    }
}

impl Kind for Event {
    fn defaults(&self, _version: &str, object: &mut Value) {
        if self.strict {
            return;
        }
        for name in ["firstTimestamp", "lastTimestamp", "eventTime"] {
            default(object, name, Value::Null);
        }
        default(object, "source", json!({}));
        default(object, "reportingComponent", "");
        default(object, "reportingInstance", "");
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if self.strict {
            metadata::validate_change(new, old, errors);
        }
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        self.validate(object, errors);
        if self.strict {
            self.validate_strictly(object, errors);
        }
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if !self.strict {
            self.validate(new, errors);
            return;
        }
        if field(new, "series") != field(old, "series") {
            validate_series(new, errors);
        }
        self.validate_change(new, old, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(group: &str, object: &Value) -> Vec<String> {
        let errors = crate::validate_create(group, "Event", object);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn an_event_of_the_core_group_only_stands_beside_what_it_is_about() {
        let mut event = json!({"metadata": {"name": "e", "namespace": "n"}, "involvedObject": {"namespace": "n"}});
        assert!(said("", &event).is_empty());
        event["involvedObject"] = json!({});
        assert_eq!(said("", &event), ["involvedObject.namespace: Invalid value"]);
        event["metadata"]["namespace"] = "default".into();
        assert!(said("", &event).is_empty());
    }

    #[test]
    fn an_event_of_its_own_group_says_everything_and_never_something_else() {
        let mut event = json!({
            "metadata": {"name": "e", "namespace": "n"}, "regarding": {"namespace": "n"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingController": "c", "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal",
        });
        assert!(said("events.k8s.io", &event).is_empty());
        let old = event.clone();
        event["deprecatedCount"] = 1.into();
        event["type"] = "x".into();
        event["reason"] = "".into();
        assert_eq!(
            said("events.k8s.io", &event),
            ["reason: Required value", "type: Invalid value", "count: Invalid value"]
        );
        event["metadata"]["resourceVersion"] = "1".into();
        assert!(crate::validate_update("events.k8s.io", "Event", None, &event, &old).len() >= 4);
    }
}
