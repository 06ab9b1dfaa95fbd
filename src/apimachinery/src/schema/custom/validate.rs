//! Values against what a definition demands of them, with Kubernetes' words.

use serde_json::{Number, Value};

use super::Rules;
use crate::{
    field::{ErrorList, FieldError, Path},
    gotext,
    schema::{Kind, Merge, Schema},
};

/// What is wrong with a custom resource.
pub fn validate(schema: &Schema, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check(schema, object, &Place { path: Path::root(), is_root: true }, &mut errors);
    errors
}

/// A place, and whether it is the whole object, whose metadata is checked elsewhere.
struct Place {
    path: Path,
    is_root: bool,
}

impl Place {
    fn child(&self, name: &str) -> Self {
        Self { path: self.path.child(name), is_root: false }
    }

    fn index(&self, at: usize) -> Self {
        Self { path: self.path.index(at), is_root: false }
    }

    /// What is wrong with a value, in a sentence.
    fn says(&self, why: &str) -> String {
        format!("{} in body {why}", self.path.as_str())
    }

    fn invalid(&self, value: &Value, why: &str) -> FieldError {
        FieldError::invalid(&self.path, value.clone(), self.says(why))
    }
}

fn check(schema: &Schema, value: &Value, at: &Place, errors: &mut ErrorList) {
    let Some(rules) = &schema.rules else { return };
    if value.is_null() && rules.nullable {
        return;
    }
    if !rules.types.is_empty() && !rules.types.iter().any(|wanted| has_type(value, wanted)) {
        let found = type_of(value);
        let why = at.says(&format!("must be of type {}: {}", rules.types.join(","), gotext::quote(found)));
        errors.push(FieldError::type_invalid(&at.path, found, why));
        return;
    }
    if let Some(allowed) = &rules.allowed
        && !allowed.contains(value)
    {
        let supported: Vec<String> =
            allowed.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
        errors.push(FieldError::not_supported(&at.path, value.clone(), &supported));
    }
    match value {
        Value::Number(number) => check_number(rules, number, value, at, errors),
        Value::String(text) => check_text(rules, text, value, at, errors),
        Value::Array(items) => check_list(schema, rules, items, at, errors),
        Value::Object(fields) => {
            let size = fields.len();
            if let Some(max) = rules.max_size.filter(|max| size > *max) {
                errors.push(FieldError::too_many(&at.path, size, max));
            }
            if let Some(min) = rules.min_size.filter(|min| size < *min) {
                errors.push(at.invalid(value, &format!("should have at least {min} properties")));
            }
            for name in rules.required.iter().filter(|name| !fields.contains_key(*name)) {
                errors.push(FieldError::required(&at.path.child(name), ""));
            }
            for (name, value) in fields {
                if at.is_root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                if let Some(below) = schema.field(name) {
                    check(below, value, &at.child(name), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    check_alternatives(rules, value, at, errors);
}

fn check_number(rules: &Rules, number: &Number, value: &Value, at: &Place, errors: &mut ErrorList) {
    let float = |number: &Number| number.as_f64().unwrap_or_default();
    let shown = |number: &Number| gotext::plain(&Value::Number(number.clone()));
    if let Some((bound, out)) = &rules.maximum
        && (float(number) > float(bound) || *out && float(number) >= float(bound))
    {
        let than = if *out { "less than" } else { "less than or equal to" };
        errors.push(at.invalid(value, &format!("should be {than} {}", shown(bound))));
    }
    if let Some((bound, out)) = &rules.minimum
        && (float(number) < float(bound) || *out && float(number) <= float(bound))
    {
        let than = if *out { "greater than" } else { "greater than or equal to" };
        errors.push(at.invalid(value, &format!("should be {than} {}", shown(bound))));
    }
    if let Some(factor) = &rules.multiple_of {
        let times = float(number) / float(factor);
        if (times - times.round()).abs() > f64::EPSILON * times.abs().max(1.0) {
            errors.push(at.invalid(value, &format!("should be a multiple of {}", shown(factor))));
        }
    }
}

fn check_text(rules: &Rules, text: &str, value: &Value, at: &Place, errors: &mut ErrorList) {
    let size = text.chars().count();
    if let Some(max) = rules.max_size.filter(|max| size > *max) {
        errors.push(FieldError::too_long_characters(&at.path, max));
    }
    if let Some(min) = rules.min_size.filter(|min| size < *min) {
        errors.push(at.invalid(value, &format!("should be at least {min} chars long")));
    }
    if let Some((regex, pattern)) = &rules.pattern
        && !regex.is_match(text)
    {
        errors.push(at.invalid(value, &format!("should match '{pattern}'")));
    }
    if let Some(format) = &rules.format
        && !has_format(text, format)
    {
        let why = at.says(&format!("must be of type {format}: {}", gotext::quote(text)));
        errors.push(FieldError::type_invalid(&at.path, text, why));
    }
}

fn check_list(schema: &Schema, rules: &Rules, items: &[Value], at: &Place, errors: &mut ErrorList) {
    let size = items.len();
    if let Some(max) = rules.max_size.filter(|max| size > *max) {
        errors.push(FieldError::too_many(&at.path, size, max));
    }
    if let Some(min) = rules.min_size.filter(|min| size < *min) {
        errors.push(at.invalid(&items.into(), &format!("should have at least {min} items")));
    }
    if rules.unique_items && items.iter().enumerate().any(|(at, item)| items[..at].contains(item)) {
        errors.push(at.invalid(&items.into(), "shouldn't contain duplicates"));
    }
    let identity = |item: &Value| match &schema.merge {
        Merge::Set => Some(item.clone()),
        Merge::Keyed(keys) => {
            let keys = keys.iter().filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
            Some(Value::Object(keys.collect()))
        }
        _ => None,
    };
    let mut seen = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Kind::List(below) = &schema.kind {
            check(below, item, &at.index(index), errors);
        }
        if let Some(identity) = identity(item) {
            if seen.contains(&identity) {
                errors.push(FieldError::duplicate(&at.path.index(index), identity));
            } else {
                seen.push(identity);
            }
        }
    }
}

fn check_alternatives(rules: &Rules, value: &Value, at: &Place, errors: &mut ErrorList) {
    let wrong = |schema: &Schema| {
        let mut errors = ErrorList::new();
        check(schema, value, at, &mut errors);
        errors
    };
    if !rules.any_of.is_empty() {
        let mut found: Vec<ErrorList> = rules.any_of.iter().map(wrong).collect();
        if found.iter().all(|errors| !errors.is_empty()) {
            errors.push(at.invalid(&"".into(), "must validate at least one schema (anyOf)"));
            // Those of the alternative that came closest.
            found.sort_by_key(ErrorList::len);
            errors.extend(found.into_iter().next().into_iter().flatten());
        }
    }
    if !rules.one_of.is_empty() {
        let valid = rules.one_of.iter().filter(|schema| wrong(schema).is_empty()).count();
        if valid != 1 {
            let found =
                if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
            errors.push(at.invalid(&"".into(), &format!("must validate one and only one schema (oneOf). {found}")));
        }
        if valid == 0
            && let Some(closest) = rules.one_of.iter().map(wrong).min_by_key(ErrorList::len)
        {
            errors.extend(closest);
        }
    }
    let broken: Vec<ErrorList> = rules.all_of.iter().map(wrong).filter(|errors| !errors.is_empty()).collect();
    if !broken.is_empty() {
        broken.into_iter().for_each(|found| errors.extend(found));
        errors.push(at.invalid(&"".into(), "must validate all the schemas (allOf)"));
    }
    if let Some(not) = &rules.not
        && wrong(not).is_empty()
    {
        errors.push(at.invalid(&"".into(), "must not validate the schema (not)"));
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match (value, wanted) {
        // A number without a fraction is whole however it is written.
        (Value::Number(number), "integer") => {
            !number.is_f64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
        }
        (Value::Number(_), "number") => true,
        (value, wanted) => type_of(value) == wanted,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a text has a format; of formats that are not known, everything has.
fn has_format(text: &str, format: &str) -> bool {
    match format {
        "date-time" => crate::schema::time::seconds(text).is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, bits)| {
            address.parse::<std::net::IpAddr>().is_ok_and(|address| {
                bits.parse::<u8>().is_ok_and(|bits| bits <= if address.is_ipv4() { 32 } else { 128 })
            })
        }),
        "byte" => crate::schema::decode::is_base64(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => {
            let parts: Vec<&str> = text.split('-').collect();
            parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
                && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        "duration" => crate::duration::parse_go(text).is_some(),
        "hostname" => crate::names::is_dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}
