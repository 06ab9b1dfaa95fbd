//! Field selectors: `metadata.name=a,status.phase!=Running`.

use std::fmt;

use super::SelectorError;

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Path of the field.
    pub field: String,
    /// Whether the value has to be equal, rather than different.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// Terms that all have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

impl FieldSelector {
    /// Reads a selector.
    ///
    /// # Errors
    /// When it does not parse, in Kubernetes' words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, equal, value)) = split_term(part) else {
                return Err(SelectorError::new(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            terms.push(FieldRequirement { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self(terms))
    }

    /// The terms as (field, equal, value).
    pub fn requirements(&self) -> impl Iterator<Item = (&str, bool, &str)> {
        self.0.iter().map(|term| (term.field.as_str(), term.equal, term.value.as_str()))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it selects what has these fields; a missing one is empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|term| (field(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The value that a field must have.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            terms.push(&text[start..at]);
            start = at + 1;
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let (field, rest) = term.split_at(at);
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((field, equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let invalid =
        |sequence: &str| SelectorError::new(format!("invalid field selector: invalid escape sequence: {sequence}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(other) => return Err(invalid(&format!("\\{other}"))),
                None => return Err(invalid("\\")),
            },
            ',' | '=' => {
                let message = format!("invalid field selector: unescaped character in value: {}", c as u32);
                return Err(SelectorError::new(message));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_with_their_operators() {
        let selector = FieldSelector::parse("metadata.name=a,status.phase!=Running,x==1").expect("a selector");
        let terms: Vec<_> = selector.requirements().collect();
        assert_eq!(terms, [("metadata.name", true, "a"), ("status.phase", false, "Running"), ("x", true, "1")]);
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert!(selector.matches(|field| Some(if field == "metadata.name" { "a" } else { "1" })));
        assert!(!selector.matches(|_| None));
    }

    #[test]
    fn commas_in_values_are_escaped() {
        let selector = FieldSelector::parse("a=b\\,c\\=d").expect("a selector");
        assert_eq!(selector.exact("a"), Some("b,c=d"));
        assert_eq!(selector.to_string(), "a=b\\,c\\=d");
    }

    #[test]
    fn nonsense_is_refused_in_kubernetes_words() {
        let error = FieldSelector::parse("nonsense").expect_err("no selector");
        assert_eq!(error.to_string(), "invalid selector: 'nonsense'; can't understand 'nonsense'");
        let error = FieldSelector::parse("a=b\\x").expect_err("no selector");
        assert_eq!(error.to_string(), "invalid field selector: invalid escape sequence: \\x");
        assert!(FieldSelector::parse("").expect("everything").is_empty());
    }
}
