//! Versions. How two compare is with quantities, which share the names of these functions.

use semver::Version;

use super::{Outcome, fail, no_overload};
use crate::{
    functions::Declaration,
    value::{Opaque, Value},
};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("semver", make, &["(string) kubernetes.Semver", "(string, bool) kubernetes.Semver"]),
    ("isSemver", is, &["(string) bool", "(string, bool) bool"]),
    ("major", |args| part(args, |version| version.major), &["kubernetes.Semver.() int"]),
    ("minor", |args| part(args, |version| version.minor), &["kubernetes.Semver.() int"]),
    ("patch", |args| part(args, |version| version.patch), &["kubernetes.Semver.() int"]),
];

fn parse(args: &[Value]) -> Option<Result<Version, String>> {
    let (text, normalize) = match args {
        [Value::String(text)] => (text, false),
        [Value::String(text), Value::Bool(normalize)] => (text, *normalize),
        _ => return None,
    };
    let text = if normalize { normalized(text) } else { Ok(text.to_string()) };
    Some(text.and_then(|text| text.parse::<Version>().map_err(|error| error.to_string())))
}

/// Without a `v` before it or zeros before its numbers, and with all three numbers.
fn normalized(text: &str) -> Result<String, String> {
    let mut parts: Vec<String> = text.strip_prefix('v').unwrap_or(text).splitn(3, '.').map(str::to_owned).collect();
    for part in &mut parts {
        if part.len() > 1 {
            let rest = part.trim_start_matches('0');
            let zero = if rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
            *part = format!("{zero}{rest}");
        }
    }
    if parts.len() < 3 && parts.last().is_some_and(|part| part.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".into());
    }
    parts.resize(3, "0".into());
    Ok(parts.join("."))
}

fn make(args: &[Value]) -> Outcome {
    match parse(args) {
        Some(Ok(version)) => Ok(Opaque::Semver(version).into()),
        Some(Err(why)) => fail(why),
        None => no_overload(),
    }
}

fn is(args: &[Value]) -> Outcome {
    parse(args).map_or_else(no_overload, |parsed| Ok(Value::Bool(parsed.is_ok())))
}

fn part(args: &[Value], take: fn(&Version) -> u64) -> Outcome {
    let [Value::Opaque(opaque)] = args else { return no_overload() };
    match &**opaque {
        Opaque::Semver(version) => Ok(Value::Int(i64::try_from(take(version)).unwrap_or(i64::MAX))),
        _ => no_overload(),
    }
}
