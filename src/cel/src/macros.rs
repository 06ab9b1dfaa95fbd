//! Calls that are written out while an expression is read: tests of presence, and loops.

use std::sync::Arc;

use crate::{
    ast::{ACCUMULATOR, Entry, Expr, Fold, Kind, operators},
    env::Macros,
    parser::Tree,
    value::Value,
};

/// What became of a call.
pub(crate) enum Expansion {
    /// It was a macro.
    Done(Expr),
    /// It is no macro: target and arguments as they were.
    None(Option<Expr>, Vec<Expr>),
    /// It is one, with arguments that it cannot have.
    Wrong(u32, String),
}

type Made = Result<Expr, (u32, String)>;

/// Writes out a call, if it is a macro's.
pub(crate) fn expand(
    tree: &mut Tree,
    macros: Macros,
    at: u32,
    name: &str,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Expansion {
    let mut maker = Maker { tree, at };
    let made = match (name, target, args.len()) {
        ("has", None, 1) => maker.has(args),
        ("all" | "exists" | "exists_one" | "existsOne", Some(range), 2) => maker.quantifier(name, range, args, 1),
        ("all" | "exists" | "exists_one" | "existsOne", Some(range), 3) => maker.quantifier(name, range, args, 2),
        ("map", Some(range), 2 | 3) => maker.map(range, args),
        ("filter", Some(range), 2) => maker.filter(range, args),
        ("transformList" | "transformMap" | "transformMapEntry", Some(range), 3 | 4) => {
            maker.transform(name, range, args)
        }
        ("sortBy", Some(range), 2) => maker.sort_by(range, args),
        ("optMap" | "optFlatMap", Some(target), 2) => maker.optional_map(name, target, args),
        ("bind", Some(target), 3) if macros.bind && matches!(&target.kind, Kind::Ident(name) if &**name == "cel") => {
            maker.bind(args)
        }
        (_, target, _) => return Expansion::None(target, args),
    };
    match made {
        Ok(expr) => Expansion::Done(expr),
        Err((at, why)) => Expansion::Wrong(at, why),
    }
}

struct Maker<'t> {
    tree: &'t mut Tree,
    at: u32,
}

fn take<const N: usize>(args: Vec<Expr>) -> [Expr; N] {
    args.try_into().unwrap_or_else(|_| unreachable!("the macro's number of arguments was looked at"))
}

/// The name that a variable argument is.
fn variable(arg: &Expr, complaint: &str) -> Result<Arc<str>, (u32, String)> {
    match &arg.kind {
        Kind::Ident(name) if &**name == "__result__" => {
            Err((arg.at, "iteration variable overwrites accumulator variable".into()))
        }
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err((arg.at, complaint.to_owned())),
    }
}

fn two_variables(first: &Expr, second: &Expr) -> Result<(Arc<str>, Arc<str>), (u32, String)> {
    let one = variable(first, "argument must be a simple name")?;
    let two = variable(second, "argument must be a simple name")?;
    if one == two { Err((second.at, format!("duplicate variable name: {one}"))) } else { Ok((one, two)) }
}

impl Maker<'_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.tree.node(self.at, kind)
    }

    fn literal(&mut self, value: Value) -> Expr {
        self.node(Kind::Literal(value))
    }

    fn name(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }

    fn accu(&mut self) -> Expr {
        self.name(ACCUMULATOR)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.tree.call(self.at, function, None, args)
    }

    fn method(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.tree.call(self.at, function, Some(target), args)
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        self.node(Kind::List(elements.into_iter().map(|element| (element, false)).collect()))
    }

    fn has(&mut self, args: Vec<Expr>) -> Made {
        let [arg] = take(args);
        match arg.kind {
            Kind::Select { operand, field, test: false } => Ok(self.node(Kind::Select { operand, field, test: true })),
            _ => Err((arg.at, "invalid argument to has() macro".into())),
        }
    }

    fn quantifier(&mut self, name: &str, range: Expr, mut args: Vec<Expr>, variables: usize) -> Made {
        let predicate = args.pop().unwrap_or_else(|| unreachable!("the number of arguments was looked at"));
        let (var, second) = if variables == 2 {
            let (one, two) = two_variables(&args[0], &args[1])?;
            (one, Some(two))
        } else {
            (variable(&args[0], "argument must be a simple name")?, None)
        };
        let (init, condition, step, result);
        match name {
            "all" => {
                init = self.literal(Value::Bool(true));
                let accu = self.accu();
                condition = self.call(operators::NOT_STRICTLY_FALSE, vec![accu]);
                let accu = self.accu();
                step = self.call(operators::AND, vec![accu, predicate]);
                result = self.accu();
            }
            "exists" => {
                init = self.literal(Value::Bool(false));
                let accu = self.accu();
                let not = self.call(operators::NOT, vec![accu]);
                condition = self.call(operators::NOT_STRICTLY_FALSE, vec![not]);
                let accu = self.accu();
                step = self.call(operators::OR, vec![accu, predicate]);
                result = self.accu();
            }
            _ => {
                init = self.literal(Value::Int(0));
                condition = self.literal(Value::Bool(true));
                let (accu, one) = (self.accu(), self.literal(Value::Int(1)));
                let more = self.call(operators::ADD, vec![accu, one]);
                let accu = self.accu();
                step = self.call(operators::CONDITIONAL, vec![predicate, more, accu]);
                let (accu, one) = (self.accu(), self.literal(Value::Int(1)));
                result = self.call(operators::EQUALS, vec![accu, one]);
            }
        }
        let fold = Fold { range, var, second, accu: ACCUMULATOR.into(), init, condition, step, result };
        Ok(self.node(Kind::Fold(Box::new(fold))))
    }

    /// A loop whose steps add to what there is, where the filter says so.
    fn collect(
        &mut self,
        range: Expr,
        var: Arc<str>,
        second: Option<Arc<str>>,
        init: Expr,
        step: Expr,
        filter: Option<Expr>,
    ) -> Expr {
        let step = match filter {
            Some(filter) => {
                let accu = self.accu();
                self.call(operators::CONDITIONAL, vec![filter, step, accu])
            }
            None => step,
        };
        let (condition, result) = (self.literal(Value::Bool(true)), self.accu());
        let fold = Fold { range, var, second, accu: ACCUMULATOR.into(), init, condition, step, result };
        self.node(Kind::Fold(Box::new(fold)))
    }

    fn collect_list(
        &mut self,
        range: Expr,
        var: Arc<str>,
        second: Option<Arc<str>>,
        element: Expr,
        filter: Option<Expr>,
    ) -> Expr {
        let init = self.list(vec![]);
        let (accu, element) = (self.accu(), self.list(vec![element]));
        let step = self.call(operators::ADD, vec![accu, element]);
        self.collect(range, var, second, init, step, filter)
    }

    fn map(&mut self, range: Expr, mut args: Vec<Expr>) -> Made {
        let var = variable(&args[0], "argument is not an identifier")?;
        let element = args.pop().unwrap_or_else(|| unreachable!("the number of arguments was looked at"));
        let filter = if args.len() == 2 { args.pop() } else { None };
        Ok(self.collect_list(range, var, None, element, filter))
    }

    fn filter(&mut self, range: Expr, args: Vec<Expr>) -> Made {
        let [element, filter] = take(args);
        let var = variable(&element, "argument is not an identifier")?;
        Ok(self.collect_list(range, var, None, element, Some(filter)))
    }

    fn transform(&mut self, name: &str, range: Expr, mut args: Vec<Expr>) -> Made {
        let (var, second) = two_variables(&args[0], &args[1])?;
        let element = args.pop().unwrap_or_else(|| unreachable!("the number of arguments was looked at"));
        let filter = if args.len() == 3 { args.pop() } else { None };
        if name == "transformList" {
            return Ok(self.collect_list(range, var, Some(second), element, filter));
        }
        let init = self.node(Kind::Map(Vec::<Entry>::new()));
        let mut inserted = vec![self.accu()];
        if name == "transformMap" {
            inserted.push(self.name(&var));
        }
        inserted.push(element);
        let step = self.call(operators::MAP_INSERT, inserted);
        Ok(self.collect(range, var, Some(second), init, step, filter))
    }

    /// A value under a name, for one expression.
    fn bound(&mut self, name: Arc<str>, value: Expr, within: Expr) -> Expr {
        let (range, condition, step) = (self.list(vec![]), self.literal(Value::Bool(false)), self.name(&name));
        let fold = Fold {
            range,
            var: "#unused".into(),
            second: None,
            accu: name,
            init: value,
            condition,
            step,
            result: within,
        };
        self.node(Kind::Fold(Box::new(fold)))
    }

    fn bind(&mut self, args: Vec<Expr>) -> Made {
        let [name, value, within] = take(args);
        let Kind::Ident(name) = &name.kind else {
            return Err((name.at, "cel.bind() variable names must be simple identifiers".into()));
        };
        Ok(self.bound(name.clone(), value, within))
    }

    fn sort_by(&mut self, range: Expr, args: Vec<Expr>) -> Made {
        if matches!(range.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let why = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err((range.at, why.into()));
        }
        let input = "@__sortBy_input__";
        let each = self.name(input);
        let keys = self.map(each, args)?;
        let list = self.name(input);
        let sorted = self.method("@sortByAssociatedKeys", list, vec![keys]);
        Ok(self.bound(input.into(), range, sorted))
    }

    fn optional_map(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Made {
        let [var, within] = take(args);
        let Kind::Ident(var) = &var.kind else {
            return Err((var.at, format!("{name}() variable name must be a simple identifier")));
        };
        let again = self.tree.copy(&target);
        let condition = self.method("hasValue", target, vec![]);
        let value = self.method("value", again, vec![]);
        let mapped = self.bound(var.clone(), value, within);
        let mapped = if name == "optMap" { self.call("optional.of", vec![mapped]) } else { mapped };
        let none = self.call("optional.none", vec![]);
        Ok(self.call(operators::CONDITIONAL, vec![condition, mapped, none]))
    }
}
