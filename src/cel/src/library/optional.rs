//! Values that may be missing.

use super::{Outcome, fail, no_overload};
use crate::{functions::Declaration, value::Value};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("optional.of", |args| Ok(Value::some(args[0].clone())), &["(V) optional(V)"]),
    ("optional.ofNonZeroValue", of_non_zero, &["(V) optional(V)"]),
    ("optional.none", |_| Ok(Value::Optional(None)), &["() optional(V)"]),
    ("optional.unwrap", unwrap, &["(list(optional(V))) list(V)"]),
    ("unwrapOpt", unwrap, &["list(optional(V)).() list(V)"]),
    ("value", value, &["optional(V).() V"]),
    ("hasValue", has_value, &["optional(V).() bool"]),
    // The evaluator looks at what comes after only when it is needed.
    ("or", or, &["optional(V).(optional(V)) optional(V)"]),
    ("orValue", or_value, &["optional(V).(V) V"]),
    ("first", |args| end(args, <[Value]>::first), &["list(V).() optional(V)"]),
    ("last", |args| end(args, <[Value]>::last), &["list(V).() optional(V)"]),
];

fn of_non_zero(args: &[Value]) -> Outcome {
    let is_zero = match &args[0] {
        Value::Null
        | Value::Bool(false)
        | Value::Int(0)
        | Value::Uint(0)
        | Value::Duration(0)
        | Value::Optional(None) => true,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.items.is_empty(),
        Value::Map(map) => map.entries.is_empty(),
        _ => false,
    };
    Ok(if is_zero { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

fn unwrap(args: &[Value]) -> Outcome {
    let [Value::List(list)] = args else { return no_overload() };
    let mut out = Vec::new();
    for item in &list.items {
        match item {
            Value::Optional(Some(value)) => out.push((**value).clone()),
            Value::Optional(None) => {}
            _ => return fail("value is not optional"),
        }
    }
    Ok(Value::list(out))
}

fn value(args: &[Value]) -> Outcome {
    match args {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => fail("optional.none() dereference"),
        _ => no_overload(),
    }
}

fn has_value(args: &[Value]) -> Outcome {
    match args {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => no_overload(),
    }
}

fn or(args: &[Value]) -> Outcome {
    match args {
        [one @ Value::Optional(Some(_)), _] => Ok(one.clone()),
        [Value::Optional(None), other @ Value::Optional(_)] => Ok(other.clone()),
        _ => no_overload(),
    }
}

fn or_value(args: &[Value]) -> Outcome {
    match args {
        [Value::Optional(Some(value)), _] => Ok((**value).clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => no_overload(),
    }
}

fn end(args: &[Value], of: fn(&[Value]) -> Option<&Value>) -> Outcome {
    match args {
        [Value::List(list)] => Ok(of(&list.items).map_or(Value::Optional(None), |item| Value::some(item.clone()))),
        _ => no_overload(),
    }
}
