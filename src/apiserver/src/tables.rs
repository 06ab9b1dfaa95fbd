//! Tables for people.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The table of `objects`.
pub fn table(_group: &str, _version: &str, _resource: &str, objects: &[Value], now: Timestamp) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let name = crate::registry::meta::text(object, "name");
            let created = crate::registry::meta::text(object, "creationTimestamp").parse::<Timestamp>().unwrap_or(now);
            json!({"cells": [name, apimachinery::duration::human(now.duration_since(created).as_secs())], "object": null})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "rows": rows,
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0},
        ],
    })
}
