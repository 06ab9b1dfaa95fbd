//! Operators between values. Those that do not need all their operands are in the evaluator.

use std::{cmp::Ordering, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{Outcome, fail, no_overload};
use crate::{
    error::EvalError,
    functions::Declaration,
    value::{Key, List, ListKind, Opaque, Value, same_keys},
};

macro_rules! compared {
    () => {
        &[
            "(bool, bool) bool",
            "(int, int) bool",
            "(int, double) bool",
            "(int, uint) bool",
            "(uint, uint) bool",
            "(uint, double) bool",
            "(uint, int) bool",
            "(double, double) bool",
            "(double, int) bool",
            "(double, uint) bool",
            "(string, string) bool",
            "(bytes, bytes) bool",
            "(timestamp, timestamp) bool",
            "(duration, duration) bool",
        ]
    };
}

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("_?_:_", lazy, &["(bool, A, A) A"]),
    ("_&&_", lazy, &["(bool, bool) bool"]),
    ("_||_", lazy, &["(bool, bool) bool"]),
    ("@not_strictly_false", lazy, &["(bool) bool"]),
    ("!_", not, &["(bool) bool"]),
    ("-_", negate, &["(double) double", "(int) int"]),
    ("_==_", |args| Ok(Value::Bool(args[0] == args[1])), &["(A, A) bool"]),
    ("_!=_", |args| Ok(Value::Bool(args[0] != args[1])), &["(A, A) bool"]),
    ("_<_", |args| compare(args, |order| order == Ordering::Less), compared!()),
    ("_<=_", |args| compare(args, |order| order != Ordering::Greater), compared!()),
    ("_>_", |args| compare(args, |order| order == Ordering::Greater), compared!()),
    ("_>=_", |args| compare(args, |order| order != Ordering::Less), compared!()),
    (
        "_+_",
        add,
        &[
            "(bytes, bytes) bytes",
            "(double, double) double",
            "(duration, duration) duration",
            "(duration, timestamp) timestamp",
            "(timestamp, duration) timestamp",
            "(int, int) int",
            "(list(A), list(A)) list(A)",
            "(string, string) string",
            "(uint, uint) uint",
        ],
    ),
    (
        "_-_",
        subtract,
        &[
            "(double, double) double",
            "(duration, duration) duration",
            "(int, int) int",
            "(timestamp, duration) timestamp",
            "(timestamp, timestamp) duration",
            "(uint, uint) uint",
        ],
    ),
    ("_*_", multiply, &["(double, double) double", "(int, int) int", "(uint, uint) uint"]),
    ("_/_", divide, &["(double, double) double", "(int, int) int", "(uint, uint) uint"]),
    ("_%_", modulo, &["(int, int) int", "(uint, uint) uint"]),
    ("@in", contains, &["(A, list(A)) bool", "(A, map(A, B)) bool"]),
    (
        "_[_]",
        index,
        &[
            "(list(A), int) A",
            "(map(A, B), A) B",
            "(optional(list(V)), int) optional(V)",
            "(optional(map(K, V)), K) optional(V)",
        ],
    ),
    (
        "_[?_]",
        optional_index,
        &[
            "(list(V), int) optional(V)",
            "(optional(list(V)), int) optional(V)",
            "(map(K, V), K) optional(V)",
            "(optional(map(K, V)), K) optional(V)",
        ],
    ),
    ("_?._", optional_select, &["(dyn, string) optional(V)"]),
    (
        "size",
        size,
        &[
            "(bytes) int",
            "bytes.() int",
            "(list(A)) int",
            "list(A).() int",
            "(map(A, B)) int",
            "map(A, B).() int",
            "(string) int",
            "string.() int",
        ],
    ),
    ("cel.@mapInsert", map_insert, &["(map(K, V), K, V) map(K, V)", "(map(K, V), map(K, V)) map(K, V)"]),
    ("includes", includes, &["dyn.(dyn) bool"]),
];

/// The evaluator does these itself.
fn lazy(_: &[Value]) -> Outcome {
    no_overload()
}

fn not(args: &[Value]) -> Outcome {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => no_overload(),
    }
}

fn negate(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(value)] => int(value.checked_neg()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => no_overload(),
    }
}

fn compare(args: &[Value], wanted: fn(Ordering) -> bool) -> Outcome {
    let [one, other] = args else { return no_overload() };
    Ok(Value::Bool(one.compare(other)?.is_some_and(wanted)))
}

fn int(value: Option<i64>) -> Outcome {
    value.map(Value::Int).ok_or_else(|| EvalError::other("integer overflow"))
}

fn uint(value: Option<u64>) -> Outcome {
    value.map(Value::Uint).ok_or_else(|| EvalError::other("unsigned integer overflow"))
}

fn duration(value: Option<i64>) -> Outcome {
    value.map(Value::Duration).ok_or_else(|| EvalError::other("duration overflow"))
}

fn shifted(at: &Timestamp, by: i64) -> Outcome {
    match at.checked_add(SignedDuration::from_nanos(by)) {
        Ok(moved) if super::conversions::is_year(moved) => Ok(Value::Timestamp(moved)),
        _ => fail("timestamp overflow"),
    }
}

fn add(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(one), Value::Int(other)] => int(one.checked_add(*other)),
        [Value::Uint(one), Value::Uint(other)] => uint(one.checked_add(*other)),
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one + other)),
        [Value::String(one), Value::String(other)] => Ok(Value::string(&format!("{one}{other}"))),
        [Value::Bytes(one), Value::Bytes(other)] => Ok(Value::Bytes([&**one, &**other].concat().into())),
        [Value::List(one), Value::List(other)] => Ok(Value::List(Arc::new(joined(one, other)))),
        [Value::Duration(one), Value::Duration(other)] => duration(one.checked_add(*other)),
        [Value::Duration(by), Value::Timestamp(at)] | [Value::Timestamp(at), Value::Duration(by)] => shifted(at, *by),
        _ => no_overload(),
    }
}

/// Two lists in one: sets keep each element once, and keyed lists the later one of two with the same keys.
fn joined(one: &List, other: &List) -> List {
    let mut items = one.items.clone();
    for item in &other.items {
        match &one.kind {
            ListKind::Atomic => items.push(item.clone()),
            ListKind::Set if items.contains(item) => {}
            ListKind::Set => items.push(item.clone()),
            ListKind::Map(keys) => match items.iter_mut().find(|found| same_keys(keys, found, item)) {
                Some(found) => *found = item.clone(),
                None => items.push(item.clone()),
            },
        }
    }
    List { items, kind: one.kind.clone() }
}

fn subtract(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(one), Value::Int(other)] => int(one.checked_sub(*other)),
        [Value::Uint(one), Value::Uint(other)] => uint(one.checked_sub(*other)),
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one - other)),
        [Value::Duration(one), Value::Duration(other)] => duration(one.checked_sub(*other)),
        [Value::Timestamp(at), Value::Duration(by)] => match by.checked_neg() {
            Some(by) => shifted(at, by),
            None => fail("timestamp overflow"),
        },
        [Value::Timestamp(one), Value::Timestamp(other)] => {
            duration(i64::try_from(one.as_nanosecond() - other.as_nanosecond()).ok())
        }
        _ => no_overload(),
    }
}

fn multiply(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(one), Value::Int(other)] => int(one.checked_mul(*other)),
        [Value::Uint(one), Value::Uint(other)] => uint(one.checked_mul(*other)),
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one * other)),
        _ => no_overload(),
    }
}

fn divide(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => fail("division by zero"),
        [Value::Int(one), Value::Int(other)] => int(one.checked_div(*other)),
        [Value::Uint(one), Value::Uint(other)] => uint(one.checked_div(*other)),
        [Value::Double(one), Value::Double(other)] => Ok(Value::Double(one / other)),
        _ => no_overload(),
    }
}

fn modulo(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => fail("modulus by zero"),
        [Value::Int(one), Value::Int(other)] => int(one.checked_rem(*other)),
        [Value::Uint(one), Value::Uint(other)] => uint(one.checked_rem(*other)),
        _ => no_overload(),
    }
}

fn contains(args: &[Value]) -> Outcome {
    match args {
        [value, Value::List(list)] => Ok(Value::Bool(list.items.contains(value))),
        [key, Value::Map(map)] => Ok(Value::Bool(Key::of(key).is_some_and(|key| map.get(&key).is_some()))),
        _ => no_overload(),
    }
}

/// Where in a list a number points, if it is whole.
fn place(index: &Value) -> Option<i64> {
    match Key::of(index)? {
        Key::Int(index) => Some(index),
        Key::Uint(index) => i64::try_from(index).ok(),
        _ => None,
    }
}

/// What is at a place; `None` when nothing is.
fn at(container: &Value, index: &Value) -> Result<Option<Value>, EvalError> {
    match container {
        Value::List(list) => {
            let place = place(index)
                .ok_or_else(|| EvalError::other(format!("unsupported index type '{}' in list", index.kind().name())))?;
            Ok(usize::try_from(place).ok().and_then(|place| list.items.get(place).cloned()))
        }
        Value::Map(map) => Ok(Key::of(index).and_then(|key| map.get(&key).cloned())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

pub(crate) fn index(args: &[Value]) -> Outcome {
    let [container, index] = args else { return no_overload() };
    if let Value::Optional(optional) = container {
        return match optional {
            Some(held) => Ok(at(held, index)?.map_or(Value::Optional(None), Value::some)),
            None => Ok(Value::Optional(None)),
        };
    }
    match at(container, index)? {
        Some(found) => Ok(found),
        None if matches!(container, Value::List(_)) => {
            fail(format!("index out of bounds: {}", place(index).unwrap_or_default()))
        }
        None => Err(EvalError::NoSuchKey(super::conversions::text(index).unwrap_or_default())),
    }
}

fn optional_index(args: &[Value]) -> Outcome {
    let [container, index] = args else { return no_overload() };
    let container = match container {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(held)) => held,
        other => other,
    };
    Ok(at(container, index)?.map_or(Value::Optional(None), Value::some))
}

fn optional_select(args: &[Value]) -> Outcome {
    match args {
        [Value::Map(_) | Value::Optional(_), Value::String(_)] => optional_index(args),
        _ => no_overload(),
    }
}

fn size(args: &[Value]) -> Outcome {
    match args {
        [Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)] => {
            Ok(Value::Int(i64::try_from(args[0].size()).unwrap_or(i64::MAX)))
        }
        _ => no_overload(),
    }
}

fn map_insert(args: &[Value]) -> Outcome {
    let Some(Value::Map(map)) = args.first() else { return no_overload() };
    let mut map = (**map).clone();
    insert(&mut map.entries, &args[1..])?;
    Ok(Value::Map(Arc::new(map)))
}

/// Puts a key and its value, or all of a map, into a map that does not have them.
pub(crate) fn insert(entries: &mut std::collections::BTreeMap<Key, Value>, given: &[Value]) -> Result<(), EvalError> {
    let mut put = |key: Key, value: Value| match entries.insert(key.clone(), value) {
        None => Ok(()),
        Some(_) => Err(EvalError::other(format!(
            "insert failed: key {} already exists",
            super::conversions::text(&key.value()).unwrap_or_default()
        ))),
    };
    match given {
        [key, value] => {
            let key = Key::of(key).ok_or_else(|| EvalError::other("unsupported key type"))?;
            put(key, value.clone())
        }
        [Value::Map(more)] => more.entries.iter().try_for_each(|(key, value)| put(key.clone(), value.clone())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Whether an attribute of a device, one value or several, has a value.
fn includes(args: &[Value]) -> Outcome {
    let same = |one: &Value, other: &Value| match (one, other) {
        (Value::Opaque(one), Value::Opaque(other)) => match (&**one, &**other) {
            (Opaque::Semver(one), Opaque::Semver(other)) => one == other,
            _ => one == other,
        },
        _ => one == other,
    };
    match args {
        [Value::List(list), wanted] => Ok(Value::Bool(list.items.iter().any(|item| same(item, wanted)))),
        [value, wanted] => Ok(Value::Bool(same(value, wanted))),
        _ => no_overload(),
    }
}
