//! What cells are made of: texts and numbers of an object, ages, labels and selectors, in the forms in which kube-apiserver prints them.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::duration;

/// An object whose cells are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) object: &'a Value,
    pub(super) now: Timestamp,
}

impl<'a> Cells<'a> {
    pub(super) fn get(&self, pointer: &str) -> Option<&'a Value> {
        self.object.pointer(pointer).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, pointer: &str) -> &'a str {
        self.get(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A text, or what stands for none.
    pub(super) fn text_or(&self, pointer: &str, none: &str) -> Value {
        match self.text(pointer) {
            "" => none.into(),
            text => text.into(),
        }
    }

    pub(super) fn number(&self, pointer: &str) -> i64 {
        self.get(pointer).and_then(Value::as_i64).unwrap_or_default()
    }

    pub(super) fn flag(&self, pointer: &str) -> bool {
        self.get(pointer).and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn items(&self, pointer: &str) -> &'a [Value] {
        self.get(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(super) fn map(&self, pointer: &str) -> Option<&'a Map<String, Value>> {
        self.get(pointer).and_then(Value::as_object)
    }

    pub(super) fn name(&self) -> Value {
        self.text("/metadata/name").into()
    }

    pub(super) fn age(&self) -> Value {
        self.since("/metadata/creationTimestamp").into()
    }

    pub(super) fn since(&self, pointer: &str) -> String {
        duration::since(self.get(pointer), self.now)
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.get("/metadata/deletionTimestamp").is_some()
    }

    /// The status of a condition; empty when there is none.
    pub(super) fn condition(&self, kind: &str) -> &'a str {
        let found = self.items("/status/conditions").iter().find(|condition| condition["type"] == kind);
        found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
    }

    /// Names and images of the containers of a template.
    pub(super) fn containers(&self, template: &str) -> [Value; 2] {
        let containers = self.items(&format!("{template}/spec/containers"));
        ["name", "image"].map(|field| texts(containers, field).join(",").into())
    }

    /// A label selector as it is written in a query; `<none>` when it selects nothing or everything.
    pub(super) fn selector(&self, pointer: &str) -> Value {
        let mut parts: Vec<(String, String)> = Vec::new();
        for (key, value) in self.map(&format!("{pointer}/matchLabels")).into_iter().flatten() {
            parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
        }
        for requirement in self.items(&format!("{pointer}/matchExpressions")) {
            let key = requirement["key"].as_str().unwrap_or_default();
            let mut values: Vec<&str> =
                requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            values.sort_unstable();
            let text = match requirement["operator"].as_str() {
                Some("In") => format!("{key} in ({})", values.join(",")),
                Some("NotIn") => format!("{key} notin ({})", values.join(",")),
                Some("Exists") => key.to_owned(),
                Some("DoesNotExist") => format!("!{key}"),
                _ => return "<error>".into(),
            };
            parts.push((key.to_owned(), text));
        }
        if parts.is_empty() {
            return "<none>".into();
        }
        parts.sort_by(|one, other| one.0.cmp(&other.0));
        parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",").into()
    }

    /// A map of labels as `a=1,b=2`; `<none>` when it is empty.
    pub(super) fn labels(&self, pointer: &str) -> Value {
        let labels = self.map(pointer).into_iter().flatten();
        let labels: Vec<String> =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        if labels.is_empty() { "<none>".into() } else { labels.join(",").into() }
    }
}

/// A text of each item.
pub(super) fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().filter_map(|item| item[field].as_str()).collect()
}

/// The first few, and how many more there are.
pub(super) fn some(all: &[String], max: usize) -> String {
    let shown = all[..all.len().min(max)].join(",");
    if all.len() > max { format!("{shown} + {} more...", all.len() - max) } else { shown }
}
