//! A definition's `openAPIV3Schema` as a schema.

use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::Rules;
use crate::schema::{Field, Kind, Merge, Patch, Schema, Struct, StructRef, builtin};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The schema of a custom resource's objects. `keeps_unknown` says that no unknown field is dropped anywhere.
pub fn compile(definition: &Value, keeps_unknown: bool) -> Schema {
    let mut schema = compile_at(definition);
    if let Kind::Struct(StructRef::Own(structure)) = &schema.kind {
        let mut root = Struct {
            name: "".into(),
            go: "".into(),
            fields: structure.fields.clone(),
            rest: structure.rest.clone(),
            atomic: false,
            keeps_unknown: structure.keeps_unknown || keeps_unknown,
        };
        identify(&mut root);
        schema.kind = Kind::Struct(StructRef::Own(Arc::new(root)));
    }
    schema
}

/// Gives a structure the fields that every object has.
fn identify(structure: &mut Struct) {
    structure.fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
    let text = || Schema::new(Kind::Text, "string");
    let metadata = builtin::named(OBJECT_META).unwrap_or_else(text);
    for (name, schema) in [("apiVersion", text()), ("kind", text()), ("metadata", metadata)] {
        structure.fields.push(field(name, schema, false));
    }
}

fn field(name: &str, schema: Schema, required: bool) -> Field {
    let default = schema.rules.as_ref().and_then(|rules| rules.default.clone());
    Field {
        name: name.into(),
        schema,
        pointer: true,
        omit_empty: true,
        omit_zero: false,
        required,
        via: "".into(),
        patch: Patch::default(),
        default,
    }
}

fn compile_at(definition: &Value) -> Schema {
    let text = |name: &str| definition.get(name).and_then(Value::as_str).unwrap_or_default();
    let flag = |name: &str| definition.get(name).and_then(Value::as_bool).unwrap_or_default();
    let keeps_unknown = flag("x-kubernetes-preserve-unknown-fields");
    let rules = rules(definition);
    let kind = match text("type") {
        _ if flag("x-kubernetes-int-or-string") => Kind::IntOrString,
        "boolean" => Kind::Bool,
        "integer" => Kind::Int(64),
        "number" => Kind::Float,
        "string" => Kind::Text,
        "array" => {
            let items = definition.get("items").map(compile_at);
            Kind::List(Arc::new(items.unwrap_or_else(|| Schema::new(Kind::Any, ""))))
        }
        // Without a type, anything may be there; its fields are told apart all the same.
        _ => structure(definition, &rules, keeps_unknown || text("type").is_empty()),
    };
    let merge = match (text("x-kubernetes-list-type"), text("x-kubernetes-map-type")) {
        ("set", _) => Merge::Set,
        ("map", _) => {
            let keys = definition.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            Merge::Keyed(keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect())
        }
        ("atomic", _) | (_, "atomic") => Merge::Atomic,
        _ => Merge::Default,
    };
    Schema { kind, go: "".into(), merge, rules: Some(Arc::new(rules)) }
}

fn structure(definition: &Value, rules: &Rules, keeps_unknown: bool) -> Kind {
    let empty = Map::new();
    let properties = definition.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let rest = match definition.get("additionalProperties") {
        Some(schema @ Value::Object(_)) => Some(Arc::new(compile_at(schema))),
        Some(Value::Bool(true)) => Some(Arc::new(Schema::new(Kind::Any, ""))),
        _ => None,
    };
    if let (Some(values), true, false) = (&rest, properties.is_empty(), keeps_unknown || rules.is_embedded) {
        return Kind::Map(values.clone());
    }
    let is_required = |name: &str| rules.required.iter().any(|required| required == name);
    let fields =
        properties.iter().map(|(name, definition)| field(name, compile_at(definition), is_required(name))).collect();
    let mut structure = Struct { name: "".into(), go: "".into(), fields, rest, atomic: false, keeps_unknown };
    if rules.is_embedded {
        identify(&mut structure);
    }
    Kind::Struct(StructRef::Own(Arc::new(structure)))
}

fn rules(definition: &Value) -> Rules {
    let text = |name: &str| definition.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let flag = |name: &str| definition.get(name).and_then(Value::as_bool).unwrap_or_default();
    let number = |name: &str| definition.get(name).and_then(Value::as_number).cloned();
    let size = |names: [&str; 3]| {
        names.iter().find_map(|name| definition.get(name)?.as_u64()).and_then(|size| usize::try_from(size).ok())
    };
    let schemas = |name: &str| {
        let list = definition.get(name).and_then(Value::as_array).into_iter().flatten();
        list.map(compile_at).collect::<Vec<_>>()
    };
    let types = match text("type") {
        _ if flag("x-kubernetes-int-or-string") => vec!["integer", "string"],
        Some("boolean") => vec!["boolean"],
        Some("integer") => vec!["integer"],
        Some("number") => vec!["number"],
        Some("string") => vec!["string"],
        Some("array") => vec!["array"],
        Some("object") => vec!["object"],
        _ => Vec::new(),
    };
    let required = definition.get("required").and_then(Value::as_array).into_iter().flatten();
    Rules {
        types,
        nullable: flag("nullable"),
        default: definition.get("default").filter(|default| !default.is_null()).cloned(),
        is_embedded: flag("x-kubernetes-embedded-resource"),
        allowed: definition.get("enum").and_then(Value::as_array).cloned(),
        format: text("format").map(str::to_owned),
        // A pattern that is none matches everything; the definition itself is where it is refused.
        pattern: text("pattern").and_then(|pattern| Some((Regex::new(pattern).ok()?, pattern.to_owned()))),
        minimum: number("minimum").map(|bound| (bound, flag("exclusiveMinimum"))),
        maximum: number("maximum").map(|bound| (bound, flag("exclusiveMaximum"))),
        multiple_of: number("multipleOf"),
        min_size: size(["minLength", "minItems", "minProperties"]),
        max_size: size(["maxLength", "maxItems", "maxProperties"]),
        unique_items: flag("uniqueItems"),
        required: required.filter_map(Value::as_str).map(str::to_owned).collect(),
        all_of: schemas("allOf"),
        any_of: schemas("anyOf"),
        one_of: schemas("oneOf"),
        not: definition.get("not").filter(|not| not.is_object()).map(|not| Box::new(compile_at(not))),
    }
}
