//! The versions of a custom resource, and what each has: a schema, subresources, columns.
//!
//! What all versions have alike is told as if it stood once for all, as kube-apiserver holds it.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::schema;
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{field, flag, has, list, text},
};

const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const FIELDS_MAX: usize = 8;

static VERSION: Struct = Struct(&[
    ("Name", "name", Shape::Text),
    ("Served", "served", Shape::Bool),
    ("Storage", "storage", Shape::Bool),
    ("Deprecated", "deprecated", Shape::Bool),
    ("DeprecationWarning", "deprecationWarning", Shape::Any),
    ("Schema", "", Shape::Fixed("null")),
    ("Subresources", "", Shape::Fixed("null")),
    ("AdditionalPrinterColumns", "", Shape::Fixed("null")),
    ("SelectableFields", "", Shape::Fixed("null")),
]);
static VERSIONS: Struct = Struct(&[("v", "versions", Shape::List(&VERSION))]);

/// A field that all versions have alike.
fn shared<'a>(versions: &'a [Value], name: &str) -> Option<&'a Value> {
    let (first, rest) = versions.split_first()?;
    let value = field(first, name);
    rest.iter().all(|other| field(other, name) == value).then_some(value)
}

/// What is wrong with the versions of a spec.
pub(super) fn check(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let versions = list(spec, "versions");
    let at = path.child("versions");
    let has_schema = |version: &Value| has(field(version, "schema"), "openAPIV3Schema");
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| !has_schema(version)) {
        let path = at.index(index).child("schema").child("openAPIV3Schema");
        errors.push(FieldError::required(&path, ""));
    }
    let mut seen = HashSet::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let path = at.index(index);
        let name = text(version, "name");
        unique &= seen.insert(name);
        let problems = names::is_dns1035_label(name);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), name, problems.join(",")));
        }
        check_own(versions, version, &path, errors);
    }
    let mut refuse = |detail: &str| {
        let shown = VERSIONS.show(spec);
        let shown = shown.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        errors.push(checks::shown(ErrorKind::Invalid, &at, shown, detail));
    };
    if !unique {
        refuse("must contain unique version names");
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        refuse("must have exactly one version marked as storage version");
    }
}

fn check_own(versions: &[Value], version: &Value, path: &Path, errors: &mut ErrorList) {
    if shared(versions, "schema").is_none() {
        let at = path.child("schema").child("openAPIV3Schema");
        check_schema(field(version, "schema"), &at, errors);
    }
    if shared(versions, "subresources").is_none() {
        check_subresources(field(version, "subresources"), &path.child("subresources"), errors);
    }
    if shared(versions, "additionalPrinterColumns").is_none() {
        check_columns(list(version, "additionalPrinterColumns"), &path.child("additionalPrinterColumns"), errors);
    }
    if shared(versions, "selectableFields").is_none() {
        check_selectable(list(version, "selectableFields"), &path.child("selectableFields"), errors);
    }
    if has(version, "deprecationWarning") {
        let at = path.child("deprecationWarning");
        let warning = text(version, "deprecationWarning");
        if !flag(version, "deprecated") {
            errors.push(FieldError::invalid(&at, warning, "can only be set for deprecated versions"));
        }
        if warning.is_empty() {
            errors.push(FieldError::invalid(&at, warning, "must not be an empty string"));
        }
    }
}

/// What is wrong with what all versions have alike.
pub(super) fn check_shared(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let versions = list(spec, "versions");
    if let Some(schema) = shared(versions, "schema") {
        check_schema(schema, &path.child("validation").child("openAPIV3Schema"), errors);
    }
    if let Some(subresources) = shared(versions, "subresources") {
        check_subresources(subresources, &path.child("subresources"), errors);
    }
    if let Some(Value::Array(columns)) = shared(versions, "additionalPrinterColumns") {
        check_columns(columns, &path.child("additionalPrinterColumns"), errors);
    }
    if let Some(Value::Array(fields)) = shared(versions, "selectableFields") {
        check_selectable(fields, &path.child("selectableFields"), errors);
    }
}

fn check_schema(schema: &Value, path: &Path, errors: &mut ErrorList) {
    if has(schema, "openAPIV3Schema") {
        schema::check(field(schema, "openAPIV3Schema"), path, errors);
    }
}

fn check_columns(columns: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, column) in columns.iter().enumerate() {
        let path = path.index(index);
        checks::required(errors, &path.child("name"), text(column, "name"));
        let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(column, "type") {
            "" => errors.push(FieldError::required(&path.child("type"), detail)),
            kind if !COLUMN_TYPES.contains(&kind) => {
                errors.push(FieldError::invalid(&path.child("type"), kind, detail))
            }
            _ => {}
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(&path.child("format"), format, detail));
        }
        let (at, place) = (path.child("JSONPath"), text(column, "jsonPath"));
        if checks::required(errors, &at, place) {
            check_place(place, &at, errors);
        }
    }
}

/// A path to a field: `.spec.replicas`.
fn check_place(place: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let fine = place.starts_with('.');
    if !fine {
        errors.push(FieldError::invalid(path, place, "must be a simple json path starting with ."));
    }
    fine
}

fn check_subresources(subresources: &Value, path: &Path, errors: &mut ErrorList) {
    if !has(subresources, "scale") {
        return;
    }
    let (path, scale) = (path.child("scale"), field(subresources, "scale"));
    for (name, root) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let (at, place) = (path.child(name), text(scale, name));
        if checks::required(errors, &at, place)
            && check_place(place, &at, errors)
            && !place.starts_with(&format!(".{root}."))
        {
            errors.push(FieldError::invalid(&at, place, format!("should be a json path under .{root}")));
        }
    }
    let (at, place) = (path.child("labelSelectorPath"), text(scale, "labelSelectorPath"));
    if !place.is_empty()
        && check_place(place, &at, errors)
        && ![".spec.", ".status."].iter().any(|root| place.starts_with(root))
    {
        let detail = "should be a json path under either .status or .spec";
        errors.push(FieldError::invalid(&at, place, detail));
    }
}

fn check_selectable(fields: &[Value], path: &Path, errors: &mut ErrorList) {
    if fields.len() > FIELDS_MAX {
        errors.push(FieldError::too_many(path, fields.len(), FIELDS_MAX));
    }
    let mut seen = HashSet::new();
    for (index, selectable) in fields.iter().enumerate() {
        let (at, place) = (path.index(index).child("jsonPath"), text(selectable, "jsonPath"));
        if !checks::required(errors, &at, place) {
            continue;
        }
        if !place.starts_with(['.', '[']) {
            let first: String = place.chars().take_while(|c| !matches!(c, '.' | '[')).collect();
            let detail = format!("is an invalid path: expected [ or . but got: {first}");
            errors.push(FieldError::invalid(&at, place, detail));
            continue;
        }
        if !seen.insert(place) {
            errors.push(FieldError::duplicate(&at, place));
        }
    }
}
