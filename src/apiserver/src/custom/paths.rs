//! The part of JSONPath that definitions of custom resources use: fields, indexes, wildcards and filters by equality.

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items of which the field has the value.
    Where(Vec<String>, Value),
}

/// A path into an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads `.a.b[0]['c'][?(@.type=="Ready")].d`; `None` for what is no such path.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim().trim_start_matches('$');
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let end = close_of(inner)?;
                steps.push(bracket(inner[..end].trim())?);
                rest = &inner[end + 1..];
                continue;
            }
            let inner = rest.strip_prefix('.')?;
            // A dot in a name is written with a backslash.
            let mut name = String::new();
            let mut at = 0;
            while let Some(character) = inner[at..].chars().next() {
                match character {
                    '\\' => {
                        let escaped = inner[at + 1..].chars().next()?;
                        name.push(escaped);
                        at += 1 + escaped.len_utf8();
                    }
                    '.' | '[' => break,
                    other => {
                        name.push(other);
                        at += other.len_utf8();
                    }
                }
            }
            rest = &inner[at..];
            match name.as_str() {
                "" if rest.is_empty() || rest.starts_with('[') => {}
                "" => return None,
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Field(name)),
            }
        }
        Some(Self(steps))
    }

    /// All values at the path.
    pub fn find<'v>(&self, object: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![object];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found
    }

    /// The first value at the path.
    pub fn first<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.find(object).into_iter().next()
    }

    /// Sets the value at a path of fields alone, making the objects above it.
    pub fn set(&self, object: &mut Value, value: Value) {
        let mut place = object;
        for step in &self.0 {
            let Step::Field(name) = step else { return };
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            place = &mut place[name.as_str()];
        }
        *place = value;
    }
}

impl Step {
    fn of<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Self::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if *index < 0 { length + index } else { *index };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::All, Value::Object(fields)) => fields.values().collect(),
            (Self::Where(path, wanted), Value::Array(items)) => {
                let field = |item: &'v Value| path.iter().try_fold(item, |value, name| value.get(name));
                items.iter().filter(|item| field(item) == Some(wanted)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Where the bracket closes, minding quotes.
fn close_of(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquoted(text) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    let (path, wanted) = text.strip_prefix("?(")?.strip_suffix(')')?.split_once("==")?;
    let path = path.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
    let wanted = wanted.trim();
    let wanted = match unquoted(wanted) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(wanted).ok()?,
    };
    Some(Step::Where(path, wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"spec": {"size": 2, "a.b": "dotted", "list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.size", json!([2])),
            (".spec['a.b']", json!(["dotted"])),
            (".spec.a\\.b", json!(["dotted"])),
            (".spec.list[1].n", json!([2])),
            (".spec.list[-1].n", json!([2])),
            (".spec.list[*].n", json!([1, 2])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (".none.at.all", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap_or_else(|| panic!("{path} is a path"));
            assert_eq!(json!(found.find(&object)), want, "{path}");
        }
        for path in ["spec", ".a[", ".a..b", ".a[?(x)]"] {
            assert_eq!(JsonPath::parse(path), None, "{path}");
        }
    }
}
