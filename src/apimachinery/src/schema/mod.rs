//! What objects look like: one engine for the built-in kinds and for custom resources.
//!
//! A [`Schema`] says of one place what kind of value is there, what Go calls its type (error messages name it) and how it merges. Schemas of
//! built-in kinds are data ([`builtin`]); those of custom resources are read from their definitions ([`custom`]). Everything that is done with
//! objects by their shape is written once, over schemas: decoding and canonical form ([`decode`]), strategic merge patches ([`strategic`]),
//! and server-side apply ([`crate::structured`]).

pub mod builtin;
pub mod custom;
pub mod decode;
pub mod strategic;
mod time;
mod tree;

use std::{ops::Deref, sync::Arc};

use serde_json::Value;

pub use self::tree::Tree;

/// What is at one place of an object.
#[derive(Debug, Clone)]
pub struct Schema {
    /// What kind of value.
    pub kind: Kind,
    /// What Go calls the type, in error messages; empty in custom resources.
    pub go: Arc<str>,
    /// How two values merge.
    pub merge: Merge,
    /// What a custom resource's definition demands beyond that.
    pub rules: Option<Arc<custom::Rules>>,
}

impl Schema {
    /// A schema without demands.
    pub fn new(kind: Kind, go: impl Into<Arc<str>>) -> Self {
        Self { kind, go: go.into(), merge: Merge::Default, rules: None }
    }

    /// The schema of a field, or of a map's values; `None` when there is none of that name.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        match &self.kind {
            Kind::Map(values) => Some(values),
            Kind::Struct(fields) => fields.field(name).map(|field| &field.schema).or(fields.rest.as_deref()),
            Kind::Union(_) => builtin::json_schema_props().field(name).map(|field| &field.schema),
            _ => None,
        }
    }

    /// The schema of a list's items.
    pub fn items(&self) -> Option<&Schema> {
        if let Kind::List(items) = &self.kind { Some(items) } else { None }
    }
}

/// Kinds of values.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A boolean.
    Bool,
    /// A whole number of so many bits.
    Int(u32),
    /// A number.
    Float,
    /// Text.
    Text,
    /// Bytes, written as base64.
    Bytes,
    /// An amount.
    Quantity,
    /// A whole number or text.
    IntOrString,
    /// A moment in whole seconds.
    Time,
    /// A moment in microseconds.
    MicroTime,
    /// Anything, kept as it is.
    Any,
    /// A JSON schema, or what stands for one in places of a custom resource's definition.
    Union(Union),
    /// A list.
    List(Arc<Schema>),
    /// A map of any keys.
    Map(Arc<Schema>),
    /// A map of known keys.
    Struct(StructRef),
}

/// What may stand beside a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Union {
    /// A boolean.
    Bool,
    /// A list of JSON schemas.
    Array,
    /// A list of texts.
    Texts,
}

/// How the values at a place merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// As their kind does: maps by field, everything else as a whole.
    Default,
    /// As a whole.
    Atomic,
    /// A list as a set of its values.
    Set,
    /// A list whose items are told apart by these keys.
    Keyed(Arc<[Box<str>]>),
}

/// How a strategic merge patch merges a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Whether a list merges, rather than being replaced.
    pub merges: bool,
    /// Whether only the keys that a patch names are kept.
    pub retains_keys: bool,
    /// The key by which items are told apart; none for lists of scalars.
    pub key: Option<Box<str>>,
}

/// A field of a structure.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own of a Go declaration")]
pub struct Field {
    /// Its name in JSON.
    pub name: Box<str>,
    /// What is there.
    pub schema: Schema,
    /// Whether it can be told apart from its empty value.
    pub pointer: bool,
    /// Whether it is left out when it is empty.
    pub omit_empty: bool,
    /// Whether a structure is left out when all in it is empty.
    pub omit_zero: bool,
    /// Whether the API says that it must be there.
    pub required: bool,
    /// Names of the Go structures in which it is embedded, each with a dot; error messages name them.
    pub via: Box<str>,
    /// How strategic merge patches treat it.
    pub patch: Patch,
    /// What it is when left out, as the API documents it; counts for keys of lists.
    pub default: Option<Value>,
}

impl Field {
    /// What it is when it is left out: what the API documents, or the empty value of what is always written.
    pub fn default(&self) -> Option<Value> {
        let is_written = !self.pointer
            && !self.omit_empty
            && matches!(self.schema.kind, Kind::Bool | Kind::Int(_) | Kind::Float | Kind::Text);
        self.default.clone().or_else(|| is_written.then(|| decode::zero(&self.schema)))
    }
}

/// A structure.
#[derive(Debug)]
pub struct Struct {
    /// The full name in OpenAPI; empty in custom resources.
    pub name: Box<str>,
    /// `v1.PodSpec`, as Go names it.
    pub go: Arc<str>,
    /// Its fields.
    pub fields: Vec<Field>,
    /// What other fields are, where those are allowed.
    pub rest: Option<Arc<Schema>>,
    /// Whether two merge as a whole.
    pub atomic: bool,
    /// Whether fields that it does not know are kept.
    pub keeps_unknown: bool,
}

impl Struct {
    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.name == name)
    }

    /// `PodSpec`: the Go name without its package.
    pub fn short(&self) -> &str {
        self.go.rsplit('.').next().unwrap_or_default()
    }
}

/// A structure of the built-in table, by its place there, or one that a schema owns. Built-in structures may contain themselves.
#[derive(Debug, Clone)]
pub enum StructRef {
    /// Of the table.
    Builtin(usize),
    /// Its own.
    Own(Arc<Struct>),
}

impl Deref for StructRef {
    type Target = Struct;

    fn deref(&self) -> &Struct {
        match self {
            Self::Builtin(at) => builtin::at(*at),
            Self::Own(structure) => structure,
        }
    }
}
