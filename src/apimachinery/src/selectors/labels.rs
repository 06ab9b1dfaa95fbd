//! Label selectors, from texts (`a=b,c in (d,e),!f`) and from objects (`matchLabels`, `matchExpressions`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use super::lexer::{Token, scan};
use crate::{
    field::{ErrorList, FieldError, Path},
    gotext, names,
};

/// Why a selector is none, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl SelectorError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// How a label relates to values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// One of them.
    In,
    /// None of them, or no label.
    NotIn,
    /// There is a label.
    Exists,
    /// There is no label.
    DoesNotExist,
    /// It is this one.
    Equals,
    /// It is this one, written `==`.
    DoubleEquals,
    /// It is not this one, or there is no label.
    NotEquals,
    /// It is a larger number.
    GreaterThan,
    /// It is a smaller number.
    LessThan,
}

/// One condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it relates.
    pub operator: Operator,
    /// To what.
    pub values: Vec<String>,
}

impl Requirement {
    /// A checked condition; `path` is where it stands.
    fn checked(key: String, operator: Operator, values: Vec<String>, path: &Path) -> Result<Self, SelectorError> {
        let mut errors = ErrorList::new();
        errors.extend(check_key(&key, &path.child("key")));
        let at = path.child("values");
        let wrong = |detail: &str| FieldError::invalid(&at, Value::from(values.clone()), detail);
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.push(wrong("for 'in', 'notin' operators, values set can't be empty"));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                errors.push(wrong("exact-match compatibility requires one single value"));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.push(wrong("values set must be empty for exists and does not exist"));
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.push(wrong("for 'Gt', 'Lt' operators, exactly one value is required"));
                }
                for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    errors.push(FieldError::invalid(&at.index(index), value.as_str(), detail));
                }
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let messages = names::is_label_value(value);
            if !messages.is_empty() {
                errors.push(FieldError::invalid(&at.index(index).key(&key), value.as_str(), messages.join("; ")));
            }
        }
        match errors.aggregate() {
            Some(message) => Err(SelectorError(message)),
            None => Ok(Self { key, operator, values }),
        }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        match (self.operator, value) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, value) => value.is_some_and(listed),
            (Operator::NotIn | Operator::NotEquals, value) => !value.is_some_and(listed),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::GreaterThan | Operator::LessThan, value) => {
                let number = value.and_then(|value| value.parse::<i64>().ok());
                let [bound] = self.values.as_slice() else { return false };
                match (number, bound.parse::<i64>()) {
                    (Some(number), Ok(bound)) if self.operator == Operator::GreaterThan => number > bound,
                    (Some(number), Ok(bound)) => number < bound,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.clone();
        values.sort_unstable();
        let (key, joined) = (&self.key, values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={joined}"),
            Operator::DoubleEquals => write!(f, "{key}=={joined}"),
            Operator::NotEquals => write!(f, "{key}!={joined}"),
            Operator::In => write!(f, "{key} in ({joined})"),
            Operator::NotIn => write!(f, "{key} notin ({joined})"),
            Operator::GreaterThan => write!(f, "{key}>{joined}"),
            Operator::LessThan => write!(f, "{key}<{joined}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

/// Conditions that all have to hold, or nothing at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When it does not parse, in Kubernetes' words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser { words: scan(text), at: 0 }.parse()?;
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Selects by these labels.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut requirements: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: vec![value.clone()],
            })
            .collect();
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Self { requirements, nothing: false }
    }

    /// Reads a `LabelSelector` object: null selects nothing, an empty one everything.
    ///
    /// # Errors
    /// When a key, value or operator is none.
    pub fn from_value(selector: &Value) -> Result<Self, SelectorError> {
        let Some(fields) = selector.as_object() else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        let root = Path::root();
        for (key, value) in fields.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::checked(key.clone(), Operator::Equals, vec![value], &root)?);
        }
        for expression in fields.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let message = format!("{} is not a valid label selector operator", gotext::quote(other));
                    return Err(SelectorError(message));
                }
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(Requirement::checked(text("key").to_owned(), operator, values, &root)?);
        }
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Reads a plain map of labels, as Services and ReplicationControllers have: no map or an empty one selects everything.
    pub fn from_map(labels: &Value) -> Self {
        let labels = labels.as_object().into_iter().flatten();
        let labels: BTreeMap<String, String> =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        Self::from_labels(&labels)
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether it selects what has these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether it selects the object.
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.matches_by(|key| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str))
    }

    /// Whether it selects what has the labels that `label` gives.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.requirements.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

fn check_key(key: &str, path: &Path) -> Option<FieldError> {
    let messages = names::is_qualified_name(key);
    (!messages.is_empty()).then(|| FieldError::invalid(path, key, messages.join("; ")))
}

/// Reads words by recursive descent, as apimachinery's parser does: what it expects is what its errors say.
struct Parser {
    words: Vec<(Token, String)>,
    at: usize,
}

/// Whether `in` and `notin` are words or operators.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Values,
    Operators,
}

type Parsed<T> = Result<T, SelectorError>;

impl Parser {
    fn look(&self, reading: Reading) -> (Token, &str) {
        let (token, text) = self.words.get(self.at).map_or((Token::End, ""), |(token, text)| (*token, text.as_str()));
        match (reading, token) {
            (Reading::Values, Token::In | Token::NotIn) => (Token::Identifier, text),
            _ => (token, text),
        }
    }

    fn take(&mut self, reading: Reading) -> (Token, String) {
        let (token, text) = self.look(reading);
        let taken = (token, text.to_owned());
        self.at += 1;
        taken
    }

    fn parse(mut self) -> Parsed<Vec<Requirement>> {
        let mut requirements = Vec::new();
        loop {
            match self.look(Reading::Values) {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self.requirement();
                    let wrap = |error: SelectorError| SelectorError(format!("unable to parse requirement: {error}"));
                    requirements.push(requirement.map_err(wrap)?);
                    match self.take(Reading::Values) {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (token, text) = self.look(Reading::Values);
                            if !matches!(token, Token::Identifier | Token::Not) {
                                return Err(found(text, "identifier after ','"));
                            }
                        }
                        (_, text) => return Err(found(&text, "',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => return Err(found(text, "!, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let (key, operator) = self.key()?;
        let root = Path::root();
        if let Some(operator) = operator {
            return Requirement::checked(key, operator, Vec::new(), &root);
        }
        let operator = self.operator()?;
        let values = if matches!(operator, Operator::In | Operator::NotIn) { self.values()? } else { self.exact()? };
        Requirement::checked(key, operator, values.into_iter().collect(), &root)
    }

    fn key(&mut self) -> Parsed<(String, Option<Operator>)> {
        let mut operator = None;
        let (mut token, mut text) = self.take(Reading::Values);
        if token == Token::Not {
            operator = Some(Operator::DoesNotExist);
            (token, text) = self.take(Reading::Values);
        }
        if token != Token::Identifier {
            return Err(found(&text, "identifier"));
        }
        if let Some(error) = check_key(&text, &Path::root()) {
            return Err(SelectorError(error.to_string()));
        }
        if operator.is_none() && matches!(self.look(Reading::Values).0, Token::End | Token::Comma) {
            operator = Some(Operator::Exists);
        }
        Ok((text, operator))
    }

    fn operator(&mut self) -> Parsed<Operator> {
        match self.take(Reading::Operators) {
            (Token::In, _) => Ok(Operator::In),
            (Token::NotIn, _) => Ok(Operator::NotIn),
            (Token::Equals, _) => Ok(Operator::Equals),
            (Token::DoubleEquals, _) => Ok(Operator::DoubleEquals),
            (Token::NotEquals, _) => Ok(Operator::NotEquals),
            (Token::GreaterThan, _) => Ok(Operator::GreaterThan),
            (Token::LessThan, _) => Ok(Operator::LessThan),
            (_, text) => Err(found(&text, "in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn values(&mut self) -> Parsed<BTreeSet<String>> {
        let (token, text) = self.take(Reading::Values);
        if token != Token::OpenParenthesis {
            return Err(SelectorError(format!("found '{text}' expected: '('")));
        }
        match self.look(Reading::Values) {
            (Token::Identifier | Token::Comma, first) => {
                let first = first.to_owned();
                let values = self.list()?;
                if self.take(Reading::Values).0 == Token::CloseParenthesis {
                    Ok(values)
                } else {
                    Err(found(&first, "')'"))
                }
            }
            (Token::CloseParenthesis, _) => {
                // As kube-apiserver reads it: the one empty value.
                self.at += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            (_, text) => Err(found(text, "',', ')' or identifier")),
        }
    }

    fn list(&mut self) -> Parsed<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        loop {
            match self.take(Reading::Values) {
                (Token::Identifier, text) => {
                    values.insert(text);
                    match self.look(Reading::Values) {
                        (Token::Comma, _) => {}
                        (Token::CloseParenthesis, _) => return Ok(values),
                        (_, text) => return Err(found(text, "',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.look(Reading::Values).0 {
                        Token::CloseParenthesis => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.at += 1;
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(found(&text, "',', or identifier")),
            }
        }
    }

    fn exact(&mut self) -> Parsed<BTreeSet<String>> {
        if matches!(self.look(Reading::Values).0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.take(Reading::Values) {
            (Token::Identifier, text) => Ok(BTreeSet::from([text])),
            (_, text) => Err(found(&text, "identifier")),
        }
    }
}

fn found(text: &str, expected: &str) -> SelectorError {
    SelectorError(format!("found '{text}', expected: {expected}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
        LabelSelector::parse(selector).expect(selector).matches(&labels(pairs))
    }

    #[test]
    fn every_operator_selects_as_documented() {
        assert!(matches("", &[]));
        assert!(matches("a=b", &[("a", "b")]) && !matches("a=b", &[("a", "c")]) && !matches("a=b", &[]));
        assert!(matches("a!=b", &[]) && matches("a!=b", &[("a", "c")]) && !matches("a!=b", &[("a", "b")]));
        assert!(matches("a in (b, c)", &[("a", "c")]) && !matches("a in (b,c)", &[("a", "d")]));
        assert!(matches("a notin (b,c)", &[]) && !matches("a notin (b,c)", &[("a", "b")]));
        assert!(matches("a", &[("a", "")]) && matches("!a", &[]) && !matches("!a", &[("a", "")]));
        assert!(matches("a>1", &[("a", "2")]) && !matches("a>1", &[("a", "x")]) && matches("a<1", &[("a", "0")]));
        assert!(matches("a=,b", &[("a", ""), ("b", "1")]));
        assert!(matches("in in (in)", &[("in", "in")]));
        assert!(matches("a in (,b)", &[("a", "")]));
    }

    #[test]
    fn what_does_not_parse_is_told_in_kubernetes_words() {
        let cases = [
            ("bad selector(", "unable to parse requirement: found 'selector', expected: in, notin, =, ==, !=, gt, lt"),
            ("=x", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("!!a", "unable to parse requirement: found '!', expected: identifier"),
        ];
        for (text, message) in cases {
            assert_eq!(LabelSelector::parse(text).expect_err(text).to_string(), message, "of {text}");
        }
        let error = LabelSelector::parse("-a=b").expect_err("a bad key").to_string();
        assert!(error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part"), "{error}");
        let error = LabelSelector::parse("a=-b").expect_err("a bad value").to_string();
        assert!(
            error.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"),
            "{error}"
        );
    }

    #[test]
    fn objects_are_selectors_too() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]});
        let selector = LabelSelector::from_value(&selector).expect("a selector");
        assert!(
            selector.matches(&labels(&[("b", "1"), ("a", "y")]))
                && !selector.matches(&labels(&[("b", "1"), ("a", "x")]))
        );
        assert_eq!(selector.to_string(), "a notin (x),b=1");
        assert!(!LabelSelector::from_value(&Value::Null).expect("nothing").matches(&labels(&[])));
        assert!(LabelSelector::from_value(&json!({})).expect("everything").matches(&labels(&[])));
        let wrong = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
        let error = LabelSelector::from_value(&wrong).expect_err("no operator");
        assert_eq!(error.to_string(), "\"Like\" is not a valid label selector operator");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_written_reads_back(text in "[a-c=!(),<> in\t]{0,20}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let written = selector.to_string();
                let again = LabelSelector::parse(&written);
                prop_assert_eq!(again.expect("what was written"), selector, "of {}", written);
            }
        }
    }
}
