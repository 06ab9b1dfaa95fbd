//! What may be a name, a label or a key, and what is said when it may not: each check gives Kubernetes' messages, none when all is well.

use std::sync::LazyLock;

use regex::Regex;

/// Longest label, name part or label value.
pub const LABEL_MAX: usize = 63;
/// Longest subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN_UNDERSCORE: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_UNDERSCORE_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const DNS1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const WILDCARD: &str = "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD_MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const C_IDENTIFIER: &str = "[A-Za-z_][A-Za-z0-9_]*";
const C_IDENTIFIER_MESSAGE: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
const PERCENT: &str = "[0-9]+%";
const PERCENT_MESSAGE: &str = "a valid percent string must be a numeric string followed by an ending '%'";
const HEADER: &str = "[-A-Za-z0-9]+";
const HEADER_MESSAGE: &str = "a valid HTTP header must consist of alphanumeric characters or '-'";
const ENV: &str = "[-._a-zA-Z][-._a-zA-Z0-9]*";
const ENV_MESSAGE: &str = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
const RELAXED_ENV_MESSAGE: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const CONFIG_KEY_MESSAGE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

/// A compiled pattern that has to match all of a text.
fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("the patterns of this file are valid")
}

macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| whole($pattern));
    };
}

pattern!(LABEL_RE, LABEL);
pattern!(SUBDOMAIN_RE, SUBDOMAIN);
pattern!(SUBDOMAIN_UNDERSCORE_RE, SUBDOMAIN_UNDERSCORE);
pattern!(DNS1035_RE, DNS1035);
pattern!(WILDCARD_RE, WILDCARD);
pattern!(KEY_RE, KEY);
pattern!(VALUE_RE, VALUE);
pattern!(C_IDENTIFIER_RE, C_IDENTIFIER);
pattern!(PERCENT_RE, PERCENT);
pattern!(HEADER_RE, HEADER);
pattern!(ENV_RE, ENV);
pattern!(CONFIG_KEY_RE, CONFIG_KEY);
pattern!(HTTP_PATH_RE, HTTP_PATH);

/// `must be no more than 63 characters`
pub fn max_length_message(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `must be between 1 and 65535, inclusive`
pub fn range_message(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `must be no more than 63 bytes`, as keys and values of labels say it.
fn max_bytes_message(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// A message with examples and the pattern.
pub fn regex_message(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn check(value: &str, max: usize, regex: &Regex, words: (&str, &str, &[&str])) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > max {
        errors.push(max_length_message(max));
    }
    if !regex.is_match(value) {
        errors.push(regex_message(words.0, words.1, words.2));
    }
    errors
}

/// A DNS label, as most parts of names are.
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_length_message(LABEL_MAX));
    }
    if !LABEL_RE.is_match(value) {
        if SUBDOMAIN_RE.is_match(value) {
            errors.push("must not contain dots".into());
        } else {
            errors.push(regex_message(LABEL_MESSAGE, LABEL, &["my-name", "123-abc"]));
        }
    }
    errors
}

/// Labels with dots between, as most names are.
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    check(value, SUBDOMAIN_MAX, &SUBDOMAIN_RE, (SUBDOMAIN_MESSAGE, SUBDOMAIN, &["example.com"]))
}

/// The same where underscores are taken.
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let words = (SUBDOMAIN_UNDERSCORE_MESSAGE, SUBDOMAIN_UNDERSCORE, &["example.com"] as &[_]);
    check(value, SUBDOMAIN_MAX, &SUBDOMAIN_UNDERSCORE_RE, words)
}

/// A DNS label that begins with a letter, as names of Services were.
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    check(value, LABEL_MAX, &DNS1035_RE, (DNS1035_MESSAGE, DNS1035, &["my-name", "abc-123"]))
}

/// `*.example.com`
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    check(value, SUBDOMAIN_MAX, &WILDCARD_RE, (WILDCARD_MESSAGE, WILDCARD, &["*.example.com"]))
}

/// A key of labels, annotations, finalizers and the like: `prefix/name`.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                if prefix.len() > SUBDOMAIN_MAX {
                    errors.push(format!("prefix part {}", max_bytes_message(SUBDOMAIN_MAX)));
                }
                if !SUBDOMAIN_RE.is_match(prefix) {
                    let why = regex_message(SUBDOMAIN_MESSAGE, SUBDOMAIN, &["example.com"]);
                    errors.push(format!("prefix part {why}"));
                }
            }
            name
        }
        _ => {
            let message = regex_message(KEY_MESSAGE, KEY, EXAMPLES);
            let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {message} {optional}")];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_bytes_message(LABEL_MAX)));
    }
    if !KEY_RE.is_match(name) {
        errors.push(format!("name part {}", regex_message(KEY_MESSAGE, KEY, EXAMPLES)));
    }
    errors
}

/// A value of a label.
pub fn is_label_value(value: &str) -> Vec<String> {
    let mut errors = check(value, usize::MAX, &VALUE_RE, (VALUE_MESSAGE, VALUE, &["MyValue", "my_value", "12345"]));
    if value.len() > LABEL_MAX {
        errors.insert(0, max_bytes_message(LABEL_MAX));
    }
    errors
}

/// A name in C.
pub fn is_c_identifier(value: &str) -> Vec<String> {
    check(value, usize::MAX, &C_IDENTIFIER_RE, (C_IDENTIFIER_MESSAGE, C_IDENTIFIER, &["my_name", "MY_NAME", "MyName"]))
}

/// A number from 1 to 65535.
pub fn is_valid_port_number(port: i64) -> Vec<String> {
    is_in_range(port, 1, 65535)
}

/// A number in a range.
pub fn is_in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![range_message(low, high)] }
}

/// A user's or group's number.
pub fn is_valid_user_id(id: i64) -> Vec<String> {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// A name of a port as IANA has it.
pub fn is_valid_port_name(port: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if port.len() > 15 {
        errors.push(max_length_message(15));
    }
    if port.is_empty() || !port.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !port.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if port.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if port.starts_with('-') || port.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

/// `25%`
pub fn is_valid_percent(value: &str) -> Vec<String> {
    check(value, usize::MAX, &PERCENT_RE, (PERCENT_MESSAGE, PERCENT, &["1%", "93%"]))
}

/// A name of an HTTP header.
pub fn is_http_header_name(value: &str) -> Vec<String> {
    check(value, usize::MAX, &HEADER_RE, (HEADER_MESSAGE, HEADER, &["X-Header-Name"]))
}

/// A name of an environment variable, strictly.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let words = (ENV_MESSAGE, ENV, &["my.env-name", "MY_ENV.NAME", "MyEnvName1"] as &[_]);
    let mut errors = check(value, usize::MAX, &ENV_RE, words);
    errors.extend(has_change_dir_prefix(value));
    errors
}

/// A name of an environment variable, as newer servers take it.
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".into());
    }
    if value.chars().any(|c| !(c == ' ' || c.is_ascii_graphic()) || c == '=') {
        errors.push(RELAXED_ENV_MESSAGE.into());
    }
    errors
}

/// A key of a ConfigMap or Secret.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let words = (CONFIG_KEY_MESSAGE, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"] as &[_]);
    let mut errors = check(value, SUBDOMAIN_MAX, &CONFIG_KEY_RE, words);
    errors.extend(has_change_dir_prefix(value));
    errors
}

fn has_change_dir_prefix(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        other if other.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// A path with a domain before it: `acme.io/foo`.
pub fn is_domain_prefixed_path(value: &str) -> Vec<String> {
    let (host, path) = match value.split_once('/') {
        Some((host, path)) if !host.is_empty() && !path.is_empty() => (host, path),
        _ => return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".into()],
    };
    let mut errors = is_dns1123_subdomain(host);
    if !HTTP_PATH_RE.is_match(path) {
        errors.push(regex_message("Invalid path", HTTP_PATH, &[]));
    }
    errors
}

/// A name that can stand in a URL's path.
pub fn is_path_segment_name(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    is_path_segment_prefix(name)
}

/// A prefix of such a name.
pub fn is_path_segment_prefix(name: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|part| name.contains(**part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// The base of a generated name: a trailing hyphen is taken for what will follow.
pub fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_names_give_no_messages() {
        assert!(is_dns1123_label("a-1").is_empty());
        assert!(is_dns1123_subdomain("a.b-c.d").is_empty());
        assert!(is_dns1035_label("a-1").is_empty());
        assert!(is_qualified_name("example.com/My_Name").is_empty());
        assert!(is_label_value("").is_empty());
        assert!(is_config_map_key("b.txt").is_empty());
        assert!(is_valid_port_name("http-1").is_empty());
        assert!(is_env_var_name("A_B").is_empty());
    }

    #[test]
    fn bad_names_are_told_in_kubernetes_words() {
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            is_config_map_key("Bad Key!"),
            [
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            ]
        );
        assert_eq!(is_qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(is_qualified_name("a/b/c").len(), 1);
        assert_eq!(is_label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(is_env_var_name("..").len(), 1);
        assert_eq!(is_path_segment_name("a/b"), ["may not contain '/'"]);
        assert_eq!(is_valid_port_number(0), ["must be between 1 and 65535, inclusive"]);
    }

    #[test]
    fn a_line_break_at_the_end_is_seen() {
        assert!(!is_dns1123_label("a\n").is_empty());
        assert!(!is_label_value("a\n").is_empty());
    }

    proptest! {
        #[test]
        fn every_label_is_a_subdomain(name in "[a-z0-9.-]{0,70}") {
            if is_dns1123_label(&name).is_empty() {
                prop_assert!(is_dns1123_subdomain(&name).is_empty());
            }
        }
    }
}
