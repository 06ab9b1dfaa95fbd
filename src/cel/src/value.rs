//! Values of expressions, and objects of the API as values.

use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr, sync::Arc};

use apimachinery::quantity::Quantity;
use base64::Engine;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::{
    error::EvalError,
    library::{authorizer::Check, format::NamedFormat, ip::Cidr, url::Url},
    schema::{Decl, Shape},
    types::Type,
};

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// A number.
    Double(f64),
    /// A text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<List>),
    /// A map, or an object.
    Map(Arc<Map>),
    /// A span of time, in nanoseconds.
    Duration(i64),
    /// A moment.
    Timestamp(Timestamp),
    /// A type.
    Type(Type),
    /// A value, or none.
    Optional(Option<Arc<Value>>),
    /// A value of a library.
    Opaque(Arc<Opaque>),
}

/// A list, and what its schema says of the order of its elements.
#[derive(Debug, Clone, Default)]
pub struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) kind: ListKind,
}

/// What identifies the elements of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Where they stand.
    #[default]
    Atomic,
    /// What they are.
    Set,
    /// Some of their fields.
    Map(Arc<[String]>),
}

/// A map, or an object of a type.
#[derive(Debug, Clone, Default)]
pub struct Map {
    pub(crate) entries: BTreeMap<Key, Value>,
    /// The type, of an object.
    pub(crate) name: Option<Arc<str>>,
}

/// What a map has values for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is not negative.
    Uint(u64),
    /// A text.
    String(Arc<str>),
}

/// Values of libraries.
#[derive(Debug)]
pub enum Opaque {
    /// A quantity.
    Quantity(Quantity),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses.
    Cidr(Cidr),
    /// A URL.
    Url(Url),
    /// A version.
    Semver(semver::Version),
    /// A format that texts may have.
    Format(&'static NamedFormat),
    /// What asks whether something is allowed, and its answers.
    Authorizer(Check),
}

impl From<Opaque> for Value {
    fn from(value: Opaque) -> Self {
        Self::Opaque(Arc::new(value))
    }
}

impl Key {
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => Self::Uint(*value),
            Value::String(value) => Self::String(value.clone()),
            Value::Double(value) => {
                #[allow(clippy::cast_possible_truncation, reason = "a number that is not whole is no key")]
                let whole = *value as i64;
                #[allow(clippy::cast_precision_loss, reason = "as above")]
                let same = whole as f64 == *value;
                return same.then_some(Self::Int(whole));
            }
            _ => return None,
        })
    }

    /// The key as a value.
    pub fn value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(value) => Value::String(value.clone()),
        }
    }
}

impl Map {
    /// What is under a key; numbers are the same whatever their type.
    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key).or_else(|| match key {
            Key::Int(number) => self.entries.get(&Key::Uint(u64::try_from(*number).ok()?)),
            Key::Uint(number) => self.entries.get(&Key::Int(i64::try_from(*number).ok()?)),
            _ => None,
        })
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.entries.get(&Key::String(name.into()))
    }
}

impl Value {
    /// A text.
    pub fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    /// A list of values.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(List { items, kind: ListKind::Atomic }))
    }

    /// A map of values by name.
    pub fn map(entries: impl IntoIterator<Item = (String, Self)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (Key::String(key.into()), value)).collect();
        Self::Map(Arc::new(Map { entries, name: None }))
    }

    /// A value that may be missing.
    pub fn optional(value: Option<Self>) -> Self {
        Self::Optional(value.map(Arc::new))
    }

    pub(crate) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The type and the fields of an object that an expression made.
    pub fn message(&self) -> Option<(&str, impl Iterator<Item = (&Key, &Self)>)> {
        match self {
            Self::Map(map) => Some((map.name.as_deref()?, map.entries.iter())),
            _ => None,
        }
    }

    /// A list's elements.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(&list.items),
            _ => None,
        }
    }

    /// A text's text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// An object of which no schema is known.
    pub fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => number.as_i64().map_or_else(
                || number.as_u64().map_or_else(|| Self::Double(number.as_f64().unwrap_or_default()), Self::Uint),
                Self::Int,
            ),
            Json::String(text) => Self::string(text),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => {
                Self::map(fields.iter().map(|(name, value)| (name.clone(), Self::from_json(value))))
            }
        }
    }

    /// An object as its schema shows it; what is not in the schema is left out.
    pub fn typed(json: &Json, decl: &Decl) -> Self {
        match (&decl.shape, json) {
            (_, Json::Null) => Self::Null,
            (Shape::Object(fields), Json::Object(given)) => {
                let fields = fields.iter().filter_map(|(escaped, field)| {
                    let value = given.get(&field.name)?;
                    Some((Key::String(escaped.as_str().into()), Self::typed(value, &field.decl)))
                });
                let name = decl.ty.name().into();
                Self::Map(Arc::new(Map { entries: fields.collect(), name: Some(name) }))
            }
            (Shape::Map(value), Json::Object(given)) => {
                Self::map(given.iter().map(|(name, json)| (name.clone(), Self::typed(json, value))))
            }
            (Shape::List(element, kind), Json::Array(items)) => {
                let items = items.iter().map(|item| Self::typed(item, element)).collect();
                Self::List(Arc::new(List { items, kind: kind.clone() }))
            }
            (Shape::Scalar, json) => match (&decl.ty, json) {
                (Type::Double, Json::Number(number)) => Self::Double(number.as_f64().unwrap_or_default()),
                (Type::Bytes, Json::String(text)) => base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map_or_else(|_| Self::string(text), |bytes| Self::Bytes(bytes.into())),
                (Type::Duration, Json::String(text)) => {
                    apimachinery::duration::parse_go(text).map_or_else(|| Self::string(text), Self::Duration)
                }
                (Type::Timestamp, Json::String(text)) => {
                    let text = if decl.is_date { format!("{text}T00:00:00Z") } else { text.clone() };
                    text.parse().map_or_else(|_| Self::string(&text), Self::Timestamp)
                }
                _ => Self::from_json(json),
            },
            _ => Self::from_json(json),
        }
    }

    /// The value as JSON, where there is such.
    ///
    /// # Errors
    /// When there is none.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        Ok(match self {
            Self::Null | Self::Optional(None) => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => Json::from(*value),
            Self::String(text) => (&**text).into(),
            Self::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Self::List(list) => Json::Array(list.items.iter().map(Self::to_json).collect::<Result<_, _>>()?),
            Self::Map(map) => {
                let entries = map.entries.iter().map(|(key, value)| match key {
                    Key::String(name) => Ok((name.to_string(), value.to_json()?)),
                    other => Ok((crate::library::conversions::text(&other.value())?, value.to_json()?)),
                });
                Json::Object(entries.collect::<Result<_, EvalError>>()?)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Duration(_) | Self::Timestamp(_) => crate::library::conversions::text(self)?.into(),
            other => {
                return Err(EvalError::other(format!("type conversion error from '{}' to JSON", other.kind().name())));
            }
        })
    }

    /// Its type.
    pub fn kind(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(map) => match &map.name {
                Some(name) => Type::Struct(Arc::new(crate::types::Struct {
                    name: name.to_string(),
                    fields: BTreeMap::new(),
                    open: true,
                })),
                None => Type::map(Type::Dyn, Type::Dyn),
            },
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Opaque(value) => Type::opaque(value.name()),
        }
    }

    /// How large it is, as costs are counted.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.items.len() as u64,
            Self::Map(map) => map.entries.len() as u64,
            Self::Optional(Some(value)) => value.size(),
            Self::Opaque(value) => match &**value {
                Opaque::Ip(ip) => {
                    if ip.is_ipv4() {
                        4
                    } else {
                        16
                    }
                }
                Opaque::Cidr(cidr) => {
                    if cidr.address.is_ipv4() {
                        4
                    } else {
                        16
                    }
                }
                _ => 1,
            },
            _ => 1,
        }
    }
}

impl Opaque {
    fn name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(check) => check.type_name(),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) | (Self::Optional(None), Self::Optional(None)) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::String(one), Self::String(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::List(one), Self::List(other)) => one == other,
            (Self::Map(one), Self::Map(other)) => {
                one.entries.len() == other.entries.len()
                    && one.entries.iter().all(|(key, value)| other.get(key).is_some_and(|found| found == value))
            }
            (Self::Duration(one), Self::Duration(other)) => one == other,
            (Self::Timestamp(one), Self::Timestamp(other)) => one == other,
            (Self::Type(one), Self::Type(other)) => one.name() == other.name(),
            (Self::Optional(Some(one)), Self::Optional(Some(other))) => one == other,
            (Self::Opaque(one), Self::Opaque(other)) => one == other,
            _ => self.numbers(other) == Some(Ordering::Equal),
        }
    }
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&self.items, &other.items);
        if one.len() != two.len() {
            return false;
        }
        match &self.kind {
            ListKind::Atomic => one == two,
            ListKind::Set => one.iter().all(|item| two.contains(item)) && two.iter().all(|item| one.contains(item)),
            ListKind::Map(keys) => {
                one.iter().all(|item| two.iter().any(|found| same_keys(keys, item, found) && item == found))
            }
        }
    }
}

/// Whether two elements are the same one, by their keys.
pub(crate) fn same_keys(keys: &[String], one: &Value, other: &Value) -> bool {
    let (Value::Map(one), Value::Map(other)) = (one, other) else { return false };
    keys.iter().all(|key| {
        let key = crate::schema::escape(key);
        one.field(&key) == other.field(&key)
    })
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(one), Self::Quantity(other)) => one == other,
            (Self::Ip(one), Self::Ip(other)) => one == other,
            (Self::Cidr(one), Self::Cidr(other)) => one == other,
            (Self::Url(one), Self::Url(other)) => one == other,
            (Self::Semver(one), Self::Semver(other)) => one.cmp_precedence(other) == Ordering::Equal,
            (Self::Format(one), Self::Format(other)) => one.name == other.name,
            _ => false,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of different types are compared as CEL compares them")]
impl Value {
    /// How two numbers compare, whatever their types; none when one is not a number.
    pub(crate) fn numbers(&self, other: &Self) -> Option<Ordering> {
        let mixed = |int: i64, uint: u64| u64::try_from(int).map_or(Ordering::Less, |int| int.cmp(&uint));
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Uint(one), Self::Uint(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Uint(other)) => Some(mixed(*one, *other)),
            (Self::Uint(one), Self::Int(other)) => Some(mixed(*other, *one).reverse()),
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(other),
            (Self::Double(one), Self::Int(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Int(one), Self::Double(other)) => (*one as f64).partial_cmp(other),
            (Self::Double(one), Self::Uint(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Uint(one), Self::Double(other)) => (*one as f64).partial_cmp(other),
            _ => None,
        }
    }

    /// How two values compare; none when one is no number though it is of that type.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) fn compare(&self, other: &Self) -> Result<Option<Ordering>, EvalError> {
        Ok(match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::String(one), Self::String(other)) => Some(one.cmp(other)),
            (Self::Bytes(one), Self::Bytes(other)) => Some(one.cmp(other)),
            (Self::Duration(one), Self::Duration(other)) => Some(one.cmp(other)),
            (Self::Timestamp(one), Self::Timestamp(other)) => Some(one.cmp(other)),
            (Self::Int(_) | Self::Uint(_) | Self::Double(_), Self::Int(_) | Self::Uint(_) | Self::Double(_)) => {
                self.numbers(other)
            }
            _ => return Err(EvalError::NoSuchOverload),
        })
    }
}
