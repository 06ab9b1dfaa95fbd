//! Which schemas are structural: every field has its type outside of `allOf` and its like, which only narrow values.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::json::{entries, field, flag, has, list, some, text};

/// Where a schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Combinations of schemas that only narrow values.
const JUNCTORS: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// What no structural schema has, and yet may stand here when it is empty.
const UNKNOWN: &[(&str, &str)] = &[("$schema", "schema")];

/// Why a schema cannot even be read as a structural one, beside what [`super::schema`] says of it.
pub(super) fn unreadable(schema: &Value) -> Option<String> {
    for (name, told) in UNKNOWN {
        if !text(schema, name).is_empty() {
            return Some(format!("OpenAPIV3Schema '{told}' is not supported"));
        }
    }
    children(schema).into_iter().find_map(unreadable)
}

fn children(schema: &Value) -> Vec<&Value> {
    let mut found: Vec<&Value> = entries(schema, "properties").map(|(_, value)| value).collect();
    found.extend(["items", "not", "additionalProperties"].iter().filter_map(|name| some(schema, name)));
    found.extend(JUNCTORS.iter().flat_map(|name| list(schema, name)));
    found.retain(|child| child.is_object());
    found
}

/// What is wrong with the schema at the root.
pub(super) fn check(schema: &Value, path: &Path, errors: &mut ErrorList) {
    check_schema(schema, Level::Root, path, errors);
    check_complete(schema, path, errors);
}

fn check_schema(schema: &Value, level: Level, path: &Path, errors: &mut ErrorList) {
    if let Some(items) = some(schema, "items").filter(|items| items.is_object()) {
        check_schema(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in entries(schema, "properties") {
        check_schema(property, Level::Field, &path.child("properties").key(name), errors);
    }
    if let Some(more) = some(schema, "additionalProperties") {
        let at = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&at, "must not be used at the root"));
        }
        if more.is_object() {
            check_schema(more, Level::Field, &at, errors);
        }
    }
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let either = flag(schema, "x-kubernetes-int-or-string");
    for (name, set) in
        [("x-kubernetes-preserve-unknown-fields", preserves), ("x-kubernetes-embedded-resource", embedded)]
    {
        if either && set {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(name), true, detail));
        }
    }
    let (skip_any, skip_first) = (is_either(schema), either_in_all_of(schema));
    check_values(schema, skip_any && either, skip_first && either, path, errors);
    if embedded && !preserves && entries(schema, "properties").next().is_none() {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), detail));
    }
    check_type(schema, level, embedded, either || preserves, path, errors);
    if embedded && has(schema, "additionalProperties") {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root || embedded {
        check_metadata(schema, path, errors);
    }
}

fn check_type(schema: &Value, level: Level, embedded: bool, free: bool, path: &Path, errors: &mut ErrorList) {
    let (at, kind) = (path.child("type"), text(schema, "type"));
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&at, detail)
        } else {
            FieldError::invalid(&at, kind, detail)
        });
    } else if kind.is_empty() && !free {
        let what = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        errors.push(FieldError::required(&at, format!("must not be empty {what}")));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&at, kind, "must be object at the root"));
    }
}

/// What a schema may say of an object's own type and metadata.
fn check_metadata(schema: &Value, path: &Path, errors: &mut ErrorList) {
    let properties = field(schema, "properties");
    let path = path.child("properties");
    for name in ["kind", "apiVersion"] {
        if has(properties, name) && text(field(properties, name), "type") != "string" {
            let kind = text(field(properties, name), "type");
            errors.push(FieldError::invalid(&path.child(name).child("type"), kind, "must be string"));
        }
    }
    let Some(metadata) = some(properties, "metadata") else { return };
    let path = path.child("metadata");
    if text(metadata, "type") != "object" {
        errors.push(FieldError::invalid(&path.child("type"), text(metadata, "type"), "must be object"));
    }
    for (name, _) in
        entries(metadata, "properties").filter(|(name, _)| !matches!(name.as_str(), "name" | "generateName"))
    {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&path, format!("{detail}: {name}")));
    }
}

/// `anyOf: [{type: integer}, {type: string}]`
fn is_either(schema: &Value) -> bool {
    let only = |one: &Value, kind: &str| one.as_object().is_some_and(|one| one.len() == 1) && text(one, "type") == kind;
    matches!(list(schema, "anyOf"), [one, other] if only(one, "integer") && only(other, "string"))
}

/// The same as the first of `allOf`.
fn either_in_all_of(schema: &Value) -> bool {
    list(schema, "allOf").first().is_some_and(is_either)
}

/// Schemas that only narrow values.
fn check_values(schema: &Value, skip_any: bool, skip_first: bool, path: &Path, errors: &mut ErrorList) {
    for name in JUNCTORS {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (index, value) in list(schema, name).iter().enumerate() {
            let skip = name == "allOf" && index == 0 && skip_first;
            check_nested(value, skip, &path.child(name).index(index), errors);
        }
    }
    if let Some(value) = some(schema, "not") {
        check_nested(value, false, &path.child("not"), errors);
    }
}

fn check_nested(value: &Value, skip_any: bool, path: &Path, errors: &mut ErrorList) {
    check_values(value, skip_any, false, path, errors);
    if let Some(items) = some(value, "items").filter(|items| items.is_object()) {
        check_nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in entries(value, "properties") {
        check_nested(property, false, &path.child("properties").key(name), errors);
    }
    let mut refuse = |name: &str, is_set: bool, what: &str| {
        if is_set {
            errors.push(FieldError::forbidden(&path.child(name), format!("must be {what} to be structural")));
        }
    };
    refuse("type", !text(value, "type").is_empty(), "empty");
    refuse("additionalProperties", has(value, "additionalProperties"), "undefined");
    refuse("default", has(value, "default"), "undefined");
    for name in ["title", "description"] {
        refuse(name, !text(value, name).is_empty(), "empty");
    }
    for name in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        refuse(name, flag(value, name), "false");
    }
    refuse("x-kubernetes-list-map-keys", !list(value, "x-kubernetes-list-map-keys").is_empty(), "empty");
    for name in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
        refuse(name, has(value, name), "undefined");
    }
    refuse("x-kubernetes-validations", !list(value, "x-kubernetes-validations").is_empty(), "empty");
    if has(field(value, "properties"), "metadata") {
        let detail = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(&path.child("properties").child("metadata"), detail));
    }
}

/// What is narrowed has to be there.
fn check_complete(schema: &Value, path: &Path, errors: &mut ErrorList) {
    for name in JUNCTORS {
        for (index, value) in list(schema, name).iter().enumerate() {
            check_defined(value, schema, path, &path.child(name).index(index), errors);
        }
    }
    if let Some(value) = some(schema, "not") {
        check_defined(value, schema, path, &path.child("not"), errors);
    }
    for (name, property) in entries(schema, "properties") {
        check_complete(property, &path.child("properties").key(name), errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(child) = some(schema, name).filter(|child| child.is_object()) {
            check_complete(child, &path.child(name), errors);
        }
    }
}

fn check_defined(value: &Value, schema: &Value, path: &Path, from: &Path, errors: &mut ErrorList) {
    for name in JUNCTORS {
        for (index, inner) in list(value, name).iter().enumerate() {
            check_defined(inner, schema, path, &from.child(name).index(index), errors);
        }
    }
    if let Some(inner) = some(value, "not") {
        check_defined(inner, schema, path, &from.child("not"), errors);
    }
    let because = |from: &Path| format!("because it is defined in {from}");
    if let Some(items) = some(value, "items") {
        let from = from.child("items");
        match some(schema, "items") {
            Some(defined) => check_defined(items, defined, &path.child("items"), &from, errors),
            None => errors.push(FieldError::required(&path.child("items"), because(&from))),
        }
    }
    for (name, property) in entries(value, "properties") {
        let (at, from) = (path.child("properties").key(name), from.child("properties").key(name));
        let more = some(schema, "additionalProperties").filter(|more| more.is_object());
        match some(field(schema, "properties"), name).or(more) {
            Some(defined) => check_defined(property, defined, &at, &from, errors),
            None => errors.push(FieldError::required(&at, because(&from))),
        }
    }
}
