//! The tree of an expression. Every node has a number, by which what is known about it (its type, its overloads) is kept beside.

use std::sync::Arc;

use crate::{functions::Function, types::Type, value::Value};

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    /// Its number.
    pub(crate) id: u32,
    /// Where it stands in the text, in bytes.
    pub(crate) at: u32,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A value as it is written.
    Literal(Value),
    /// A name.
    Ident(Arc<str>),
    /// `operand.field`, or `has(operand.field)`.
    Select { operand: Box<Expr>, field: Arc<str>, test: bool },
    /// A call, operators included.
    Call(Call),
    /// `[a, ?b]`: elements, and whether each is optional.
    List(Vec<(Expr, bool)>),
    /// `{k: v, ?k: v}`.
    Map(Vec<Entry>),
    /// `Name{field: value}`.
    Struct { name: Arc<str>, fields: Vec<Field> },
    /// What macros become.
    Fold(Box<Fold>),
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) function: Arc<str>,
    pub(crate) target: Option<Box<Expr>>,
    pub(crate) args: Vec<Expr>,
    /// What it runs; known when it is checked.
    pub(crate) run: Option<&'static Function>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) at: u32,
    pub(crate) name: Arc<str>,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// `accu = init; for var(, second) in range { if !condition break; accu = step }; result`.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub(crate) range: Expr,
    pub(crate) var: Arc<str>,
    pub(crate) second: Option<Arc<str>>,
    pub(crate) accu: Arc<str>,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

impl Fold {
    /// Whether this only gives a value a name.
    pub(crate) fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List(elements) if elements.is_empty())
            && matches!(self.condition.kind, Kind::Literal(Value::Bool(false)))
            && &*self.accu != ACCUMULATOR
    }
}

/// The name of what most macros add up in; no text can name it.
pub(crate) const ACCUMULATOR: &str = "@result";

/// Operators, as functions are called.
pub(crate) mod operators {
    pub(crate) const CONDITIONAL: &str = "_?_:_";
    pub(crate) const AND: &str = "_&&_";
    pub(crate) const OR: &str = "_||_";
    pub(crate) const NOT: &str = "!_";
    pub(crate) const NEGATE: &str = "-_";
    pub(crate) const ADD: &str = "_+_";
    pub(crate) const EQUALS: &str = "_==_";
    pub(crate) const INDEX: &str = "_[_]";
    pub(crate) const OPTIONAL_INDEX: &str = "_[?_]";
    pub(crate) const OPTIONAL_SELECT: &str = "_?._";
    pub(crate) const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";

    /// The function of an operator between two operands, and how tightly it binds.
    pub(crate) fn binary(symbol: &str) -> Option<(&'static str, u8)> {
        Some(match symbol {
            "||" => (OR, 1),
            "&&" => (AND, 2),
            "<" => ("_<_", 3),
            "<=" => ("_<=_", 3),
            ">" => ("_>_", 3),
            ">=" => ("_>=_", 3),
            "==" => (EQUALS, 3),
            "!=" => ("_!=_", 3),
            "in" => ("@in", 3),
            "+" => (ADD, 4),
            "-" => ("_-_", 4),
            "*" => ("_*_", 5),
            "/" => ("_/_", 5),
            "%" => ("_%_", 5),
            _ => return None,
        })
    }
}

/// What is known of the nodes after they are checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Types by number.
    pub(crate) types: Vec<Option<Type>>,
    /// Which overloads of its function a call may be, by number.
    pub(crate) overloads: Vec<Vec<usize>>,
}

impl Facts {
    pub(crate) fn of_type(&self, expr: &Expr) -> &Type {
        self.types.get(expr.id as usize).and_then(Option::as_ref).unwrap_or(&Type::Dyn)
    }

    pub(crate) fn overloads(&self, expr: &Expr) -> &[usize] {
        self.overloads.get(expr.id as usize).map_or(&[], Vec::as_slice)
    }
}
