//! Formats that texts may have, by name.

use std::sync::LazyLock;

use apimachinery::names;
use base64::Engine;
use jiff::{Timestamp, civil::Date};
use regex::Regex;

use super::{Outcome, no_overload, url::Url};
use crate::{
    functions::Declaration,
    value::{Opaque, Value},
};

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    pub(crate) name: &'static str,
    check: fn(&str) -> Vec<String>,
    /// How long the pattern is that it would take to check it.
    pub(crate) pattern_size: u64,
}

macro_rules! format_functions {
    ($($index:literal $name:literal),* $(,)?) => {
        &[
            ("format.named", named, &["(string) optional(kubernetes.NamedFormat)"]),
            ("validate", validate, &["kubernetes.NamedFormat.(string) optional(list(string))"]),
            $((concat!("format.", $name), |_| Ok(Opaque::Format(&FORMATS[$index]).into()), &["() kubernetes.NamedFormat"])),*
        ]
    };
}

pub(super) const FUNCTIONS: &[Declaration] = format_functions![
    0 "dns1123Label",
    1 "dns1123Subdomain",
    2 "dns1035Label",
    3 "qualifiedName",
    4 "dns1123LabelPrefix",
    5 "dns1123SubdomainPrefix",
    6 "dns1035LabelPrefix",
    7 "labelValue",
    8 "uri",
    9 "uuid",
    10 "byte",
    11 "date",
    12 "datetime",
];

static FORMATS: [NamedFormat; 13] = [
    NamedFormat { name: "dns1123Label", check: names::is_dns1123_label, pattern_size: 30 },
    NamedFormat { name: "dns1123Subdomain", check: names::is_dns1123_subdomain, pattern_size: 60 },
    NamedFormat { name: "dns1035Label", check: names::is_dns1035_label, pattern_size: 30 },
    NamedFormat { name: "qualifiedName", check: names::is_qualified_name, pattern_size: 60 },
    NamedFormat {
        name: "dns1123LabelPrefix",
        check: |text| names::is_dns1123_label(&names::mask_trailing_dash(text)),
        pattern_size: 30,
    },
    NamedFormat {
        name: "dns1123SubdomainPrefix",
        check: |text| names::is_dns1123_subdomain(&names::mask_trailing_dash(text)),
        pattern_size: 60,
    },
    NamedFormat {
        name: "dns1035LabelPrefix",
        check: |text| names::is_dns1035_label(&names::mask_trailing_dash(text)),
        pattern_size: 30,
    },
    NamedFormat { name: "labelValue", check: names::is_label_value, pattern_size: 40 },
    NamedFormat { name: "uri", check: |text| Url::parse(text).err().into_iter().collect(), pattern_size: 4156 },
    NamedFormat {
        name: "uuid",
        check: |text| unless(is_uuid(text), "does not match the UUID format"),
        pattern_size: 75,
    },
    NamedFormat { name: "byte", check: |text| unless(is_base64(text), "invalid base64"), pattern_size: 88 },
    NamedFormat { name: "date", check: |text| unless(is_date(text), "invalid date"), pattern_size: 123 },
    NamedFormat { name: "datetime", check: |text| unless(is_datetime(text), "invalid datetime"), pattern_size: 123 },
];

fn unless(holds: bool, why: &str) -> Vec<String> {
    if holds { Vec::new() } else { vec![why.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    static UUID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")
            .expect("a constant pattern")
    });
    UUID.is_match(text)
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

fn is_datetime(text: &str) -> bool {
    text.get(10..11).is_some_and(|separator| separator.eq_ignore_ascii_case("t")) && text.parse::<Timestamp>().is_ok()
}

fn named(args: &[Value]) -> Outcome {
    let [Value::String(name)] = args else { return no_overload() };
    let found = FORMATS.iter().find(|format| format.name == &**name);
    Ok(found.map_or(Value::Optional(None), |format| Value::some(Opaque::Format(format).into())))
}

fn validate(args: &[Value]) -> Outcome {
    let [Value::Opaque(opaque), Value::String(text)] = args else { return no_overload() };
    let Opaque::Format(format) = &**opaque else { return no_overload() };
    let problems = (format.check)(text);
    if problems.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(problems.iter().map(|problem| Value::string(problem)).collect())))
}
