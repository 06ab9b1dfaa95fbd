//! Finding out what each part of an expression is, and refusing what fits nowhere.

use std::{collections::HashMap, sync::Arc};

use crate::{
    ast::{Call, Expr, Facts, Field, Fold, Kind, operators},
    env::{Environment, Extension},
    error::Problem,
    functions::{self, Function},
    types::Type,
    unify::{Unknowns, most_general},
    value::Value,
};

/// Checks an expression; names of functions and types in it are put together.
///
/// # Errors
/// What is wrong, where.
pub(crate) fn check(expr: &mut Expr, nodes: u32, env: &Environment) -> Result<Facts, Vec<Problem>> {
    let nodes = nodes as usize;
    let facts = Facts { types: vec![None; nodes], overloads: vec![Vec::new(); nodes] };
    let mut checker =
        Checker { env, facts, unknowns: Unknowns::default(), locals: HashMap::new(), problems: Vec::new() };
    checker.check(expr);
    if !checker.problems.is_empty() {
        checker.problems.sort_by_key(|problem| problem.at);
        return Err(checker.problems);
    }
    let Checker { mut facts, unknowns, .. } = checker;
    for kind in facts.types.iter_mut().flatten() {
        *kind = unknowns.resolve(kind, true);
    }
    Ok(facts)
}

struct Checker<'e> {
    env: &'e Environment,
    facts: Facts,
    unknowns: Unknowns,
    locals: HashMap<Arc<str>, Vec<Type>>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn complain(&mut self, at: u32, why: impl Into<String>) {
        self.problems.push(Problem::new(at as usize, why.into()));
    }

    fn undeclared(&mut self, at: u32, name: &str) -> Type {
        self.complain(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, at: u32, wanted: &Type, found: &Type) {
        let (wanted, found) = (self.unknowns.resolve(wanted, false), self.unknowns.resolve(found, false));
        self.complain(at, format!("expected type '{wanted}' but found '{found}'"));
    }

    fn declare(&mut self, name: &Arc<str>, kind: Type) {
        self.locals.entry(name.clone()).or_default().push(kind);
    }

    fn forget(&mut self, name: &Arc<str>) {
        if let Some(kinds) = self.locals.get_mut(name) {
            kinds.pop();
        }
    }

    /// Checks a node; its type is kept with its number.
    fn check(&mut self, expr: &mut Expr) -> Type {
        let kind = self.kind_of(expr);
        if let Some(slot) = self.facts.types.get_mut(expr.id as usize) {
            *slot = Some(kind.clone());
        }
        kind
    }

    fn kind_of(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        match &mut expr.kind {
            Kind::Literal(value) => value.kind(),
            Kind::Ident(name) => match self.named(name) {
                Some(Named::Variable(kind)) => kind,
                Some(Named::Type(kind)) => {
                    expr.kind = Kind::Literal(Value::Type(kind.clone()));
                    Type::Type(Arc::new(kind))
                }
                None => {
                    let name = name.clone();
                    self.undeclared(at, &name)
                }
            },
            Kind::Select { .. } => self.select(expr),
            Kind::Call(_) => self.call(expr),
            Kind::List(elements) => {
                let mut joined = None;
                for (element, optional) in elements {
                    let mut kind = self.check(element);
                    if *optional {
                        kind = self.unwrapped(element.at, kind);
                    }
                    joined = Some(self.join(element.at, joined, kind));
                }
                let element = joined.unwrap_or_else(|| self.unknowns.fresh());
                Type::list(element)
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    let kind = self.check(&mut entry.key);
                    keys = Some(self.join(entry.key.at, keys, kind));
                    let mut kind = self.check(&mut entry.value);
                    if entry.optional {
                        kind = self.unwrapped(entry.value.at, kind);
                    }
                    values = Some(self.join(entry.value.at, values, kind));
                }
                let keys = keys.unwrap_or_else(|| self.unknowns.fresh());
                let values = values.unwrap_or_else(|| self.unknowns.fresh());
                Type::map(keys, values)
            }
            Kind::Struct { name, fields } => {
                let name = name.clone();
                self.message(at, &name, fields)
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn named(&self, name: &str) -> Option<Named> {
        if let Some(kind) = self.locals.get(name).and_then(|kinds| kinds.last()) {
            return Some(Named::Variable(kind.clone()));
        }
        let global = name.strip_prefix('.').unwrap_or(name);
        if let Some(kind) = self.env.variables.get(global) {
            return Some(Named::Variable(kind.clone()));
        }
        self.env.type_named(global).filter(|_| self.env.message(global).is_none()).map(Named::Type)
    }

    /// `a.b.c`, when that is all it is.
    fn qualified(expr: &Expr) -> Option<String> {
        match &expr.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", Self::qualified(operand)?)),
            _ => None,
        }
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = Self::qualified(expr)
            && let Some(kind) = self.env.variables.get(&name).cloned()
        {
            expr.kind = Kind::Ident(name.into());
            return kind;
        }
        if let Some(name) = Self::qualified(expr)
            && let Some(kind) = self.env.type_named(&name).filter(|_| self.env.message(&name).is_none())
        {
            expr.kind = Kind::Literal(Value::Type(kind.clone()));
            return Type::Type(Arc::new(kind));
        }
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let (field, test) = (field.clone(), *test);
        let kind = self.field(expr.at, operand, &field, false);
        if test { Type::Bool } else { self.unknowns.resolve(&kind, false) }
    }

    fn field(&mut self, at: u32, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let kind = self.check(operand);
        let kind = self.unknowns.resolve(&kind, false);
        let (target, is_optional) = match kind.optional_of() {
            Some(of) => (of.clone(), true),
            None => (kind, false),
        };
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Struct(of) => match of.fields.get(field) {
                Some(kind) => kind.clone(),
                None if of.open => Type::Dyn,
                None => {
                    self.complain(at, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.unknowns.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.complain(at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(found) } else { found }
    }

    fn unwrapped(&mut self, at: u32, kind: Type) -> Type {
        let kind = self.unknowns.resolve(&kind, false);
        match kind.optional_of() {
            Some(of) => of.clone(),
            None => {
                if !kind.is_dyn() {
                    self.mismatch(at, &Type::optional(kind.clone()), &kind);
                }
                kind
            }
        }
    }

    /// The type of elements that have to be alike.
    fn join(&mut self, at: u32, before: Option<Type>, kind: Type) -> Type {
        let Some(before) = before else { return kind };
        if self.unknowns.assign(&before, &kind) {
            return most_general(&before, &kind);
        }
        self.mismatch(at, &before, &kind);
        Type::Error
    }

    fn function(&self, name: &str) -> Option<&'static Function> {
        let function = functions::find(name.strip_prefix('.').unwrap_or(name))?;
        let there = match function.name {
            "includes" => self.env.has(Extension::Devices),
            "jsonpatch.escapeKey" => self.env.has(Extension::Mutation),
            _ => true,
        };
        there.then_some(function)
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let (id, at) = (expr.id, expr.at);
        let Kind::Call(call) = &mut expr.kind else { return Type::Error };
        if &*call.function == operators::OPTIONAL_SELECT {
            return self.optional_select(at, call);
        }
        let mut kinds: Vec<Type> = call.args.iter_mut().map(|arg| self.check(arg)).collect();
        let Some(target) = &mut call.target else {
            let Some(function) = self.function(&call.function) else {
                return self.undeclared(at, &call.function.clone());
            };
            return self.resolve(id, at, call, function, &kinds);
        };
        // `a.b.f()` may be a function of that name.
        if let Some(prefix) = Self::qualified(target)
            && let Some(function) = self.function(&format!("{prefix}.{}", call.function))
        {
            call.target = None;
            return self.resolve(id, at, call, function, &kinds);
        }
        kinds.insert(0, self.check(target));
        let Some(function) = self.function(&call.function) else { return self.undeclared(at, &call.function.clone()) };
        self.resolve(id, at, call, function, &kinds)
    }

    fn optional_select(&mut self, at: u32, call: &mut Call) -> Type {
        call.run = functions::find(operators::OPTIONAL_SELECT);
        let [operand, field] = call.args.as_mut_slice() else { return Type::Error };
        let Kind::Literal(Value::String(name)) = field.kind.clone() else { return Type::Error };
        self.check(field);
        let kind = self.field(at, operand, &name, true);
        self.unknowns.resolve(&kind, false)
    }

    fn resolve(&mut self, id: u32, at: u32, call: &mut Call, function: &'static Function, kinds: &[Type]) -> Type {
        call.run = Some(function);
        call.function = function.name.into();
        let is_method = call.target.is_some();
        if matches!(function.name, operators::AND | operators::OR) {
            let mut fine = true;
            for (arg, kind) in call.args.iter().zip(kinds) {
                if !self.unknowns.assign(kind, &Type::Bool) {
                    self.mismatch(arg.at, &Type::Bool, kind);
                    fine = false;
                }
            }
            self.facts.overloads[id as usize] = vec![0];
            return if fine { Type::Bool } else { Type::Error };
        }
        let mut result: Option<Type> = None;
        for (index, overload) in function.overloads.iter().enumerate() {
            if overload.is_method != is_method {
                continue;
            }
            let letters: Vec<Type> = (0..overload.open).map(|_| self.unknowns.fresh()).collect();
            let params: Vec<Type> = overload.params.iter().map(|param| instantiate(param, &letters)).collect();
            if !self.unknowns.assign_all(kinds, &params) {
                continue;
            }
            self.facts.overloads[id as usize].push(index);
            let given = self.unknowns.resolve(&instantiate(&overload.result, &letters), false);
            result = Some(match result {
                None => given,
                Some(before) if !before.is_dyn() && !given.is_exactly(&before) => Type::Dyn,
                Some(before) => before,
            });
        }
        result.unwrap_or_else(|| {
            let mut shown: Vec<String> =
                kinds.iter().map(|kind| self.unknowns.resolve(kind, true).to_string()).collect();
            let object = if is_method { format!("{}.", shown.remove(0)) } else { String::new() };
            let signature = format!("{object}({})", shown.join(", "));
            self.complain(at, format!("found no matching overload for '{}' applied to '{signature}'", function.name));
            Type::Error
        })
    }

    fn message(&mut self, at: u32, name: &str, fields: &mut [Field]) -> Type {
        let kind = match self.env.message(name.strip_prefix('.').unwrap_or(name)) {
            Some(kind) => kind,
            None if self.env.type_named(name).is_some() => {
                self.complain(at, format!("'{name}' is not a message type"));
                Type::Error
            }
            None => return self.undeclared(at, name),
        };
        for field in fields {
            let mut given = self.check(&mut field.value);
            let wanted = match &kind {
                Type::Struct(of) => match of.fields.get(&*field.name) {
                    Some(kind) => kind.clone(),
                    None if of.open => Type::Dyn,
                    None => {
                        self.complain(field.at, format!("undefined field '{}'", field.name));
                        Type::Error
                    }
                },
                _ => Type::Error,
            };
            if field.optional {
                given = self.unwrapped(field.value.at, given);
            }
            if !self.unknowns.assign(&wanted, &given) {
                let given = self.unknowns.resolve(&given, false);
                let name = &field.name;
                self.complain(
                    field.at,
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{given}'"),
                );
            }
        }
        kind
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let accu = self.check(&mut fold.init);
        let range = self.unknowns.resolve(&range, false);
        let (first, second) = match &range {
            Type::List(of) if fold.second.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.unknowns.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.complain(fold.range.at, why);
                (Type::Error, Type::Error)
            }
        };
        self.declare(&fold.accu, accu.clone());
        self.declare(&fold.var, first);
        if let Some(name) = &fold.second {
            self.declare(name, second);
        }
        let condition = self.check(&mut fold.condition);
        self.wants(fold.condition.at, &Type::Bool, &condition);
        let step = self.check(&mut fold.step);
        self.wants(fold.step.at, &accu, &step);
        self.forget(&fold.var);
        if let Some(name) = &fold.second {
            self.forget(name);
        }
        let result = self.check(&mut fold.result);
        self.forget(&fold.accu);
        self.unknowns.resolve(&result, false)
    }

    fn wants(&mut self, at: u32, wanted: &Type, found: &Type) {
        if !self.unknowns.assign(wanted, found) {
            self.mismatch(at, wanted, found);
        }
    }
}

enum Named {
    Variable(Type),
    Type(Type),
}

/// A signature's type with fresh unknowns for its letters.
fn instantiate(kind: &Type, letters: &[Type]) -> Type {
    match kind {
        Type::Param(number) => letters.get(*number as usize).cloned().unwrap_or(Type::Dyn),
        Type::List(of) => Type::list(instantiate(of, letters)),
        Type::Type(of) => Type::Type(Arc::new(instantiate(of, letters))),
        Type::Map(key, value) => Type::map(instantiate(key, letters), instantiate(value, letters)),
        Type::Opaque(name, params) if !params.is_empty() => {
            Type::Opaque(name.clone(), params.iter().map(|of| instantiate(of, letters)).collect())
        }
        other => other.clone(),
    }
}
