//! What functions there are: their signatures, as one reads them, and what they run.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

use crate::{error::EvalError, library, types::Type, value::Value};

/// What a function does with its operands; a method's object is the first.
pub(crate) type Run = fn(&[Value]) -> Result<Value, EvalError>;

/// A function as a library declares it: its name, what it runs, and its signatures, `object.(operands) result`.
pub(crate) type Declaration = (&'static str, Run, &'static [&'static str]);

/// A function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
    pub(crate) overloads: Vec<Overload>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) is_method: bool,
    /// The operands; a method's object is the first.
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    /// How many types it leaves open.
    pub(crate) open: usize,
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    static ALL: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
        let mut all: HashMap<&'static str, Function> = HashMap::new();
        for (name, run, signatures) in library::declarations() {
            let overloads = signatures.iter().map(|signature| read(signature));
            all.entry(name).or_insert(Function { name, run: *run, overloads: Vec::new() }).overloads.extend(overloads);
        }
        all
    });
    ALL.get(name)
}

/// Types that open letters of a signature stand for.
#[derive(Default)]
struct Letters(Vec<char>);

/// Reads a signature; they are all written in this crate, and a test reads each.
fn read(signature: &str) -> Overload {
    let mut letters = Letters::default();
    let (object, rest) = signature.split_once('(').unwrap_or(("", signature));
    // The operands end where the brackets do.
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    // An object's own type may have brackets: `list(T).(…)`.
    let (object, operands, result) = match (object.ends_with('.') || object.is_empty(), end) {
        (true, Some(end)) => (object, &rest[..end], &rest[end + 1..]),
        _ => {
            let at = signature.find(").(").unwrap_or_default();
            let after = &signature[at + 3..];
            let mut depth = 1;
            let end = after
                .find(|c| {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    depth == 0
                })
                .unwrap_or(after.len());
            (&signature[..=at + 1], &after[..end], &after[end + 1..])
        }
    };
    let mut params = Vec::new();
    let object = object.trim_end_matches('.');
    if !object.is_empty() {
        params.push(letters.kind(object));
    }
    params.extend(split(operands).into_iter().map(|operand| letters.kind(operand)));
    let result = letters.kind(result.trim());
    Overload { is_method: !object.is_empty(), params, result, open: letters.0.len() }
}

/// The parts between commas outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

impl Letters {
    fn kind(&mut self, text: &str) -> Type {
        if let Some((name, inner)) = text.split_once('(') {
            let inner = inner.strip_suffix(')').unwrap_or(inner);
            let mut params: Vec<Type> = split(inner).into_iter().map(|part| self.kind(part)).collect();
            let last = params.pop().unwrap_or(Type::Dyn);
            return match name {
                "list" => Type::list(last),
                "map" => Type::map(params.pop().unwrap_or(Type::Dyn), last),
                "type" => Type::Type(Arc::new(last)),
                _ => Type::optional(last),
            };
        }
        match text {
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "null" => Type::Null,
            "duration" => Type::Duration,
            "timestamp" => Type::Timestamp,
            "dyn" => Type::Dyn,
            _ if text.len() == 1 => {
                let letter = text.chars().next().unwrap_or('A');
                let number = self.0.iter().position(|known| *known == letter).unwrap_or_else(|| {
                    self.0.push(letter);
                    self.0.len() - 1
                });
                Type::Param(u32::try_from(number).unwrap_or_default())
            }
            name => Type::opaque(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_read_as_it_is_written() {
        for (name, _, signatures) in library::declarations() {
            for signature in *signatures {
                let overload = read(signature);
                let (object, operands) = overload.params.split_at(usize::from(overload.is_method));
                let shown = |kinds: &[Type]| kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let dot = if overload.is_method { "." } else { "" };
                let mut text = format!("{}{dot}({}) {}", shown(object), shown(operands), overload.result);
                let mut letters: Vec<char> = Vec::new();
                for c in signature.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() == 1) {
                    let letter = c.chars().next().unwrap();
                    if !letters.contains(&letter) {
                        letters.push(letter);
                    }
                }
                for (number, letter) in letters.iter().enumerate() {
                    text = text.replace(&format!("_var{number}"), &letter.to_string());
                }
                assert_eq!(text.replace("optional_type", "optional"), *signature, "of {name}");
            }
        }
    }
}
