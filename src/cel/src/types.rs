//! Types of values, as they are known before an expression runs.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// A type.
#[derive(Debug, Clone)]
pub enum Type {
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `uint`.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `null_type`.
    Null,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// Only known when it runs.
    Dyn,
    /// What follows from a mistake.
    Error,
    /// A list.
    List(Arc<Type>),
    /// A map.
    Map(Arc<Type>, Arc<Type>),
    /// An object with known fields.
    Struct(Arc<Struct>),
    /// A type of a library.
    Opaque(Arc<str>, Arc<[Type]>),
    /// The type of a type.
    Type(Arc<Type>),
    /// A type that is yet to be found out.
    Param(u32),
}

/// An object with known fields.
#[derive(Debug)]
pub struct Struct {
    /// What it is called.
    pub name: String,
    /// Its fields, as expressions name them.
    pub fields: BTreeMap<String, Type>,
    /// Whether it also has any other field.
    pub open: bool,
}

impl Type {
    /// A list of these.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from one to the other.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// An object type.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
        Self::Struct(Arc::new(Struct { name: name.to_owned(), fields, open: false }))
    }

    pub(crate) fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), Arc::new([]))
    }

    pub(crate) fn optional(of: Self) -> Self {
        Self::Opaque("optional_type".into(), Arc::new([of]))
    }

    /// What an optional holds.
    pub(crate) fn optional_of(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if &**name == "optional_type" => params.first(),
            _ => None,
        }
    }

    /// What the type is called, without what it is made of.
    pub fn name(&self) -> &str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Null => "null_type",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Dyn | Self::Param(_) => "dyn",
            Self::Error => "*error*",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Struct(kind) => &kind.name,
            Self::Opaque(name, _) => name,
            Self::Type(_) => "type",
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether they are the same in every part.
    pub(crate) fn is_exactly(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(one), Self::List(other)) | (Self::Type(one), Self::Type(other)) => one.is_exactly(other),
            (Self::Map(key, value), Self::Map(other_key, other_value)) => {
                key.is_exactly(other_key) && value.is_exactly(other_value)
            }
            (Self::Struct(one), Self::Struct(other)) => one.name == other.name,
            (Self::Opaque(one, params), Self::Opaque(other, others)) => {
                one == other
                    && params.len() == others.len()
                    && params.iter().zip(others.iter()).all(|(one, other)| one.is_exactly(other))
            }
            (Self::Param(one), Self::Param(other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// As messages show it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Error => f.write_str("!error!"),
            Self::Param(number) => write!(f, "_var{number}"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Opaque(name, params) if !params.is_empty() => {
                let params: Vec<String> = params.iter().map(ToString::to_string).collect();
                write!(f, "{name}({})", params.join(", "))
            }
            other => f.write_str(other.name()),
        }
    }
}
