//! Where in an object something is wrong, and how the API words it: Kubernetes' `field.Path` and `field.Error`.

use std::{collections::HashSet, fmt};

use serde_json::Value;

use crate::gotext;

/// The place of a field: `spec.containers[0].ports[http]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// A path from the root of an object; dots in `name` are taken as they are.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The root itself, whose children have no prefix.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// A field of this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A value of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    /// The root reads `<nil>`, as in Go.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something it refers to is missing.
    NotFound,
    /// It must be set.
    Required,
    /// It must be unique.
    Duplicate,
    /// Its value is wrong.
    Invalid,
    /// Its value is none of an enumeration.
    NotSupported,
    /// It may not be set (to this) here.
    Forbidden,
    /// A text is too long.
    TooLong,
    /// A list is too long.
    TooMany,
    /// A list is too short.
    TooFew,
    /// A text is too short.
    TooShort,
    /// It could not be checked.
    Internal,
    /// It is of a wrong type.
    TypeInvalid,
}

impl ErrorKind {
    /// The reason of a status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TooShort => "FieldValueTooShort",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::TooShort => "Too short",
            Self::Internal => "Internal error",
        })
    }
}

/// One finding of validation.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where, as text.
    pub field: String,
    /// The value that is wrong; `None` is not shown.
    pub value: Option<Value>,
    /// More words; may be empty.
    pub detail: String,
}

impl FieldError {
    /// An error of any kind.
    pub fn new(kind: ErrorKind, path: &Path, value: Option<Value>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// `Required value: …`
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Required, path, None, detail)
    }

    /// `Invalid value: "…": …`
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, path, Some(value.into()), detail)
    }

    /// `Invalid value: "…": …` about a type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TypeInvalid, path, Some(value.into()), detail)
    }

    /// `Unsupported value: "…": supported values: "…", "…"`, the values in the order given.
    pub fn not_supported<T: AsRef<str>>(path: &Path, value: impl Into<Value>, supported: &[T]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|value| gotext::quote(value.as_ref())).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::new(ErrorKind::NotSupported, path, Some(value.into()), detail)
    }

    /// `Duplicate value: "…"`
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::Duplicate, path, Some(value.into()), "")
    }

    /// `Not found: "…"`
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new(ErrorKind::NotFound, path, Some(value.into()), "")
    }

    /// `Forbidden: …`
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, path, None, detail)
    }

    /// `Too long: may not be more than 63 bytes`
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorKind::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// `Too long: may not be more than 63 characters`
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "character" } else { "characters" };
        Self::new(ErrorKind::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    /// `Too many: 5: must have at most 3 items`
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(ErrorKind::TooMany, path, Some(actual.into()), format!("must have at most {max} {unit}"))
    }

    /// `Too few: 0: must have at least 1 item`
    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        let unit = if min == 1 { "item" } else { "items" };
        Self::new(ErrorKind::TooFew, path, Some(actual.into()), format!("must have at least {min} {unit}"))
    }

    /// `Internal error: …`
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, path, None, detail)
    }

    /// The words without the field's name.
    pub fn body(&self) -> String {
        let mut words = match &self.value {
            None => self.kind.to_string(),
            Some(Value::String(text)) => format!("{}: {}", self.kind, gotext::quote(text)),
            Some(Value::Number(number)) if number.is_f64() => {
                format!("{}: {}", self.kind, gotext::float(number.as_f64().unwrap_or_default()))
            }
            Some(value) => format!("{}: {}", self.kind, gotext::json(value)),
        };
        if !self.detail.is_empty() {
            words.push_str(": ");
            words.push_str(&self.detail);
        }
        words
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// All findings of a validation, in the order found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorList(Vec<FieldError>);

impl ErrorList {
    /// Nothing found.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a finding.
    pub fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// Adds findings.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.0.extend(errors);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much was found.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, FieldError> {
        self.0.iter()
    }

    /// All in one text, equal ones said once: alone as it is, more in brackets; `None` when nothing was found.
    pub fn aggregate(&self) -> Option<String> {
        let mut seen = HashSet::new();
        let texts: Vec<String> =
            self.0.iter().map(ToString::to_string).filter(|text| seen.insert(text.clone())).collect();
        aggregate(&texts)
    }
}

/// Texts of several errors in one, as Go's `errors.Aggregate` says them.
pub fn aggregate(texts: &[String]) -> Option<String> {
    match texts {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

impl From<Vec<FieldError>> for ErrorList {
    fn from(errors: Vec<FieldError>) -> Self {
        Self(errors)
    }
}

impl From<FieldError> for ErrorList {
    fn from(error: FieldError) -> Self {
        Self(vec![error])
    }
}

impl FromIterator<FieldError> for ErrorList {
    fn from_iter<I: IntoIterator<Item = FieldError>>(errors: I) -> Self {
        Self(errors.into_iter().collect())
    }
}

impl Extend<FieldError> for ErrorList {
    fn extend<I: IntoIterator<Item = FieldError>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl IntoIterator for ErrorList {
    type Item = FieldError;
    type IntoIter = std::vec::IntoIter<FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ErrorList {
    type Item = &'a FieldError;
    type IntoIter = std::slice::Iter<'a, FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for ErrorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.aggregate().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(error: &FieldError) -> String {
        error.to_string()
    }

    #[test]
    fn a_path_reads_as_in_kubernetes() {
        let path = Path::new("spec").child("containers").index(0).child("env").key("A").child("name");
        assert_eq!(path.to_string(), "spec.containers[0].env[A].name");
        assert_eq!(Path::root().to_string(), "<nil>");
        assert_eq!(Path::root().child("key").to_string(), "key");
    }

    #[test]
    fn each_kind_has_its_words() {
        let path = Path::new("f");
        assert_eq!(text(&FieldError::required(&path, "")), "f: Required value");
        assert_eq!(text(&FieldError::required(&path, "is missing")), "f: Required value: is missing");
        assert_eq!(text(&FieldError::invalid(&path, "a\"b", "no")), "f: Invalid value: \"a\\\"b\": no");
        assert_eq!(text(&FieldError::invalid(&path, 5, "no")), "f: Invalid value: 5: no");
        assert_eq!(text(&FieldError::invalid(&path, Value::Null, "no")), "f: Invalid value: null: no");
        let supported = FieldError::not_supported(&path, json!(["Some"]), &["All"]);
        assert_eq!(text(&supported), "f: Unsupported value: [\"Some\"]: supported values: \"All\"");
        assert_eq!(text(&FieldError::duplicate(&path, json!({"Name": ""}))), "f: Duplicate value: {\"Name\":\"\"}");
        assert_eq!(text(&FieldError::too_long(&path, 63)), "f: Too long: may not be more than 63 bytes");
        assert_eq!(text(&FieldError::too_many(&path, 5, 1)), "f: Too many: 5: must have at most 1 item");
        assert_eq!(text(&FieldError::forbidden(&path, "not now")), "f: Forbidden: not now");
    }

    #[test]
    fn several_errors_stand_in_brackets() {
        let path = Path::new("f");
        let list = ErrorList::from(vec![FieldError::required(&path, ""), FieldError::forbidden(&path, "x")]);
        assert_eq!(list.aggregate().as_deref(), Some("[f: Required value, f: Forbidden: x]"));
        assert_eq!(ErrorList::new().aggregate(), None);
    }
}
