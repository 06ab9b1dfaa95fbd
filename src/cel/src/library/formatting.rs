//! `string.format`: `%s`, `%d`, `%f`, `%e`, `%b`, `%o`, `%x` and `%X`.

use apimachinery::gotext;

use super::{Outcome, fail, no_overload};
use crate::{
    error::EvalError,
    functions::Declaration,
    value::{Key, Value},
};

pub(super) const FUNCTIONS: &[Declaration] = &[("format", format, &["string.(list(dyn)) string"])];

const PRECISION: usize = 6;
const PRECISION_MAX: usize = 1000;

fn wrong(why: impl Into<String>) -> EvalError {
    EvalError::other(why)
}

fn format(args: &[Value]) -> Outcome {
    let [Value::String(pattern), Value::List(operands)] = args else { return no_overload() };
    let mut operands = operands.items.iter().enumerate();
    let mut count = 0;
    let mut out = String::new();
    let mut rest = &**pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return fail("unexpected end of string");
        }
        let operand = operands.next();
        count += 1;
        let Some((_, operand)) = operand else { return fail(format!("index {} out of range", count - 1)) };
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.find(|c: char| !c.is_ascii_digit());
            let Some(digits) = digits else {
                return fail("error while parsing precision: could not find end of precision specifier");
            };
            let given: usize = after[..digits].parse().map_err(|error| {
                wrong(format!("error while parsing precision: error while converting precision to integer: {error}"))
            })?;
            if given > PRECISION_MAX {
                let why = format!("precision {given} exceeds maximum allowed precision {PRECISION_MAX}");
                return fail(format!("error while parsing precision: {why}"));
            }
            precision = Some(given);
            rest = &after[digits..];
        }
        let Some(clause) = rest.chars().next() else { return fail("unexpected end of string") };
        rest = &rest[clause.len_utf8()..];
        match clause {
            's' => out.push_str(&shown(operand)?),
            'd' => out.push_str(&decimal(operand)?),
            'f' => out.push_str(&fixed(operand, precision.unwrap_or(PRECISION))?),
            'e' => out.push_str(&scientific(operand, precision.unwrap_or(PRECISION))?),
            'b' => out.push_str(&binary(operand)?),
            'o' => out.push_str(&octal(operand)?),
            'x' | 'X' => out.push_str(&hexadecimal(operand, clause == 'X')?),
            other => {
                let why = format!("could not parse formatting clause: unrecognized formatting clause \"{other}\"");
                return fail(why);
            }
        }
    }
    out.push_str(rest);
    Ok(Value::string(&out))
}

fn unfit(clause: &str, wanted: &str, value: &Value) -> EvalError {
    let kind = value.kind();
    wrong(format!("error during formatting: {clause} clause can only be used on {wanted}, was given {}", kind.name()))
}

fn shown(value: &Value) -> Result<String, EvalError> {
    match value {
        Value::Null => Ok("null".into()),
        Value::List(list) => {
            let parts: Vec<String> = list.items.iter().map(nested).collect::<Result<_, _>>()?;
            Ok(format!("[{}]", parts.join(", ")))
        }
        Value::Map(map) => {
            let mut parts = Vec::new();
            for (key, value) in &map.entries {
                let key = match key {
                    Key::String(text) => gotext::quote(text),
                    other => super::conversions::text(&other.value())?,
                };
                parts.push(format!("{key}:{}", nested(value)?));
            }
            parts.sort();
            Ok(format!("{{{}}}", parts.join(", ")))
        }
        Value::Optional(_) | Value::Opaque(_) => {
            let wanted = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
            Err(unfit("string", wanted, value))
        }
        other => super::conversions::text(other),
    }
}

/// As it stands within a list or a map: as a literal.
fn nested(value: &Value) -> Result<String, EvalError> {
    Ok(match value {
        Value::String(text) => gotext::quote(text),
        Value::Bytes(bytes) => format!("b{}", gotext::quote(&String::from_utf8_lossy(bytes))),
        Value::Double(number) if !number.is_finite() => gotext::quote(&fixed(value, PRECISION)?),
        Value::Double(number) => format!("{number:.PRECISION$}"),
        Value::Timestamp(_) => format!("timestamp({})", gotext::quote(&super::conversions::text(value)?)),
        Value::Duration(_) => format!("duration({})", gotext::quote(&super::conversions::text(value)?)),
        Value::Type(kind) => format!("type({})", kind.name()),
        other => shown(other)?,
    })
}

fn decimal(value: &Value) -> Result<String, EvalError> {
    match value {
        Value::Int(number) => Ok(number.to_string()),
        Value::Uint(number) => Ok(number.to_string()),
        _ => Err(unfit("decimal", "integers", value)),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Numbers that have no digits.
fn special(number: f64) -> Option<String> {
    if number.is_nan() {
        return Some("NaN".into());
    }
    number.is_infinite().then(|| if number > 0.0 { "∞".into() } else { "-∞".into() })
}

fn fixed(value: &Value, precision: usize) -> Result<String, EvalError> {
    let number = number(value).ok_or_else(|| unfit("fixed-point", "doubles", value))?;
    Ok(special(number).unwrap_or_else(|| format!("{number:.precision$}")))
}

fn scientific(value: &Value, precision: usize) -> Result<String, EvalError> {
    let number = number(value).ok_or_else(|| unfit("scientific", "doubles", value))?;
    if let Some(special) = special(number) {
        return Ok(special);
    }
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    Ok(format!("{digits}e{sign}{:02}", exponent.unsigned_abs()))
}

fn signed(number: i64, digits: &str) -> String {
    if number < 0 { format!("-{digits}") } else { digits.to_owned() }
}

fn binary(value: &Value) -> Result<String, EvalError> {
    match value {
        Value::Int(number) => Ok(signed(*number, &format!("{:b}", number.unsigned_abs()))),
        Value::Uint(number) => Ok(format!("{number:b}")),
        Value::Bool(value) => Ok(u8::from(*value).to_string()),
        _ => Err(unfit("only integers and bools can be formatted as binary; binary", "integers and bools", value)),
    }
}

fn octal(value: &Value) -> Result<String, EvalError> {
    match value {
        Value::Int(number) => Ok(signed(*number, &format!("{:o}", number.unsigned_abs()))),
        Value::Uint(number) => Ok(format!("{number:o}")),
        _ => Err(unfit("octal", "integers", value)),
    }
}

fn hexadecimal(value: &Value, upper: bool) -> Result<String, EvalError> {
    let of_bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = match value {
        Value::Int(number) => signed(*number, &format!("{:x}", number.unsigned_abs())),
        Value::Uint(number) => format!("{number:x}"),
        Value::String(text) => of_bytes(text.as_bytes()),
        Value::Bytes(bytes) => of_bytes(bytes),
        _ => return Err(unfit("hex", "integers, byte buffers, and strings", value)),
    };
    Ok(if upper { text.to_uppercase() } else { text })
}
