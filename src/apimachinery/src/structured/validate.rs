//! What cannot be applied: fields that the schema does not know, values of the wrong type, items that cannot be told apart.

use serde_json::Value;

use super::{
    Step,
    shape::{Shape, key_of, shape, value_of},
};
use crate::{
    gotext,
    schema::{Kind, Schema},
};

/// What is wrong with an object that is to be applied, in Kubernetes' words.
///
/// # Errors
/// All that is wrong, as one text.
pub fn validate(schema: &Schema, object: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    walk(Some(schema), object, String::new(), &mut errors);
    match &errors[..] {
        [] => Ok(()),
        [error] => Err(error.clone()),
        errors => {
            Err(format!("errors:\n{}", errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")))
        }
    }
}

fn report(errors: &mut Vec<String>, path: &str, why: &str) {
    errors.push(if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") });
}

fn walk(schema: Option<&Schema>, value: &Value, path: String, errors: &mut Vec<String>) {
    let Some(schema) = schema else { return };
    match (&schema.kind, value) {
        (_, Value::Null) | (Kind::Any | Kind::Union(_), _) => {}
        (Kind::Bool, Value::Bool(_))
        | (Kind::Int(_) | Kind::Float, Value::Number(_))
        | (Kind::Text | Kind::Bytes | Kind::Time | Kind::MicroTime, Value::String(_))
        | (Kind::Quantity | Kind::IntOrString, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
        (Kind::Bool, other) => report(errors, &path, &format!("expected boolean, got {}", shown(other))),
        (Kind::Int(_) | Kind::Float, other) => {
            report(errors, &path, &format!("expected numeric (int or float), got {}", type_name(other)));
        }
        (Kind::Text | Kind::Bytes | Kind::Time | Kind::MicroTime, other) => {
            report(errors, &path, &format!("expected string, got {}", inner(other)));
        }
        (Kind::Quantity | Kind::IntOrString, other) => {
            report(errors, &path, &format!("expected any scalar, got {}", shown(other)));
        }
        (Kind::List(items), Value::Array(list)) => {
            let shape = shape(Some(schema));
            let mut seen = Vec::new();
            for (at, item) in list.iter().enumerate() {
                let step = match shape {
                    Shape::Keyed(keys) => key_of(item, keys, Some(items)),
                    Shape::Values => value_of(item),
                    _ => Ok(Step::Index(at)),
                };
                match step {
                    Err(why) => return report(errors, &path, &format!("element {at}: {why}")),
                    Ok(step) => {
                        if seen.contains(&step) {
                            report(errors, &path, &format!("duplicate entries for key {step}"));
                        }
                        walk(Some(items), item, format!("{path}{step}"), errors);
                        seen.push(step);
                    }
                }
            }
        }
        (Kind::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                walk(schema.field(name), value, format!("{path}.{name}"), errors);
            }
        }
        (Kind::Struct(structure), Value::Object(fields)) => {
            for (name, value) in fields {
                match schema.field(name) {
                    Some(below) => walk(Some(below), value, format!("{path}.{name}"), errors),
                    None if structure.keeps_unknown => {}
                    None => return report(errors, &format!("{path}.{name}"), "field not declared in schema"),
                }
            }
        }
        (Kind::List(_), other) => report(errors, &path, &format!("expected list, got {}", inner(other))),
        (Kind::Map(_) | Kind::Struct(_), other) => {
            report(errors, &path, &format!("expected map, got {}", inner(other)))
        }
    }
}

/// A value's Go type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn shown(value: &Value) -> String {
    format!("&{{{}}}", gotext::plain(value))
}

/// A value as Go prints the wrapper in which it is kept.
fn inner(value: &Value) -> String {
    match value {
        Value::String(text) => format!("&value.valueUnstructured{{Value:{}}}", gotext::quote(text)),
        other => format!("&value.valueUnstructured{{Value:{}}}", gotext::plain(other)),
    }
}
