//! Regular expressions, which are RE2's.

use regex::Regex;

use super::{Outcome, no_overload};
use crate::{error::EvalError, functions::Declaration, value::Value};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("matches", matches, &["string.(string) bool", "(string, string) bool"]),
    ("find", find, &["string.(string) string"]),
    ("findAll", find_all, &["string.(string) list(string)", "string.(string, int) list(string)"]),
];

/// A compiled one.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    Regex::new(pattern).map_err(|_| EvalError::other(format!("error parsing regexp: `{pattern}`")))
}

fn matches(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text), Value::String(pattern)] => Ok(Value::Bool(compile(pattern)?.is_match(text))),
        _ => no_overload(),
    }
}

fn find(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text), Value::String(pattern)] => {
            Ok(Value::string(compile(pattern)?.find(text).map_or("", |found| found.as_str())))
        }
        _ => no_overload(),
    }
}

fn find_all(args: &[Value]) -> Outcome {
    let (text, pattern, most) = match args {
        [Value::String(text), Value::String(pattern)] => (text, pattern, usize::MAX),
        [Value::String(text), Value::String(pattern), Value::Int(most)] => {
            (text, pattern, usize::try_from(*most).unwrap_or(usize::MAX))
        }
        _ => return no_overload(),
    };
    let found = compile(pattern)?;
    Ok(Value::list(found.find_iter(text).take(most).map(|found| Value::string(found.as_str())).collect()))
}
