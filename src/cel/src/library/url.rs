//! URLs, as requests have them.

use std::collections::BTreeMap;

use super::{Outcome, fail, no_overload};
use crate::{
    functions::Declaration,
    value::{Opaque, Value},
};

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("url", make, &["(string) kubernetes.URL"]),
    ("isURL", is, &["(string) bool"]),
    ("getScheme", |args| of(args, |url| Value::string(&url.scheme)), &["kubernetes.URL.() string"]),
    ("getHost", |args| of(args, |url| Value::string(&url.host)), &["kubernetes.URL.() string"]),
    ("getHostname", |args| of(args, |url| Value::string(url.hostname())), &["kubernetes.URL.() string"]),
    ("getPort", |args| of(args, |url| Value::string(url.port())), &["kubernetes.URL.() string"]),
    ("getEscapedPath", |args| of(args, |url| Value::string(&url.path)), &["kubernetes.URL.() string"]),
    ("getQuery", |args| of(args, Url::queries), &["kubernetes.URL.() map(string, list(string))"]),
];

/// A URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    /// Reads one as Go's `url.ParseRequestURI` does: an absolute one, or an absolute path.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("parse {text:?}: {why}");
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        if text.is_empty() {
            return Err(wrong("empty url"));
        }
        let scheme_end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
        let (scheme, rest) = match scheme_end {
            Some(0) if text.starts_with(':') => return Err(wrong("missing protocol scheme")),
            Some(end) if text[end..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                (text[..end].to_ascii_lowercase(), &text[end + 1..])
            }
            _ => (String::new(), text),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return Err(wrong("invalid URI for request"));
            }
            return Ok(Self { scheme, host: String::new(), path: String::new(), query: query.to_owned() });
        }
        let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            Some(authority) => {
                let end = authority.find('/').unwrap_or(authority.len());
                let host = authority[..end].rsplit_once('@').map_or(&authority[..end], |(_, host)| host);
                (host, &authority[end..])
            }
            None => ("", rest),
        };
        if host.contains(' ') {
            return Err(wrong("invalid character \" \" in host name"));
        }
        let port = host.rsplit_once(':').filter(|(before, _)| !before.contains('[') || before.ends_with(']'));
        if let Some((_, port)) = port.filter(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(wrong(&format!("invalid port {:?} after host", format!(":{port}"))));
        }
        if host.starts_with('[') && !host.contains(']') {
            return Err(wrong("missing ']' in host"));
        }
        let mut escapes = path.match_indices('%').map(|(at, _)| path.get(at + 1..at + 3).unwrap_or(&path[at + 1..]));
        if let Some(bad) =
            escapes.find(|digits| digits.len() < 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(wrong(&format!("invalid URL escape {:?}", format!("%{bad}"))));
        }
        Ok(Self { scheme, host: host.to_owned(), path: escaped(path), query: query.to_owned() })
    }

    fn hostname(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, _)) => inner,
            None => self.host.split(':').next().unwrap_or_default(),
        }
    }

    fn port(&self) -> &str {
        let rest = self.host.rsplit(']').next().unwrap_or_default();
        rest.rsplit_once(':').map_or("", |(_, port)| port)
    }

    fn queries(&self) -> Value {
        let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) {
                all.entry(key).or_default().push(Value::string(&value));
            }
        }
        Value::map(all.into_iter().map(|(key, values)| (key, Value::list(values))))
    }
}

/// A path in which nothing is left that has to be escaped.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~/$&+,:;=@%!*'()[]".contains(&byte);
        if plain { out.push(char::from(byte)) } else { out.push_str(&format!("%{byte:02X}")) }
    }
    out
}

/// A part of a query as it is meant; `None` when its escapes are wrong.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            other => bytes.push(*other),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn make(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => match Url::parse(text) {
            Ok(url) => Ok(Opaque::Url(url).into()),
            Err(why) => fail(format!("URL parse error during conversion from string: {why}")),
        },
        _ => no_overload(),
    }
}

fn is(args: &[Value]) -> Outcome {
    match args {
        [Value::String(text)] => Ok(Value::Bool(Url::parse(text).is_ok())),
        _ => no_overload(),
    }
}

fn of(args: &[Value], take: fn(&Url) -> Value) -> Outcome {
    let [Value::Opaque(opaque)] = args else { return no_overload() };
    match &**opaque {
        Opaque::Url(url) => Ok(take(url)),
        _ => no_overload(),
    }
}
