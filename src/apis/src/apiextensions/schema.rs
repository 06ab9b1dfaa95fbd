//! What a schema of a custom resource may consist of.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    gotext,
};
use cel::{Decl, Environment, Program, Type};
use serde_json::Value;

use super::structural;
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{entries, field, flag, has, list, some, text},
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Formats that mean something.
const FORMATS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];
/// Fields of JSON Schema that no schema here has.
const UNSUPPORTED: [&str; 4] = ["id", "additionalItems", "patternProperties", "definitions"];

static RULE: Struct = Struct(&[
    ("Rule", "rule", Shape::Text),
    ("Message", "message", Shape::Text),
    ("MessageExpression", "messageExpression", Shape::Text),
    ("Reason", "reason", Shape::Any),
    ("FieldPath", "fieldPath", Shape::Text),
    ("OptionalOldSelf", "optionalOldSelf", Shape::Any),
]);

/// What is wrong with a schema at the root of an object.
pub(super) fn check(schema: &Value, path: &Path, errors: &mut ErrorList) {
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let before = errors.len();
    let unreadable = structural::unreadable(schema);
    if unreadable.is_none() && !has_unsupported(schema) {
        structural::check(schema, path, errors);
    }
    let spent = RefCell::default();
    let place = Place { decl: Decl::of_schema(schema, true, "selfType").map(Arc::new), times: 1, spent: &spent };
    check_one(schema, (errors.len() == before).then_some(&place), path, errors);
    spent.into_inner().check(path, errors);
    if errors.len() == before
        && let Some(why) = unreadable
    {
        errors.push(FieldError::invalid(path, "", why));
    }
}

/// Whether a schema has something that keeps it from being read as a structural one.
fn has_unsupported(schema: &Value) -> bool {
    UNSUPPORTED.iter().any(|name| is_used(schema, name))
        || has(schema, "$ref")
        || is_used(schema, "dependencies")
        || ["items", "not", "additionalProperties"].iter().filter_map(|name| some(schema, name)).any(has_unsupported)
        || entries(schema, "properties").any(|(_, property)| has_unsupported(property))
        || ["allOf", "anyOf", "oneOf"].iter().flat_map(|name| list(schema, name)).any(has_unsupported)
}

fn is_used(schema: &Value, name: &str) -> bool {
    match some(schema, name) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty() || name == "additionalItems",
        Some(_) => true,
        None => false,
    }
}

fn check_one(schema: &Value, rules: Option<&Place<'_>>, path: &Path, errors: &mut ErrorList) {
    for name in UNSUPPORTED {
        if is_used(schema, name) {
            errors.push(FieldError::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    for name in ["dependencies", "$ref"] {
        if has(schema, name) {
            errors.push(FieldError::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if field(schema, "items").is_array() {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), detail));
    }
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    check_additional(schema, rules, path, errors);
    for (name, property) in entries(schema, "properties") {
        check_one(property, rules.map(|place| place.field(name)).as_ref(), &path.child("properties").key(name), errors);
    }
    if let Some(not) = some(schema, "not") {
        check_one(not, None, &path.child("not"), errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (index, value) in list(schema, name).iter().enumerate() {
            check_one(value, None, &path.child(name).index(index), errors);
        }
    }
    for (name, definition) in entries(schema, "definitions") {
        check_one(definition, None, &path.child("definitions").key(name), errors);
    }
    if let Some(items) = some(schema, "items").filter(|items| items.is_object()) {
        check_one(items, rules.map(Place::element).as_ref(), &path.child("items"), errors);
    }
    check_extensions(schema, path, errors);
    check_lists(schema, path, errors);
    let kind = text(schema, "type");
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    } else if !kind.is_empty() {
        checks::one_of(errors, &path.child("type"), kind, TYPES);
    }
    check_rules(schema, rules, path, errors);
}

fn check_additional(schema: &Value, rules: Option<&Place<'_>>, path: &Path, errors: &mut ErrorList) {
    let Some(more) = some(schema, "additionalProperties") else { return };
    let at = path.child("additionalProperties");
    if entries(schema, "properties").next().is_some() && more != &Value::Bool(false) {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(&at, detail));
    }
    if more == &Value::Bool(false) {
        errors.push(FieldError::forbidden(&at, "additionalProperties cannot be set to false"));
    }
    if more.is_object() {
        check_one(more, rules.map(Place::element).as_ref(), &at, errors);
    }
}

fn check_extensions(schema: &Value, path: &Path, errors: &mut ErrorList) {
    let name = "x-kubernetes-preserve-unknown-fields";
    if field(schema, name) == &Value::Bool(false) {
        errors.push(FieldError::invalid(&path.child(name), false, "must be true or undefined"));
    }
    let wanted: [(&str, &str, &[&str]); 2] = [
        ("x-kubernetes-map-type", "object", &["atomic", "granular"]),
        ("x-kubernetes-list-type", "array", &["atomic", "set", "map"]),
    ];
    for (name, kind, known) in wanted {
        if !has(schema, name) {
            continue;
        }
        let (at, given) = (path.child("type"), text(schema, "type"));
        let detail = format!("must be {kind} if {name} is specified");
        if given.is_empty() {
            errors.push(FieldError::required(&at, detail));
        } else if given != kind {
            errors.push(FieldError::invalid(&at, given, detail));
        }
        checks::one_of(errors, &path.child(name), text(schema, name), known);
    }
}

fn check_lists(schema: &Value, path: &Path, errors: &mut ErrorList) {
    let (type_at, keys_at) = (path.child("x-kubernetes-list-type"), path.child("x-kubernetes-list-map-keys"));
    let keys: Vec<&str> = list(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    let kind = text(schema, "x-kubernetes-list-type");
    if !keys.is_empty() && kind != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(if has(schema, "x-kubernetes-list-type") {
            FieldError::invalid(&type_at, kind, detail)
        } else {
            FieldError::required(&type_at, detail)
        });
    }
    let items = some(schema, "items");
    if kind == "map" {
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&keys_at, detail));
        }
        let Some(items) = items else {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&path.child("items"), detail));
            return;
        };
        check_keys(items, &keys, path, errors);
    } else if kind == "set"
        && let Some(items) = items
    {
        check_set(items, &path.child("items"), errors);
    }
}

fn check_keys(items: &Value, keys: &[&str], path: &Path, errors: &mut ErrorList) {
    let (at, items_at) = (path.child("x-kubernetes-list-map-keys"), path.child("items"));
    let kind = text(items, "type");
    if !kind.is_empty() && kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&items_at.child("type"), kind, detail));
    }
    let mut seen = HashSet::new();
    let required: HashSet<&str> = list(items, "required").iter().filter_map(Value::as_str).collect();
    for (index, key) in keys.iter().enumerate() {
        let Some(property) = some(field(items, "properties"), key) else {
            let detail = "entries must all be names of item properties";
            errors.push(FieldError::invalid(&at.index(index), *key, detail));
            continue;
        };
        let property_at = items_at.child("properties").key(key);
        if matches!(text(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&property_at.child("type"), text(property, "type"), detail));
        }
        if flag(property, "nullable") {
            let detail = "cannot be nullable if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::forbidden(&property_at.child("nullable"), detail));
        }
        if !required.contains(key) && !has(property, "default") {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&property_at.child("default"), detail));
        }
        if !seen.insert(*key) {
            errors.push(FieldError::invalid(&at.index(index), *key, "must not contain duplicate entries"));
        }
    }
}

fn check_set(items: &Value, path: &Path, errors: &mut ErrorList) {
    if flag(items, "nullable") {
        let detail = "cannot be nullable when parent array's x-kubernetes-list-type is set";
        errors.push(FieldError::forbidden(&path.child("nullable"), detail));
    }
    let (name, at) = match text(items, "type") {
        "array" => ("x-kubernetes-list-type", path.child("x-kubernetes-list-type")),
        "object" => ("x-kubernetes-map-type", path.child("x-kubernetes-map-type")),
        _ => return,
    };
    if text(items, name) != "atomic" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        errors.push(FieldError::invalid(&at, text(items, name), detail));
    }
}

fn check_rules(schema: &Value, place: Option<&Place<'_>>, path: &Path, errors: &mut ErrorList) {
    let path = path.child("x-kubernetes-validations");
    let mut wrong = ErrorList::new();
    let known = place.filter(|place| place.decl.is_some());
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        if text(rule, "rule").trim().is_empty() {
            errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
        }
        let message = text(rule, "message");
        let at = path.child("message");
        if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(&at, message, "message must be non-empty if specified"));
        } else if message.trim().contains('\n') {
            errors.push(FieldError::invalid(&at, message, "message must not contain line breaks"));
        } else if text(rule, "rule").trim().contains('\n') && message.trim().is_empty() {
            errors.push(FieldError::required(&at, "message must be specified if rule contains line breaks"));
        }
        let expression = text(rule, "messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(&path.child("messageExpression"), detail));
        }
        if has(rule, "reason") {
            checks::one_of(errors, &path.child("reason"), text(rule, "reason"), REASONS);
        }
        let leads = text(rule, "fieldPath");
        if !leads.is_empty() && !is_place(leads, schema) {
            errors.push(FieldError::invalid(&path.child("fieldPath"), leads, "must be a valid path"));
        }
        if let Some(known) = known.filter(|_| errors.len() == before) {
            compile_rule(rule, known, &path, &mut wrong);
        }
    }
    errors.extend(wrong);
}

/// A rule comes to yes or no, and its message to a text.
fn compile_rule(rule: &Value, place: &Place<'_>, path: &Path, errors: &mut ErrorList) {
    let Some(decl) = place.decl.as_deref() else { return };
    let env = rule_environment(decl, flag(rule, "optionalOldSelf"));
    let shown = RULE.show(rule);
    let refuse = |errors: &mut ErrorList, name: &str, why: &str| {
        errors.push(checks::shown(ErrorKind::Invalid, &path.child(name), &shown, why));
    };
    let sizes = [("self", decl), ("oldSelf", decl)];
    match Program::compile(text(rule, "rule"), &env) {
        Err(why) => {
            refuse(errors, "rule", &format!("compilation failed: {why}"));
            return;
        }
        Ok(program) if !matches!(program.kind(), Type::Bool) => {
            refuse(errors, "rule", "cel expression must evaluate to a bool");
            return;
        }
        Ok(program) => place.charge(program.cost(&sizes), "rule", path.child("rule"), errors),
    }
    let expression = text(rule, "messageExpression");
    if expression.is_empty() {
        return;
    }
    match Program::compile(expression, &env) {
        Err(why) => refuse(errors, "messageExpression", &format!("messageExpression compilation failed: {why}")),
        Ok(program) if !matches!(program.kind(), Type::String) => {
            refuse(errors, "messageExpression", "messageExpression must evaluate to a string");
        }
        Ok(program) => {
            place.charge(program.cost(&sizes), "messageExpression", path.child("messageExpression"), errors);
        }
    }
}

/// What a rule of a place can refer to.
pub fn rule_environment(decl: &Decl, optional_old: bool) -> Environment {
    let old =
        if optional_old { Type::Opaque("optional_type".into(), Arc::new([decl.ty.clone()])) } else { decl.ty.clone() };
    Environment::new([("self", decl.ty.clone()), ("oldSelf", old)])
}

/// What one expression may be estimated to cost, and all of a schema.
const COST_MAX: u64 = 10_000_000;
const TOTAL_COST_MAX: u64 = 100_000_000;
/// How many expressions are named when all of them cost too much.
const NAMED_MAX: usize = 4;
const ADVICE: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";

/// A place of a schema, as rules see it.
struct Place<'s> {
    decl: Option<Arc<Decl>>,
    /// How often it is in an object at most.
    times: u64,
    spent: &'s RefCell<Spent>,
}

/// What the expressions of a schema are estimated to cost.
#[derive(Default)]
struct Spent {
    total: u64,
    most: Vec<(u64, Path)>,
}

impl Place<'_> {
    fn field(&self, name: &str) -> Self {
        Self { decl: self.decl.as_ref().and_then(|decl| decl.field(name)).cloned(), ..*self }
    }

    fn element(&self) -> Self {
        let max = self.decl.as_ref().map_or(1, |decl| decl.max);
        let decl = self.decl.as_ref().and_then(|decl| decl.element()).cloned();
        Self { decl, times: self.times.saturating_mul(max), spent: self.spent }
    }

    fn charge(&self, cost: u64, what: &str, path: Path, errors: &mut ErrorList) {
        let cost = cost.saturating_mul(self.times);
        if cost > COST_MAX {
            let detail =
                format!("estimated {what} cost exceeds budget by factor of {} {ADVICE}", factor(cost, COST_MAX));
            errors.push(FieldError::forbidden(&path, detail));
        }
        let mut spent = self.spent.borrow_mut();
        spent.total = spent.total.saturating_add(cost);
        if cost >= TOTAL_COST_MAX / 100 {
            spent.most.push((cost, path));
        }
    }
}

impl Spent {
    fn check(mut self, path: &Path, errors: &mut ErrorList) {
        if self.total <= TOTAL_COST_MAX {
            return;
        }
        self.most.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in self.most.iter().take(NAMED_MAX) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, detail));
        }
        let factor = factor(self.total, TOTAL_COST_MAX);
        let detail = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} {ADVICE}"
        );
        errors.push(FieldError::forbidden(path, detail));
    }
}

#[allow(clippy::cast_precision_loss, reason = "only shown")]
fn factor(cost: u64, max: u64) -> String {
    let factor = cost as f64 / max as f64;
    if factor > 100.0 { "more than 100x".into() } else { format!("{factor:.1}x") }
}

/// Whether a path leads to a field that a schema has: `.a.b`, `['a'].b`.
fn is_place(place: &str, schema: &Value) -> bool {
    let mut rest = place;
    let mut at = schema;
    while !rest.is_empty() {
        let (name, after) = if let Some(inner) = rest.strip_prefix("['") {
            let Some((name, after)) = inner.split_once("']") else { return false };
            (name, after)
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            inner.split_at(end)
        } else {
            return false;
        };
        let more = some(at, "additionalProperties").filter(|more| more.is_object());
        match some(field(at, "properties"), name).or(more) {
            Some(next) => at = next,
            None => return false,
        }
        rest = after;
    }
    true
}

/// Formats that no one knows are taken and mean nothing.
pub(super) fn warn(schema: &Value, warnings: &mut Vec<String>) {
    let format = text(schema, "format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        let warning = format!("unrecognized format {}", gotext::quote(format));
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    for (_, property) in entries(schema, "properties") {
        warn(property, warnings);
    }
    for child in ["items", "not", "additionalProperties"].iter().filter_map(|name| some(schema, name)) {
        warn(child, warnings);
    }
    for child in ["allOf", "anyOf", "oneOf"].iter().flat_map(|name| list(schema, name)) {
        warn(child, warnings);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        check(&schema, &Path::new("s"), &mut errors);
        errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect()
    }

    #[test]
    fn a_schema_is_structural() {
        let field = |schema: Value| said(json!({"type": "object", "properties": {"a": schema}}));
        assert!(field(json!({"type": "string", "allOf": [{"pattern": "x"}]})).is_empty());
        assert!(
            field(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}))
                .is_empty()
        );
        assert_eq!(field(json!({})), ["s.properties[a].type: Required value"]);
        assert_eq!(
            field(json!({"type": "string", "anyOf": [{"type": "string"}]})),
            ["s.properties[a].anyOf[0].type: Forbidden"]
        );
        assert_eq!(
            field(json!({"type": "object", "oneOf": [{"properties": {"b": {}}}]})),
            ["s.properties[a].properties[b]: Required value"]
        );
        assert_eq!(said(json!({"type": "string"})), ["s.type: Invalid value"]);
        assert_eq!(said(json!({"type": "object", "$ref": "x"})), ["s.$ref: Forbidden"]);
    }

    #[test]
    fn lists_are_keyed_by_fields_that_are_there() {
        let keyed = |items: Value| {
            let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items});
            said(json!({"type": "object", "properties": {"l": list}}))
        };
        let item = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}});
        assert!(keyed(item).is_empty());
        assert_eq!(keyed(json!({"type": "object", "properties": {"k": {"type": "string"}}})).len(), 1);
        assert_eq!(keyed(json!({"type": "object"})).len(), 1);
    }

    #[test]
    fn rules_come_to_yes_or_no() {
        let rule = |rule: Value| {
            said(
                json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [rule]}),
            )
        };
        assert!(rule(json!({"rule": "self.a > 1", "messageExpression": "'no'", "fieldPath": ".a"})).is_empty());
        assert_eq!(rule(json!({"rule": "self.a >"})), ["s.x-kubernetes-validations[0].rule: Invalid value"]);
        assert_eq!(rule(json!({"rule": "1"})), ["s.x-kubernetes-validations[0].rule: Invalid value"]);
        assert_eq!(
            rule(json!({"rule": "true", "fieldPath": ".b"})),
            ["s.x-kubernetes-validations[0].fieldPath: Invalid value"]
        );
    }
}
