//! From one type to another.

use jiff::{Timestamp, tz::TimeZone};

use super::{Outcome, fail, no_overload};
use crate::{error::EvalError, functions::Declaration, value::Value};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("type", |args| Ok(Value::Type(args[0].kind())), &["(A) type(A)"]),
    ("dyn", |args| Ok(args[0].clone()), &["(A) dyn"]),
    ("bool", to_bool, &["(bool) bool", "(string) bool"]),
    ("bytes", to_bytes, &["(bytes) bytes", "(string) bytes"]),
    ("double", to_double, &["(double) double", "(int) double", "(string) double", "(uint) double"]),
    ("duration", to_duration, &["(duration) duration", "(int) duration", "(string) duration"]),
    ("int", to_int, &["(int) int", "(double) int", "(duration) int", "(string) int", "(timestamp) int", "(uint) int"]),
    (
        "string",
        |args| Ok(Value::string(&text(&args[0])?)),
        &[
            "(string) string",
            "(bool) string",
            "(bytes) string",
            "(double) string",
            "(duration) string",
            "(int) string",
            "(timestamp) string",
            "(uint) string",
            "(net.IP) string",
            "(net.CIDR) string",
        ],
    ),
    ("timestamp", to_timestamp, &["(timestamp) timestamp", "(int) timestamp", "(string) timestamp"]),
    ("uint", to_uint, &["(uint) uint", "(double) uint", "(int) uint", "(string) uint"]),
];

fn unconvertible(from: &str, to: &str) -> Outcome {
    fail(format!("type conversion error from '{from}' to '{to}'"))
}

fn to_bool(args: &[Value]) -> Outcome {
    match args {
        [Value::Bool(_)] => Ok(args[0].clone()),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => unconvertible("string", "bool"),
        },
        _ => no_overload(),
    }
}

fn to_bytes(args: &[Value]) -> Outcome {
    match args {
        [Value::Bytes(_)] => Ok(args[0].clone()),
        [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
        _ => no_overload(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "as CEL converts")]
fn to_double(args: &[Value]) -> Outcome {
    match args {
        [Value::Double(_)] => Ok(args[0].clone()),
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [Value::String(text)] => match text.parse() {
            Ok(value) => Ok(Value::Double(value)),
            Err(_) => unconvertible("string", "double"),
        },
        _ => no_overload(),
    }
}

fn to_duration(args: &[Value]) -> Outcome {
    match args {
        [Value::Duration(_)] => Ok(args[0].clone()),
        [Value::Int(value)] => Ok(Value::Duration(*value)),
        [Value::String(text)] => match apimachinery::duration::parse_go(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => unconvertible("string", "google.protobuf.Duration"),
        },
        _ => no_overload(),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "looked at before")]
fn to_int(args: &[Value]) -> Outcome {
    match args {
        [Value::Int(_)] => Ok(args[0].clone()),
        [Value::Double(value)] if *value > i64::MIN as f64 && *value < i64::MAX as f64 => Ok(Value::Int(*value as i64)),
        [Value::Double(_)] => fail("integer overflow"),
        [Value::Duration(nanos)] => Ok(Value::Int(*nanos)),
        [Value::Timestamp(at)] => Ok(Value::Int(at.as_second())),
        [Value::Uint(value)] => match i64::try_from(*value) {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => fail("integer overflow"),
        },
        [Value::String(text)] => match text.parse() {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => unconvertible("string", "int"),
        },
        _ => no_overload(),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "looked at before"
)]
fn to_uint(args: &[Value]) -> Outcome {
    match args {
        [Value::Uint(_)] => Ok(args[0].clone()),
        [Value::Int(value)] => match u64::try_from(*value) {
            Ok(value) => Ok(Value::Uint(value)),
            Err(_) => fail("unsigned integer overflow"),
        },
        [Value::Double(value)] if *value >= 0.0 && *value < u64::MAX as f64 => Ok(Value::Uint(*value as u64)),
        [Value::Double(_)] => fail("unsigned integer overflow"),
        [Value::String(text)] => match text.parse() {
            Ok(value) => Ok(Value::Uint(value)),
            Err(_) => unconvertible("string", "uint"),
        },
        _ => no_overload(),
    }
}

/// Whether a moment is in a year that has four digits.
pub(crate) fn is_year(at: Timestamp) -> bool {
    (1..=9999).contains(&at.to_zoned(TimeZone::UTC).year())
}

fn to_timestamp(args: &[Value]) -> Outcome {
    let made = match args {
        [Value::Timestamp(_)] => return Ok(args[0].clone()),
        [Value::Int(seconds)] => Timestamp::from_second(*seconds).ok(),
        [Value::String(text)] => match text.parse::<Timestamp>() {
            Ok(at) if text.contains('T') => Some(at),
            _ => return unconvertible("string", "google.protobuf.Timestamp"),
        },
        _ => return no_overload(),
    };
    match made.filter(|at| is_year(*at)) {
        Some(at) => Ok(Value::Timestamp(at)),
        None => fail("timestamp overflow"),
    }
}

/// A value as `string` shows it.
pub(crate) fn text(value: &Value) -> Result<String, EvalError> {
    Ok(match value {
        Value::String(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double(*value),
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| EvalError::other("invalid UTF-8 in bytes, cannot convert to string"))?
            .to_owned(),
        Value::Duration(nanos) => seconds(*nanos),
        Value::Timestamp(at) => at.to_string(),
        Value::Type(kind) => kind.name().to_owned(),
        Value::Opaque(opaque) => match &**opaque {
            crate::value::Opaque::Ip(ip) => ip.to_string(),
            crate::value::Opaque::Cidr(cidr) => cidr.to_string(),
            _ => return Err(EvalError::NoSuchOverload),
        },
        _ => return Err(EvalError::NoSuchOverload),
    })
}

/// A number as Go's `%g` shows it.
fn double(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        apimachinery::gotext::float(value)
    }
}

/// A span as seconds: `1.5s`.
fn seconds(nanos: i64) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
    let sign = if nanos < 0 && whole == 0 { "-" } else { "" };
    let fraction = format!("{rest:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}s"),
        digits => format!("{sign}{whole}.{digits}s"),
    }
}
