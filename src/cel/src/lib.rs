//! The Common Expression Language as Kubernetes has it.
//!
//! ```text
//! text ─► lexer ─► parser, macros ─► checker ─► Program ─► eval
//!                                       └─► cost: what it costs at most
//! ```
//!
//! [`Program::compile`] reads an expression and finds out the type of every part of it, over the variables of an [`Environment`]; what is
//! wrong is said in kube-apiserver's words, with the place. Running it is metered: an expression that costs more than it may is stopped.
//! Everything is a pure function; what an expression asks of the cluster, it asks through [`Authorizer`].
//!
//! It is written here, and not taken from a library, because those there are forget where the parts of an expression stood, know no
//! types before they run, and cannot be metered: Kubernetes' messages need the first two, and a server the third.

mod ast;
mod checker;
mod cost;
mod env;
mod error;
mod eval;
mod functions;
mod lexer;
mod library;
mod macros;
mod parser;
mod schema;
mod types;
mod unify;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::{
    ast::{Expr, Facts, Kind},
    error::Problem,
};
pub use crate::{
    env::{Environment, Extension},
    error::EvalError,
    eval::Activation,
    library::authorizer::{Asked, Authorizer, Decision},
    parser::is_identifier,
    schema::{Decl, escape},
    types::{Struct, Type},
    value::{Key, ListKind, Opaque, Value},
};

/// What one run of an expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all expressions may cost that are run for one object.
pub const PER_OBJECT_LIMIT: u64 = 10_000_000;

/// An expression that can be run.
#[derive(Debug, Clone)]
pub struct Program {
    expr: Expr,
    facts: Facts,
}

impl Program {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// What is wrong with it, each with its place, as kube-apiserver shows it after `compilation failed: `.
    pub fn compile(text: &str, env: &Environment) -> Result<Self, String> {
        let shown = |problems: Vec<Problem>| error::show(text, &problems);
        let (mut expr, nodes) = parser::parse(text, env.macros()).map_err(shown)?;
        let facts = checker::check(&mut expr, nodes, env).map_err(shown)?;
        let mut problems = Vec::new();
        check_literals(&expr, &mut problems);
        if problems.is_empty() { Ok(Self { expr, facts }) } else { Err(shown(problems)) }
    }

    /// What it comes to.
    pub fn kind(&self) -> &Type {
        self.facts.of_type(&self.expr)
    }

    /// Runs it; what it came to, and what that has cost.
    pub fn run(&self, activation: &dyn Activation, limit: u64) -> (Result<Value, EvalError>, u64) {
        eval::evaluate(&self.expr, activation, limit)
    }

    /// What running it costs at most, over variables whose sizes are known.
    pub fn cost(&self, sizes: &[(&str, &Decl)]) -> u64 {
        cost::estimate(&self.expr, &self.facts, sizes).max
    }

    /// Whether it refers to a variable.
    pub fn refers_to(&self, name: &str) -> bool {
        let mut found = BTreeSet::new();
        names(&self.expr, &mut found);
        found.contains(name)
    }
}

fn names<'e>(expr: &'e Expr, found: &mut BTreeSet<&'e str>) {
    if let Kind::Ident(name) = &expr.kind {
        found.insert(name);
    }
    children(expr, &mut |child| names(child, found));
}

/// Calls `visit` with every direct part.
fn children<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr)) {
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => visit(operand),
        Kind::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).for_each(visit),
        Kind::List(elements) => elements.iter().for_each(|(element, _)| visit(element)),
        Kind::Map(entries) => entries.iter().for_each(|entry| {
            visit(&entry.key);
            visit(&entry.value);
        }),
        Kind::Struct { fields, .. } => fields.iter().for_each(|field| visit(&field.value)),
        Kind::Fold(fold) => {
            [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result].into_iter().for_each(visit);
        }
    }
}

/// Texts that are written out have to be what they are used as.
fn check_literals(expr: &Expr, problems: &mut Vec<Problem>) {
    if let Kind::Call(call) = &expr.kind
        && let (name @ ("duration" | "timestamp" | "matches"), Some(arg)) = (&*call.function, call.args.last())
        && let Kind::Literal(text @ Value::String(_)) = &arg.kind
    {
        let run = match name {
            "matches" => functions::find("matches").map(|function| (function.run)(&[Value::string(""), text.clone()])),
            _ => call.run.map(|function| (function.run)(std::slice::from_ref(text))),
        };
        if matches!(run, Some(Err(_))) {
            problems.push(Problem::new(arg.at as usize, format!("invalid {name} argument")));
        }
    }
    children(expr, &mut |child| check_literals(child, problems));
}
