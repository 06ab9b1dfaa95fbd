//! Types from the schemas of custom resources, and how large what they describe can get.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value as Json;

use crate::{
    types::{Struct, Type},
    value::ListKind,
};

/// Bytes of the largest request.
const REQUEST_MAX: u64 = 3 * 1024 * 1024;
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What expressions know of a place in a schema.
#[derive(Debug, Clone)]
pub struct Decl {
    /// Its type.
    pub ty: Type,
    /// How many characters, elements or entries it has at most.
    pub max: u64,
    /// How many bytes it takes at least.
    min_bytes: u64,
    pub(crate) is_date: bool,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Scalar,
    List(Arc<Decl>, ListKind),
    Map(Arc<Decl>),
    /// Fields by the names that expressions have for them.
    Object(BTreeMap<String, DeclField>),
}

#[derive(Debug, Clone)]
pub(crate) struct DeclField {
    /// The field as JSON names it.
    pub(crate) name: String,
    pub(crate) decl: Arc<Decl>,
}

fn text<'v>(schema: &'v Json, name: &str) -> &'v str {
    schema.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or_default()
}

fn limit(schema: &Json, name: &str) -> Option<u64> {
    schema.get(name).and_then(Json::as_i64).map(|limit| u64::try_from(limit).unwrap_or(0))
}

/// A field's name as expressions write it.
pub fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__")
}

/// The same, if expressions can write it at all.
fn escapable(name: &str) -> Option<String> {
    let starts = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'));
    (starts && fits).then(|| escape(name))
}

impl Decl {
    fn scalar(ty: Type, max: u64, min_bytes: u64) -> Self {
        Self { ty, max, min_bytes, is_date: false, shape: Shape::Scalar }
    }

    /// What a schema says; `root` for a whole object, which has names and a kind though its schema says nothing of them. `None` where
    /// expressions cannot look.
    pub fn of_schema(schema: &Json, root: bool, name: &str) -> Option<Self> {
        if flag(schema, "x-kubernetes-int-or-string") {
            let max = limit(schema, "maxLength").map_or(REQUEST_MAX - 2, |max| max * 4);
            return Some(Self::scalar(Type::Dyn, max, 1));
        }
        match text(schema, "type") {
            "array" => Self::of_array(schema, name),
            "object" => Self::of_object(schema, root, name),
            "string" => Some(Self::of_string(schema)),
            "boolean" => Some(Self::scalar(Type::Bool, 0, 4)),
            "number" => Some(Self::scalar(Type::Double, 0, 1)),
            "integer" => Some(Self::scalar(Type::Int, 0, 1)),
            _ => None,
        }
    }

    fn of_array(schema: &Json, name: &str) -> Option<Self> {
        let items = schema.get("items")?;
        let element = Self::of_schema(items, flag(items, "x-kubernetes-embedded-resource"), &format!("{name}.@idx"))?;
        let max = limit(schema, "maxItems").unwrap_or((REQUEST_MAX - 2) / (element.min_bytes + 1));
        let kind = match text(schema, "x-kubernetes-list-type") {
            "set" => ListKind::Set,
            "map" => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array).into_iter().flatten();
                ListKind::Map(keys.filter_map(|key| key.as_str().map(str::to_owned)).collect())
            }
            _ => ListKind::Atomic,
        };
        let ty = Type::list(element.ty.clone());
        Some(Self { ty, max, min_bytes: 2, is_date: false, shape: Shape::List(Arc::new(element), kind) })
    }

    fn of_object(schema: &Json, root: bool, name: &str) -> Option<Self> {
        if let Some(more) = schema.get("additionalProperties").filter(|more| more.is_object()) {
            let embedded = flag(more, "x-kubernetes-embedded-resource");
            let value = Self::of_schema(more, embedded, &format!("{name}.@elem"))?;
            let max = limit(schema, "maxProperties").unwrap_or((REQUEST_MAX - 2) / (value.min_bytes + 6));
            let ty = Type::map(Type::String, value.ty.clone());
            return Some(Self { ty, max, min_bytes: 2, is_date: false, shape: Shape::Map(Arc::new(value)) });
        }
        let required: BTreeSet<&str> =
            schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        let mut min_bytes = 2;
        let mut fields = BTreeMap::new();
        let mut put = |field: &str, decl: Option<Self>, has_default: bool| {
            let Some(decl) = decl else { return };
            if required.contains(field) && !has_default {
                min_bytes += field.len() as u64 + decl.min_bytes + 4;
            }
            if let Some(escaped) = escapable(field) {
                fields.insert(escaped, DeclField { name: field.to_owned(), decl: Arc::new(decl) });
            }
        };
        for (field, property) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            if root && matches!(field.as_str(), "metadata" | "kind" | "apiVersion") {
                continue;
            }
            let embedded = flag(property, "x-kubernetes-embedded-resource");
            let decl = Self::of_schema(property, embedded, &format!("{name}.{field}"));
            put(field, decl, property.get("default").is_some());
        }
        if root {
            for field in ["apiVersion", "kind"] {
                put(field, Some(Self::of_string(&Json::Null)), false);
            }
            let metadata = ["name", "generateName"].map(|field| {
                (field.to_owned(), DeclField { name: field.to_owned(), decl: Arc::new(Self::of_string(&Json::Null)) })
            });
            put("metadata", Some(Self::object(&format!("{name}.metadata"), metadata.into(), 2)), false);
        }
        Some(Self::object(name, fields, min_bytes))
    }

    fn object(name: &str, fields: BTreeMap<String, DeclField>, min_bytes: u64) -> Self {
        let types = fields.iter().map(|(field, found)| (field.clone(), found.decl.ty.clone())).collect();
        let ty = Type::Struct(Arc::new(Struct { name: name.to_owned(), fields: types, open: false }));
        Self { ty, max: fields.len() as u64, min_bytes, is_date: false, shape: Shape::Object(fields) }
    }

    fn of_string(schema: &Json) -> Self {
        let any = REQUEST_MAX - 2;
        match text(schema, "format") {
            "byte" => Self::scalar(Type::Bytes, limit(schema, "maxLength").unwrap_or(any), 2),
            "duration" => Self::scalar(Type::Duration, 32, 3),
            "date" => Self { is_date: true, ..Self::scalar(Type::Timestamp, 12, 12) },
            "date-time" => Self::scalar(Type::Timestamp, 32, 21),
            _ => {
                let longest = || {
                    let values = schema.get("enum").and_then(Json::as_array).filter(|values| !values.is_empty())?;
                    values.iter().filter_map(Json::as_str).map(|value| value.len() as u64).max()
                };
                let max = limit(schema, "maxLength").map(|max| max * 4).or_else(longest).unwrap_or(any);
                Self::scalar(Type::String, max, 2)
            }
        }
    }

    /// What is below, by a field's name as JSON has it.
    pub fn field(&self, name: &str) -> Option<&Arc<Self>> {
        match &self.shape {
            Shape::Object(fields) => fields.get(&escape(name)).map(|field| &field.decl),
            _ => None,
        }
    }

    /// What each element, or each value, is.
    pub fn element(&self) -> Option<&Arc<Self>> {
        match &self.shape {
            Shape::List(element, _) | Shape::Map(element) => Some(element),
            _ => None,
        }
    }

    /// How large what a path leads to gets; `None` when it leads nowhere.
    pub(crate) fn size_at(&self, path: &[Arc<str>]) -> Option<u64> {
        let mut at = self;
        for (index, part) in path.iter().enumerate() {
            at = match (&**part, &at.shape) {
                ("@items", Shape::List(element, _)) | ("@values", Shape::Map(element)) => element,
                // A key is any text.
                ("@keys", Shape::Map(_)) => return (index + 1 == path.len()).then_some(REQUEST_MAX),
                (field, Shape::Object(fields)) => &fields.get(field)?.decl,
                _ => return None,
            };
        }
        Some(at.max)
    }
}
