//! Schemas of custom resources, read from their definitions, and what is done with objects by them: unknown fields are pruned, defaults are
//! filled in, values are validated.

mod compile;
mod validate;

use regex::Regex;
use serde_json::{Number, Value};

pub use self::{compile::compile, validate::validate};
use super::{
    Kind, Schema, Tree,
    decode::{self, Decoded},
};

/// What a definition demands of a value beyond its kind, and what stands in for it.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The types that it may have; none for any.
    pub types: Vec<&'static str>,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it is when it is left out.
    pub default: Option<Value>,
    /// Whether it is an object with `apiVersion`, `kind` and `metadata` of its own.
    pub is_embedded: bool,
    /// The only values that it may have.
    pub allowed: Option<Vec<Value>>,
    /// Its format: `date-time`, `uuid`.
    pub format: Option<String>,
    /// What it has to match, and how that was written.
    pub pattern: Option<(Regex, String)>,
    /// Bounds of a number; the flag says that the bound itself is out.
    pub minimum: Option<(Number, bool)>,
    /// As the minimum.
    pub maximum: Option<(Number, bool)>,
    /// What it has to be a multiple of.
    pub multiple_of: Option<Number>,
    /// Characters of a text, items of a list, fields of a map: at least.
    pub min_size: Option<usize>,
    /// At most.
    pub max_size: Option<usize>,
    /// Whether the items of a list differ.
    pub unique_items: bool,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// Schemas of which it must satisfy all.
    pub all_of: Vec<Schema>,
    /// Schemas of which it must satisfy one at least.
    pub any_of: Vec<Schema>,
    /// Schemas of which it must satisfy exactly one.
    pub one_of: Vec<Schema>,
    /// A schema that it must not satisfy.
    pub not: Option<Box<Schema>>,
}

/// Decodes a custom resource: unknown fields are dropped and named, as are fields that are there twice; metadata takes its canonical form.
///
/// # Errors
/// In the words of Go's decoder, when the metadata has the wrong type.
pub fn decode(schema: &Schema, tree: Tree) -> Result<Decoded, String> {
    let mut problems = decode::duplicates(&tree);
    let mut value = Value::from(tree);
    problems.extend(prune(schema, &mut value));
    if let (Some(metadata), Some(meta)) = (value.get_mut("metadata"), schema.field("metadata")) {
        let decoded = decode::decode(meta, metadata.take().into())?;
        *metadata = decoded.value;
    }
    Ok(Decoded { value, problems })
}

/// Drops the fields that a schema does not know; gives back their names, as strict decoding complains about them.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut problems = Vec::new();
    prune_at(schema, value, &mut String::new(), &mut problems);
    problems
}

fn prune_at(schema: &Schema, value: &mut Value, path: &mut String, problems: &mut Vec<String>) {
    let length = path.len();
    match (&schema.kind, value) {
        (Kind::List(items), Value::Array(list)) => {
            for (at, item) in list.iter_mut().enumerate() {
                path.push_str(&format!("[{at}]"));
                prune_at(items, item, path, problems);
                path.truncate(length);
            }
        }
        (Kind::Map(_) | Kind::Struct(_), Value::Object(fields)) => {
            let keeps = matches!(&schema.kind, Kind::Struct(structure) if structure.keeps_unknown);
            fields.retain(|name, value| {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                let known = schema.field(name);
                match known {
                    Some(below) => prune_at(below, value, path, problems),
                    None if keeps => {}
                    None => problems.push(format!("unknown field {}", crate::gotext::quote(path))),
                }
                path.truncate(length);
                known.is_some() || keeps
            });
        }
        _ => {}
    }
}

/// Fills in what is left out, and what is null without being allowed to.
pub fn fill_defaults(schema: &Schema, value: &mut Value) {
    match (&schema.kind, value) {
        (Kind::List(items), Value::Array(list)) => list.iter_mut().for_each(|item| fill_defaults(items, item)),
        (Kind::Map(values), Value::Object(fields)) => {
            for value in fields.values_mut() {
                replace_null(values, value);
                fill_defaults(values, value);
            }
        }
        (Kind::Struct(structure), Value::Object(fields)) => {
            for field in &structure.fields {
                let Some(default) = field.schema.rules.as_ref().and_then(|rules| rules.default.as_ref()) else {
                    continue;
                };
                if !fields.contains_key(&*field.name) {
                    fields.insert(field.name.to_string(), default.clone());
                }
            }
            for (name, value) in fields {
                if let Some(below) = schema.field(name) {
                    replace_null(below, value);
                    fill_defaults(below, value);
                }
            }
        }
        _ => {}
    }
}

fn replace_null(schema: &Schema, value: &mut Value) {
    let Some(rules) = &schema.rules else { return };
    if value.is_null()
        && !rules.nullable
        && let Some(default) = &rules.default
    {
        *value = default.clone();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn widget() -> Schema {
        compile(
            &json!({"type": "object", "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 10},
                    "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                    "name": {"type": "string", "maxLength": 5, "pattern": "^[a-z]+$"},
                    "tags": {"type": "array", "maxItems": 3, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "parts": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "integer", "default": 7}}},
                    },
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "either": {"x-kubernetes-int-or-string": true},
                    "maybe": {"type": "string", "nullable": true},
                    "when": {"type": "string", "format": "date-time"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
                }},
            }}),
            false,
        )
    }

    fn object(spec: Value) -> Value {
        json!({"apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
    }

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let text = object(json!({"size": 2, "free": {"any": [1]}, "parts": [{"name": "a", "x": 1}], "typo": 1, "color": null, "maybe": null})).to_string();
        let decoded = decode(&widget(), serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(decoded.problems, [r#"unknown field "spec.parts[0].x""#, r#"unknown field "spec.typo""#]);
        let mut value = decoded.value;
        fill_defaults(&widget(), &mut value);
        let want =
            json!({"size": 2, "free": {"any": [1]}, "parts": [{"name": "a", "v": 7}], "color": "red", "maybe": null});
        assert_eq!(value["spec"], want);
    }

    #[test]
    fn values_are_refused_in_the_words_of_kubernetes() {
        for (spec, want) in [
            (json!({}), "spec.size: Required value"),
            (json!({"size": 0}), "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
            (json!({"size": 11}), "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"),
            (
                json!({"size": "two"}),
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            ),
            (
                json!({"size": 2.5}),
                "spec.size: Invalid value: \"number\": spec.size in body must be of type integer: \"number\"",
            ),
            (
                json!({"size": 2, "color": "green"}),
                "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
            ),
            (
                json!({"size": 2, "name": "UPPER"}),
                "spec.name: Invalid value: \"UPPER\": spec.name in body should match '^[a-z]+$'",
            ),
            (json!({"size": 2, "name": "abcdef"}), "spec.name: Too long: may not be more than 5 characters"),
            (json!({"size": 2, "tags": ["a", "b", "c", "d"]}), "spec.tags: Too many: 4: must have at most 3 items"),
            (json!({"size": 2, "tags": ["a", "a"]}), "spec.tags[1]: Duplicate value: \"a\""),
            (
                json!({"size": 2, "parts": [{"name": "a"}, {"name": "a", "v": 1}]}),
                "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
            ),
            (json!({"size": 2, "parts": [{"v": 1}]}), "spec.parts[0].name: Required value"),
            (
                json!({"size": 2, "either": true}),
                "spec.either: Invalid value: \"boolean\": spec.either in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"size": 2, "when": "yesterday"}),
                "spec.when: Invalid value: \"yesterday\": spec.when in body must be of type date-time: \"yesterday\"",
            ),
            (
                json!({"size": null}),
                "spec.size: Invalid value: \"null\": spec.size in body must be of type integer: \"null\"",
            ),
            (
                json!({"size": 2, "labels": {"a": 1}}),
                "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
            ),
        ] {
            let errors = validate(&widget(), &object(spec.clone()));
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, [want], "{spec}");
        }
        let fine = json!({"size": 2, "either": "50%", "maybe": null, "when": "2024-05-06T07:08:09Z", "template": {"kind": "X", "any": 1}});
        assert!(validate(&widget(), &object(fine)).is_empty());
    }

    #[test]
    fn alternatives_are_counted() {
        let schema = compile(
            &json!({"type": "object", "properties": {"spec": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                "not": {"required": ["c"]},
            }}}),
            false,
        );
        let of = |spec: Value| {
            validate(&schema, &object(spec)).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(of(json!({"a": 1})), "");
        assert!(
            of(json!({"a": 1, "b": 2}))
                .contains("spec in body must validate one and only one schema (oneOf). Found 2 valid alternatives")
        );
        assert!(of(json!({})).contains("spec in body must validate one and only one schema (oneOf). Found none valid"));
    }
}
