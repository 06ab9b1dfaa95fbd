//! Lists and sets.

use std::cmp::Ordering;

use super::{Outcome, fail, no_overload};
use crate::{error::EvalError, functions::Declaration, value::Value};

pub(super) const FUNCTIONS: &[Declaration] = &[
    (
        "isSorted",
        is_sorted,
        &[
            "list(int).() bool",
            "list(uint).() bool",
            "list(double).() bool",
            "list(bool).() bool",
            "list(duration).() bool",
            "list(timestamp).() bool",
            "list(string).() bool",
            "list(bytes).() bool",
        ],
    ),
    ("sum", sum, &["list(int).() int", "list(uint).() uint", "list(double).() double", "list(duration).() duration"]),
    ("max", |args| extreme(args, Ordering::Greater, "max"), EXTREMES),
    ("min", |args| extreme(args, Ordering::Less, "min"), EXTREMES),
    ("indexOf", index_of, &["list(A).(A) int"]),
    ("lastIndexOf", last_index_of, &["list(A).(A) int"]),
    ("slice", slice, &["list(T).(int, int) list(T)"]),
    ("flatten", flatten, &["list(list(T)).() list(T)", "list(dyn).(int) list(dyn)"]),
    (
        "sort",
        sort,
        &[
            "list(int).() list(int)",
            "list(uint).() list(uint)",
            "list(double).() list(double)",
            "list(bool).() list(bool)",
            "list(duration).() list(duration)",
            "list(timestamp).() list(timestamp)",
            "list(string).() list(string)",
            "list(bytes).() list(bytes)",
        ],
    ),
    (
        "@sortByAssociatedKeys",
        sort_by_keys,
        &[
            "list(T).(list(int)) list(T)",
            "list(T).(list(uint)) list(T)",
            "list(T).(list(double)) list(T)",
            "list(T).(list(bool)) list(T)",
            "list(T).(list(duration)) list(T)",
            "list(T).(list(timestamp)) list(T)",
            "list(T).(list(string)) list(T)",
            "list(T).(list(bytes)) list(T)",
        ],
    ),
    ("lists.range", range, &["(int) list(int)"]),
    ("reverse", reverse, &["list(T).() list(T)"]),
    ("distinct", distinct, &["list(T).() list(T)"]),
    ("sets.contains", |args| sets(args, contains_all), &["(list(T), list(T)) bool"]),
    (
        "sets.equivalent",
        |args| sets(args, |a, b| contains_all(a, b) && contains_all(b, a)),
        &["(list(T), list(T)) bool"],
    ),
    ("sets.intersects", |args| sets(args, |a, b| b.iter().any(|item| a.contains(item))), &["(list(T), list(T)) bool"]),
];

const EXTREMES: &[&str] = &[
    "list(int).() int",
    "list(uint).() uint",
    "list(double).() double",
    "list(bool).() bool",
    "list(duration).() duration",
    "list(timestamp).() timestamp",
    "list(string).() string",
    "list(bytes).() bytes",
];

/// Elements of a list that may be made.
const MADE_MAX: i64 = 1_000_000;

fn items(value: Option<&Value>) -> Result<&[Value], EvalError> {
    match value {
        Some(Value::List(list)) => Ok(&list.items),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn is_sorted(args: &[Value]) -> Outcome {
    for pair in items(args.first())?.windows(2) {
        if pair[0].compare(&pair[1])? == Some(Ordering::Greater) {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum(args: &[Value]) -> Outcome {
    let add = crate::functions::find("_+_").map(|function| function.run).ok_or(EvalError::NoSuchOverload)?;
    let mut rest = items(args.first())?.iter().cloned();
    // What nothing adds up to depends on a type that is not known any more.
    let Some(first) = rest.next() else { return Ok(Value::Int(0)) };
    rest.try_fold(first, |total, item| add(&[total, item]))
}

fn extreme(args: &[Value], wanted: Ordering, name: &str) -> Outcome {
    let mut rest = items(args.first())?.iter();
    let Some(mut found) = rest.next() else { return fail(format!("{name} called on empty list")) };
    for item in rest {
        if item.compare(found)? == Some(wanted) {
            found = item;
        }
    }
    Ok(found.clone())
}

fn place(found: Option<usize>) -> Value {
    Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

pub(super) fn index_of(args: &[Value]) -> Outcome {
    let [list, wanted] = args else { return no_overload() };
    Ok(place(items(Some(list))?.iter().position(|item| item == wanted)))
}

pub(super) fn last_index_of(args: &[Value]) -> Outcome {
    let [list, wanted] = args else { return no_overload() };
    Ok(place(items(Some(list))?.iter().rposition(|item| item == wanted)))
}

fn slice(args: &[Value]) -> Outcome {
    let [list, Value::Int(start), Value::Int(end)] = args else { return no_overload() };
    let items = items(Some(list))?;
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return fail(format!("cannot slice({start}, {end}), negative indexes not supported"));
    };
    if from > to {
        return fail(format!("cannot slice({start}, {end}), start index must be less than or equal to end index"));
    }
    match items.get(from..to) {
        Some(part) => Ok(Value::list(part.to_vec())),
        None => fail(format!("cannot slice({start}, {end}), list is length {}", items.len())),
    }
}

fn flatten(args: &[Value]) -> Outcome {
    fn flat(items: &[Value], depth: i64, out: &mut Vec<Value>) {
        for item in items {
            match item {
                Value::List(list) if depth > 0 => flat(&list.items, depth - 1, out),
                other => out.push(other.clone()),
            }
        }
    }
    let depth = match args.get(1) {
        None => 1,
        Some(Value::Int(depth)) if *depth >= 0 => *depth,
        Some(Value::Int(_)) => return fail("level must be non-negative"),
        Some(_) => return no_overload(),
    };
    let mut out = Vec::new();
    flat(items(args.first())?, depth, &mut out);
    Ok(Value::list(out))
}

/// The places of elements in the order of their keys.
fn ordered(keys: &[Value]) -> Result<Vec<usize>, EvalError> {
    let mut wrong = None;
    if let [first, ..] = keys {
        first.compare(first).map_err(|_| EvalError::other("list elements must be comparable"))?;
    }
    let mut places: Vec<usize> = (0..keys.len()).collect();
    places.sort_by(|one, other| match keys[*one].compare(&keys[*other]) {
        Ok(order) if keys[*one].kind().is_exactly(&keys[*other].kind()) => order.unwrap_or(Ordering::Equal),
        _ => {
            wrong = Some(EvalError::other("list elements must have the same type"));
            Ordering::Equal
        }
    });
    wrong.map_or(Ok(places), Err)
}

fn sort(args: &[Value]) -> Outcome {
    let items = items(args.first())?;
    Ok(Value::list(ordered(items)?.into_iter().map(|place| items[place].clone()).collect()))
}

fn sort_by_keys(args: &[Value]) -> Outcome {
    let (list, keys) = (items(args.first())?, items(args.get(1))?);
    if list.len() != keys.len() {
        return fail(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        ));
    }
    Ok(Value::list(ordered(keys)?.into_iter().map(|place| list[place].clone()).collect()))
}

fn range(args: &[Value]) -> Outcome {
    match args {
        // More costs more than an expression may.
        [Value::Int(count)] if *count > MADE_MAX => Err(EvalError::CostExceeded),
        [Value::Int(count)] => Ok(Value::list((0..*count).map(Value::Int).collect())),
        _ => no_overload(),
    }
}

fn reverse(args: &[Value]) -> Outcome {
    Ok(Value::list(items(args.first())?.iter().rev().cloned().collect()))
}

fn distinct(args: &[Value]) -> Outcome {
    let mut out: Vec<Value> = Vec::new();
    for item in items(args.first())? {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    Ok(Value::list(out))
}

fn contains_all(all: &[Value], some: &[Value]) -> bool {
    some.iter().all(|item| all.contains(item))
}

fn sets(args: &[Value], holds: fn(&[Value], &[Value]) -> bool) -> Outcome {
    Ok(Value::Bool(holds(items(args.first())?, items(args.get(1))?)))
}
