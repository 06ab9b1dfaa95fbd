//! What an expression can refer to.

use std::{collections::BTreeMap, sync::Arc};

use crate::types::Type;

/// Macros that only some expressions have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Macros {
    /// `cel.bind`.
    pub(crate) bind: bool,
}

/// Functions and types that only some expressions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// `cel.bind`, and `includes`: of expressions that select devices.
    Devices,
    /// `Object{…}`, `JSONPatch{…}` and `jsonpatch.escapeKey`: of expressions that change objects.
    Mutation,
}

/// The names and functions that an expression can refer to.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub(crate) variables: BTreeMap<String, Type>,
    pub(crate) extensions: Vec<Extension>,
}

impl Environment {
    /// One with these variables.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, Type)>) -> Self {
        let variables = variables.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
        Self { variables, extensions: Vec::new() }
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, kind: Type) -> Self {
        self.variables.insert(name.to_owned(), kind);
        self
    }

    /// The same with more functions.
    #[must_use]
    pub fn extended(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn macros(&self) -> Macros {
        Macros { bind: self.has(Extension::Devices) }
    }

    pub(crate) fn has(&self, extension: Extension) -> bool {
        self.extensions.contains(&extension)
    }

    /// The type that a name stands for, as a value.
    pub(crate) fn type_named(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        Some(match name {
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "null_type" => Type::Null,
            "google.protobuf.Duration" => Type::Duration,
            "google.protobuf.Timestamp" => Type::Timestamp,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "type" => Type::Type(Arc::new(Type::Dyn)),
            "optional_type" => Type::optional(Type::Dyn),
            "kubernetes.Quantity" | "net.IP" | "net.CIDR" | "kubernetes.URL" | "kubernetes.Semver" => {
                Type::opaque(name)
            }
            _ => return self.message(name),
        })
    }

    /// The type of messages that expressions can make.
    pub(crate) fn message(&self, name: &str) -> Option<Type> {
        if !self.has(Extension::Mutation) {
            return None;
        }
        if name == "JSONPatch" {
            let fields = [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];
            return Some(Type::object(name, fields));
        }
        (name == "Object" || name.starts_with("Object.")).then(|| {
            Type::Struct(Arc::new(crate::types::Struct { name: name.to_owned(), fields: BTreeMap::new(), open: true }))
        })
    }
}
