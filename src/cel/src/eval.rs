//! Running an expression, with an eye on what it costs.

use std::sync::Arc;

use crate::{
    ast::{Call, Expr, Fold, Kind, operators},
    cost::{self, LIST, MAP, MESSAGE},
    error::EvalError,
    library,
    value::{Key, List, Map, Value},
};

/// What the variables of an expression stand for.
pub trait Activation {
    /// A variable; `None` when there is none of this name.
    fn variable(&self, name: &str) -> Option<Value>;

    /// A field of a variable whose fields are only made when they are asked for; what making it has cost is added.
    fn field(&self, _name: &str, _field: &str, _cost: &mut u64) -> Option<Result<Value, EvalError>> {
        None
    }
}

impl<const N: usize> Activation for [(&str, Value); N] {
    fn variable(&self, name: &str) -> Option<Value> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

type Outcome = Result<Value, EvalError>;

/// Runs an expression; what it came to, and what that has cost.
pub(crate) fn evaluate(expr: &Expr, activation: &dyn Activation, limit: u64) -> (Outcome, u64) {
    let mut evaluator = Evaluator { activation, limit, cost: 0, locals: Vec::new() };
    let outcome = evaluator.eval(expr);
    (outcome, evaluator.cost)
}

struct Evaluator<'a> {
    activation: &'a dyn Activation,
    limit: u64,
    cost: u64,
    /// What macros have names for; a mistake may be overruled later.
    locals: Vec<(Arc<str>, Outcome)>,
}

impl Evaluator<'_> {
    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    fn local(&self, name: &str) -> Option<&Outcome> {
        self.locals.iter().rev().find(|(known, _)| &**known == name).map(|(_, value)| value)
    }

    fn eval(&mut self, expr: &Expr) -> Outcome {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Ident(name) => {
                self.charge(1)?;
                if let Some(value) = self.local(name) {
                    return value.clone();
                }
                let name = name.strip_prefix('.').unwrap_or(name);
                self.activation.variable(name).ok_or_else(|| EvalError::NoSuchAttribute(name.to_owned()))
            }
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call(call) => self.call(call),
            Kind::List(elements) => {
                let mut items = Vec::with_capacity(elements.len());
                for (element, optional) in elements {
                    items.extend(present(self.eval(element)?, *optional)?);
                }
                self.charge(LIST)?;
                Ok(Value::list(items))
            }
            Kind::Map(entries) => {
                let mut made = Map::default();
                for entry in entries {
                    let key = self.eval(&entry.key)?;
                    let key = Key::of(&key)
                        .ok_or_else(|| EvalError::other(format!("unsupported key type: {}", key.kind().name())))?;
                    if let Some(value) = present(self.eval(&entry.value)?, entry.optional)?
                        && made.entries.insert(key.clone(), value).is_some()
                    {
                        let key = library::conversions::text(&key.value()).unwrap_or_default();
                        return Err(EvalError::other(format!("Failed with repeated key: {key}")));
                    }
                }
                self.charge(MAP)?;
                Ok(Value::Map(Arc::new(made)))
            }
            Kind::Struct { name, fields } => {
                let name: Arc<str> = name.strip_prefix('.').unwrap_or(name).into();
                let mut made = Map { name: Some(name), ..Map::default() };
                for field in fields {
                    if let Some(value) = present(self.eval(&field.value)?, field.optional)? {
                        made.entries.insert(Key::String(field.name.clone()), value);
                    }
                }
                self.charge(MESSAGE)?;
                Ok(Value::Map(Arc::new(made)))
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn select(&mut self, operand: &Expr, field: &Arc<str>, test: bool) -> Outcome {
        if let Kind::Ident(name) = &operand.kind
            && self.local(name).is_none()
        {
            let mut more = 0;
            if let Some(value) = self.activation.field(name, field, &mut more) {
                self.charge(more.saturating_add(1))?;
                return value;
            }
        }
        let value = self.eval(operand)?;
        if !test {
            self.charge(1)?;
        }
        let found = |value: &Value| match value {
            Value::Map(map) => Ok(map.entries.get(&Key::String(field.clone())).cloned()),
            _ if test => Ok(None),
            _ => Err(EvalError::NoSuchOverload),
        };
        if let Value::Optional(optional) = &value {
            let inner = optional.as_ref().map_or(Ok(None), |held| found(held))?;
            return Ok(if test {
                Value::Bool(inner.is_some())
            } else {
                inner.map_or(Value::Optional(None), Value::some)
            });
        }
        let found = found(&value)?;
        if test {
            return Ok(Value::Bool(found.is_some()));
        }
        found.ok_or_else(|| EvalError::NoSuchKey(field.to_string()))
    }

    fn call(&mut self, call: &Call) -> Outcome {
        match (&*call.function, call.args.as_slice()) {
            (operators::AND, [one, other]) => return self.logic(one, other, false),
            (operators::OR, [one, other]) => return self.logic(one, other, true),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => Err(EvalError::NoSuchOverload),
                };
            }
            (operators::NOT_STRICTLY_FALSE, [arg]) => {
                let value = self.eval(arg);
                self.charge(1)?;
                return match value {
                    Err(EvalError::CostExceeded) => Err(EvalError::CostExceeded),
                    Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                    _ => Ok(Value::Bool(true)),
                };
            }
            _ => {}
        }
        let mut args = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            args.push(self.eval(target)?);
        }
        // An alternative is only looked at when it is needed.
        if let ("or" | "orValue", [Value::Optional(Some(held))]) = (&*call.function, args.as_slice()) {
            let value = if &*call.function == "or" { args[0].clone() } else { (**held).clone() };
            self.charge(1)?;
            return Ok(value);
        }
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        let function = call.run.ok_or(EvalError::NoSuchOverload)?;
        let result = (function.run)(&args)?;
        self.charge(cost::actual(function.name, &args, &result))?;
        Ok(result)
    }

    /// `&&` and `||`: one side that decides makes up for a mistake on the other.
    fn logic(&mut self, one: &Expr, other: &Expr, decides: bool) -> Outcome {
        let left = self.eval(one);
        match &left {
            Ok(Value::Bool(value)) if *value == decides => return left,
            Err(EvalError::CostExceeded) => return left,
            _ => {}
        }
        let right = self.eval(other);
        match (left, right) {
            (_, Ok(Value::Bool(value))) if value == decides => Ok(Value::Bool(value)),
            (_, Err(EvalError::CostExceeded)) => Err(EvalError::CostExceeded),
            (Ok(Value::Bool(_)), Ok(Value::Bool(value))) => Ok(Value::Bool(value)),
            (Err(error), _) | (Ok(Value::Bool(_)), Err(error)) => Err(error),
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn fold(&mut self, fold: &Fold) -> Outcome {
        let range = self.eval(&fold.range)?;
        let accu = self.locals.len();
        let init = self.eval(&fold.init);
        if matches!(init, Err(EvalError::CostExceeded)) {
            return init;
        }
        self.locals.push((fold.accu.clone(), init));
        let outcome = self.iterate(fold, &range, accu).and_then(|()| self.eval(&fold.result));
        self.locals.truncate(accu);
        outcome
    }

    fn iterate(&mut self, fold: &Fold, range: &Value, accu: usize) -> Result<(), EvalError> {
        match range {
            Value::List(list) => {
                for (index, item) in list.items.iter().enumerate() {
                    let place = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    let (first, second) = match &fold.second {
                        Some(name) => (place, Some((name, item.clone()))),
                        None => (item.clone(), None),
                    };
                    if !self.turn(fold, accu, first, second)? {
                        break;
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                for (key, value) in &map.entries {
                    let second = fold.second.as_ref().map(|name| (name, value.clone()));
                    if !self.turn(fold, accu, key.value(), second)? {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    /// One element; whether there is to be another.
    fn turn(
        &mut self,
        fold: &Fold,
        accu: usize,
        first: Value,
        second: Option<(&Arc<str>, Value)>,
    ) -> Result<bool, EvalError> {
        self.locals.push((fold.var.clone(), Ok(first)));
        if let Some((name, value)) = second {
            self.locals.push((name.clone(), Ok(value)));
        }
        let goes_on = match &fold.condition.kind {
            Kind::Literal(value) => value.is_true(),
            _ => self.eval(&fold.condition)?.is_true(),
        };
        if goes_on {
            self.step(&fold.step, fold, accu)?;
        }
        self.locals.truncate(accu + 1);
        Ok(goes_on)
    }

    /// Makes what is added up anew; where it only grows, in place.
    fn step(&mut self, step: &Expr, fold: &Fold, accu: usize) -> Result<(), EvalError> {
        let is_accu = |expr: &Expr| matches!(&expr.kind, Kind::Ident(name) if *name == fold.accu);
        if let Kind::Call(Call { function, args, target: None, .. }) = &step.kind {
            match (&**function, args.as_slice()) {
                (operators::CONDITIONAL, [condition, yes, no]) if is_accu(no) => {
                    return match self.eval(condition)? {
                        Value::Bool(true) => self.step(yes, fold, accu),
                        Value::Bool(false) => self.charge(1),
                        _ => Err(EvalError::NoSuchOverload),
                    };
                }
                (operators::ADD, [whole, more]) if is_accu(whole) && matches!(more.kind, Kind::List(_)) => {
                    let more = self.eval(more)?;
                    self.charge(2)?;
                    if let (Ok(Value::List(whole)), Value::List(more)) = (&mut self.locals[accu].1, more) {
                        let List { items, .. } = Arc::make_mut(whole);
                        items.extend(more.items.iter().cloned());
                        return Ok(());
                    }
                    return Err(EvalError::NoSuchOverload);
                }
                (operators::MAP_INSERT, [whole, given @ ..]) if is_accu(whole) => {
                    let given: Vec<Value> = given.iter().map(|arg| self.eval(arg)).collect::<Result<_, _>>()?;
                    self.charge(2)?;
                    if let Ok(Value::Map(whole)) = &mut self.locals[accu].1 {
                        return library::insert(&mut Arc::make_mut(whole).entries, &given);
                    }
                    return Err(EvalError::NoSuchOverload);
                }
                _ => {}
            }
        }
        let value = self.eval(step);
        if matches!(value, Err(EvalError::CostExceeded)) {
            return value.map(drop);
        }
        self.locals[accu].1 = value;
        Ok(())
    }
}

/// A value that may be missing, where it may.
fn present(value: Value, optional: bool) -> Result<Option<Value>, EvalError> {
    match (optional, value) {
        (false, value) => Ok(Some(value)),
        (true, Value::Optional(held)) => Ok(held.map(|held| (*held).clone())),
        (true, value) => Err(EvalError::other(format!(
            "cannot initialize optional list element from non-optional value {}",
            value.kind().name()
        ))),
    }
}
