//! Texts.

use super::{Outcome, fail, no_overload};
use crate::{error::EvalError, functions::Declaration, value::Value};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("contains", |args| test(args, |text, part| text.contains(part)), &["string.(string) bool"]),
    ("startsWith", |args| test(args, |text, part| text.starts_with(part)), &["string.(string) bool"]),
    ("endsWith", |args| test(args, |text, part| text.ends_with(part)), &["string.(string) bool"]),
    ("charAt", char_at, &["string.(int) string"]),
    ("indexOf", index_of, &["string.(string) int", "string.(string, int) int"]),
    ("lastIndexOf", last_index_of, &["string.(string) int", "string.(string, int) int"]),
    ("lowerAscii", |args| map(args, str::to_ascii_lowercase), &["string.() string"]),
    ("upperAscii", |args| map(args, str::to_ascii_uppercase), &["string.() string"]),
    ("trim", |args| map(args, |text| text.trim().to_owned()), &["string.() string"]),
    ("replace", replace, &["string.(string, string) string", "string.(string, string, int) string"]),
    ("split", split, &["string.(string) list(string)", "string.(string, int) list(string)"]),
    ("substring", substring, &["string.(int) string", "string.(int, int) string"]),
    ("join", join, &["list(string).() string", "list(string).(string) string"]),
    ("strings.quote", |args| map(args, quote), &["(string) string"]),
    ("jsonpatch.escapeKey", |args| map(args, |text| text.replace('~', "~0").replace('/', "~1")), &["(string) string"]),
];

fn test(args: &[Value], holds: fn(&str, &str) -> bool) -> Outcome {
    match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(holds(text, part))),
        _ => no_overload(),
    }
}

fn map(args: &[Value], change: fn(&str) -> String) -> Outcome {
    match args {
        [Value::String(text)] => Ok(Value::string(&change(text))),
        _ => no_overload(),
    }
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::other(format!("index out of range: {index}"))
}

/// The byte at which a character stands; the one after the last is there too.
fn offset(text: &str, index: i64) -> Result<usize, EvalError> {
    let wanted = usize::try_from(index).map_err(|_| out_of_range(index))?;
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    places.nth(wanted).ok_or_else(|| out_of_range(index))
}

/// How many characters are before a byte.
fn characters(text: &str, offset: usize) -> Value {
    Value::Int(i64::try_from(text[..offset].chars().count()).unwrap_or(i64::MAX))
}

fn char_at(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text), Value::Int(index)] => {
            let at = offset(text, *index)?;
            Ok(Value::string(&text[at..].chars().next().map(String::from).unwrap_or_default()))
        }
        _ => no_overload(),
    }
}

fn index_of(args: &[Value]) -> Outcome {
    let (text, part, from) = match args {
        [Value::String(text), Value::String(part)] => (text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(from)] => {
            if part.is_empty() {
                return Ok(Value::Int(*from));
            }
            // Looking beyond the end finds nothing.
            match offset(text, *from) {
                Ok(from) => (text, part, from),
                Err(_) if *from >= 0 => return Ok(Value::Int(-1)),
                Err(error) => return Err(error),
            }
        }
        [Value::List(_), ..] => return super::lists::index_of(args),
        _ => return no_overload(),
    };
    Ok(text[from..].find(&**part).map_or(Value::Int(-1), |at| characters(text, from + at)))
}

fn last_index_of(args: &[Value]) -> Outcome {
    let (text, part, last) = match args {
        [Value::String(text), Value::String(part)] => (text, part, text.len()),
        [Value::String(text), Value::String(part), Value::Int(last)] => {
            if part.is_empty() {
                return Ok(Value::Int(*last));
            }
            match offset(text, *last) {
                Ok(last) => (text, part, last),
                Err(_) if *last >= 0 => return Ok(Value::Int(-1)),
                Err(error) => return Err(error),
            }
        }
        [Value::List(_), ..] => return super::lists::last_index_of(args),
        _ => return no_overload(),
    };
    // A match may reach beyond the last place at which it may begin.
    let mut end = (last + part.len()).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let found = text[..end].rfind(&**part).filter(|at| *at <= last);
    Ok(found.map_or(Value::Int(-1), |at| characters(text, at)))
}

fn replace(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text), Value::String(from), Value::String(to)] => Ok(Value::string(&text.replace(&**from, to))),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(times)] => {
            Ok(Value::string(&match usize::try_from(*times) {
                Ok(times) => text.replacen(&**from, to, times),
                Err(_) => text.replace(&**from, to),
            }))
        }
        _ => no_overload(),
    }
}

fn split(args: &[Value]) -> Outcome {
    let (text, by, most) = match args {
        [Value::String(text), Value::String(by)] => (text, by, usize::MAX),
        [Value::String(text), Value::String(by), Value::Int(most)] => {
            (text, by, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    let parts: Vec<Value> = if most == 0 {
        Vec::new()
    } else if by.is_empty() {
        // Every character by itself; the last part is the rest.
        let mut parts = Vec::new();
        let mut rest = &**text;
        while let Some(first) = rest.chars().next() {
            if parts.len() + 1 == most {
                break;
            }
            parts.push(Value::string(&rest[..first.len_utf8()]));
            rest = &rest[first.len_utf8()..];
        }
        if !rest.is_empty() {
            parts.push(Value::string(rest));
        }
        parts
    } else {
        text.splitn(most, &**by).map(Value::string).collect()
    };
    Ok(Value::list(parts))
}

fn substring(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text), Value::Int(start)] => Ok(Value::string(&text[offset(text, *start)?..])),
        [Value::String(text), Value::Int(start), Value::Int(end)] => {
            if start > end {
                return fail(format!("invalid substring range. start: {start}, end: {end}"));
            }
            let (start, end) = (offset(text, *start)?, offset(text, *end)?);
            Ok(Value::string(&text[start..end]))
        }
        _ => no_overload(),
    }
}

fn join(args: &[Value]) -> Outcome {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return no_overload(),
    };
    let parts: Option<Vec<&str>> = list.items.iter().map(Value::as_str).collect();
    match parts {
        Some(parts) => Ok(Value::string(&parts.join(separator))),
        None => fail("join: invalid input"),
    }
}

/// The text as a literal that can be printed.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
