//! Quantities.

use std::cmp::Ordering;

use apimachinery::quantity::{Format, Quantity};

use super::{Outcome, fail, no_overload};
use crate::{
    functions::Declaration,
    value::{Opaque, Value},
};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("quantity", make, &["(string) kubernetes.Quantity"]),
    ("isQuantity", is, &["(string) bool"]),
    ("sign", |args| of(args, |quantity| Value::Int(quantity.sign().into())), &["kubernetes.Quantity.() int"]),
    (
        "isInteger",
        |args| of(args, |quantity| Value::Bool(quantity.as_i64().is_some())),
        &["kubernetes.Quantity.() bool"],
    ),
    ("asInteger", as_integer, &["kubernetes.Quantity.() int"]),
    (
        "asApproximateFloat",
        |args| of(args, |quantity| Value::Double(quantity.as_f64())),
        &["kubernetes.Quantity.() double"],
    ),
    (
        "add",
        |args| change(args, Quantity::add),
        &[
            "kubernetes.Quantity.(kubernetes.Quantity) kubernetes.Quantity",
            "kubernetes.Quantity.(int) kubernetes.Quantity",
        ],
    ),
    (
        "sub",
        |args| change(args, Quantity::sub),
        &[
            "kubernetes.Quantity.(kubernetes.Quantity) kubernetes.Quantity",
            "kubernetes.Quantity.(int) kubernetes.Quantity",
        ],
    ),
    (
        "isGreaterThan",
        |args| test(args, Ordering::is_gt),
        &["kubernetes.Quantity.(kubernetes.Quantity) bool", "kubernetes.Semver.(kubernetes.Semver) bool"],
    ),
    (
        "isLessThan",
        |args| test(args, Ordering::is_lt),
        &["kubernetes.Quantity.(kubernetes.Quantity) bool", "kubernetes.Semver.(kubernetes.Semver) bool"],
    ),
    (
        "compareTo",
        compare_to,
        &["kubernetes.Quantity.(kubernetes.Quantity) int", "kubernetes.Semver.(kubernetes.Semver) int"],
    ),
];

fn make(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => match text.parse::<Quantity>() {
            Ok(quantity) => Ok(Opaque::Quantity(quantity).into()),
            Err(error) => fail(error.to_string()),
        },
        _ => no_overload(),
    }
}

fn is(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
        _ => no_overload(),
    }
}

fn quantity(value: Option<&Value>) -> Option<&Quantity> {
    match value {
        Some(Value::Opaque(opaque)) => match &**opaque {
            Opaque::Quantity(quantity) => Some(quantity),
            _ => None,
        },
        _ => None,
    }
}

fn of(args: &[Value], take: fn(&Quantity) -> Value) -> Outcome {
    quantity(args.first()).map_or_else(no_overload, |quantity| Ok(take(quantity)))
}

fn as_integer(args: &[Value]) -> Outcome {
    match quantity(args.first()).map(Quantity::as_i64) {
        Some(Some(value)) => Ok(Value::Int(value)),
        Some(None) => fail("cannot convert value to integer"),
        None => no_overload(),
    }
}

fn change(args: &[Value], does: fn(&mut Quantity, &Quantity)) -> Outcome {
    let Some(mut changed) = quantity(args.first()).cloned() else { return no_overload() };
    match args.get(1) {
        Some(Value::Int(number)) => does(&mut changed, &Quantity::from_i64(*number, Format::DecimalExponent)),
        other => match quantity(other) {
            Some(other) => does(&mut changed, other),
            None => return no_overload(),
        },
    }
    Ok(Opaque::Quantity(changed).into())
}

/// How two quantities, or two versions, compare.
fn order(args: &[Value]) -> Option<Ordering> {
    let [Value::Opaque(one), Value::Opaque(other)] = args else { return None };
    match (&**one, &**other) {
        (Opaque::Quantity(one), Opaque::Quantity(other)) => Some(one.cmp(other)),
        (Opaque::Semver(one), Opaque::Semver(other)) => Some(one.cmp_precedence(other)),
        _ => None,
    }
}

fn test(args: &[Value], holds: fn(Ordering) -> bool) -> Outcome {
    order(args).map_or_else(no_overload, |order| Ok(Value::Bool(holds(order))))
}

fn compare_to(args: &[Value]) -> Outcome {
    order(args).map_or_else(no_overload, |order| Ok(Value::Int(order as i64)))
}
