//! The columns that a definition gives the tables of its resource.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Custom, JsonPath, text};
use crate::registry::meta;

const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
                   guaranteed to be set in happens-before order across separate operations. Clients may not set this value. \
                   It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. \
                   More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may \
                    allow a client to request the generation of an appropriate name automatically. Name is primarily \
                    intended for creation idempotence and configuration definition. Cannot be updated. More info: \
                    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// The columns of a version; its age where it names none.
pub fn columns(version: &Value) -> Vec<Column> {
    let given = version["additionalPrinterColumns"].as_array().filter(|columns| !columns.is_empty());
    let age = json!([{"name": "Age", "type": "date", "description": AGE, "jsonPath": ".metadata.creationTimestamp"}]);
    let columns = given.or(age.as_array()).cloned().unwrap_or_default();
    let read = |column: &Value| {
        let path = text(column, "/jsonPath");
        let description = match text(column, "/description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            given => given.to_owned(),
        };
        Some(Column {
            definition: json!({
                "name": text(column, "/name"), "type": text(column, "/type"), "format": text(column, "/format"),
                "description": description, "priority": column["priority"].as_i64().unwrap_or(0),
            }),
            kind: text(column, "/type").to_owned(),
            path: JsonPath::parse(path)?,
        })
    };
    columns.iter().filter_map(read).collect()
}

impl Custom {
    /// The table of `objects`.
    pub fn table(&self, objects: &[Value], now: Timestamp) -> Value {
        let mut definitions = vec![json!({
            "name": "Name", "type": "string", "format": "name", "priority": 0, "description": NAME,
        })];
        definitions.extend(self.columns.iter().map(|column| column.definition.clone()));
        let row = |object: &Value| {
            let mut cells = vec![Value::from(meta::text(object, "name"))];
            cells.extend(self.columns.iter().map(|column| cell(column, object, now)));
            json!({"cells": cells, "object": null})
        };
        let rows: Vec<Value> = objects.iter().map(row).collect();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": definitions, "rows": rows})
    }
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(value) = column.path.first(object) else { return Value::Null };
    match (column.kind.as_str(), value) {
        ("string", Value::String(text)) => text.clone().into(),
        ("string", Value::Null) => Value::Null,
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(at) => apimachinery::duration::human(now.duration_since(at).as_secs()).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_of_the_types_of_their_columns() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
            {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
            {"name": "Wrong", "type": "integer", "jsonPath": ".spec.color"}]});
        let object = json!({"spec": {"size": 2, "color": "red", "on": true}});
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let cells: Vec<Value> = columns(&version).iter().map(|column| cell(column, &object, now)).collect();
        assert_eq!(cells, [json!(2), json!("red"), json!(true), Value::Null]);
        assert_eq!(columns(&json!({}))[0].definition["name"], "Age");
    }
}
