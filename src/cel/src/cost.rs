//! What an expression costs at most, told before it runs; in units of about 50 nanoseconds, as kube-apiserver counts them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    ast::{Call, Expr, Facts, Fold, Kind, operators},
    functions::{Function, Overload},
    schema::Decl,
    types::Type,
    value::Value,
};

pub(crate) const TRAVERSAL: f64 = 0.1;
pub(crate) const PATTERN: f64 = 0.25;
pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const MESSAGE: u64 = 40;
/// What asking an authorizer costs.
pub(crate) const CHECK: u64 = 350_000;

/// From at least to at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
const NOTHING: Range = Range::fixed(0);
const ONE: Range = Range::fixed(1);

impl Range {
    pub(crate) const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    fn up_to(max: u64) -> Self {
        Self { min: 0, max }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn by(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts saturate"
)]
pub(crate) fn scaled(value: u64, factor: f64) -> u64 {
    (value as f64 * factor).ceil() as u64
}

/// What a checked expression costs, over variables whose sizes are known.
pub(crate) fn estimate(expr: &Expr, facts: &Facts, sizes: &[(&str, &Decl)]) -> Range {
    Coster {
        facts,
        sizes,
        paths: HashMap::new(),
        locals: HashMap::new(),
        known: HashMap::new(),
        entries: HashMap::new(),
    }
    .cost(expr)
}

type Path = Vec<Arc<str>>;

/// How large the keys and values of a container are.
#[derive(Debug, Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        Self { is_list: self.is_list, key: self.key.or(other.key), value: self.value.or(other.value) }
    }
}

#[derive(Debug, Clone)]
struct Local {
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

/// The cost of a call, and the size of what it gives.
struct Estimate {
    cost: Range,
    size: Option<Range>,
}

impl Estimate {
    fn cost(cost: Range) -> Self {
        Self { cost, size: None }
    }

    fn sized(cost: Range, size: Range) -> Self {
        Self { cost, size: Some(size) }
    }
}

struct Coster<'e> {
    facts: &'e Facts,
    sizes: &'e [(&'e str, &'e Decl)],
    paths: HashMap<u32, Path>,
    locals: HashMap<Arc<str>, Vec<Local>>,
    known: HashMap<u32, Range>,
    entries: HashMap<u32, Entries>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(Value::Type(_)) => ONE,
            Kind::Literal(_) => NOTHING,
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                ONE
            }
            Kind::Select { operand, test: true, .. } => self.cost(operand),
            Kind::Select { operand, field, .. } => {
                let cost = self.cost(operand);
                let of = self.facts.of_type(operand);
                let own = matches!(of, Type::Map(..) | Type::Struct(_) | Type::Param(_));
                let mut path = self.path(operand);
                path.push(field.clone());
                self.paths.insert(expr.id, path);
                cost.plus(if own { ONE } else { NOTHING })
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => {
                let mut cost = Range::fixed(LIST);
                let mut size = Range { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for (element, _) in elements {
                    cost = cost.plus(self.cost(element));
                    size = size.or(self.size_or_unknown(element));
                }
                self.entries.insert(expr.id, Entries { is_list: true, key: ONE, value: size });
                cost
            }
            Kind::Map(entries) => {
                let mut cost = Range::fixed(MAP);
                let empty = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut key, mut value) = (empty, empty);
                for entry in entries {
                    cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.or(self.size_or_unknown(&entry.key));
                    value = value.or(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { is_list: false, key, value });
                cost
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::fixed(MESSAGE), |cost, field| cost.plus(self.cost(&field.value)))
            }
            Kind::Fold(fold) if fold.is_bind() => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name).and_then(|locals| locals.last())
    }

    fn push(&mut self, name: &Arc<str>, local: Local) {
        self.locals.entry(name.clone()).or_default().push(local);
    }

    fn pop(&mut self, name: &Arc<str>) {
        if let Some(locals) = self.locals.get_mut(name) {
            locals.pop();
        }
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    /// The size that a schema gives what a path leads to.
    fn declared(&self, path: &[Arc<str>]) -> Option<Range> {
        let (root, rest) = path.split_first()?;
        let (_, decl) = self.sizes.iter().find(|(name, _)| *name == &**root)?;
        decl.size_at(rest).map(Range::up_to)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.known.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Literal(Value::String(text)) => return Some(Range::fixed(text.chars().count() as u64)),
            Kind::Literal(Value::Bytes(bytes)) => return Some(Range::fixed(bytes.len() as u64)),
            Kind::Literal(_) => return Some(ONE),
            Kind::List(elements) => return Some(Range::fixed(elements.len() as u64)),
            Kind::Map(entries) => return Some(Range::fixed(entries.len() as u64)),
            _ => {}
        }
        if let Some(size) = self.declared(&self.path(expr)) {
            self.known.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.facts.of_type(expr)) {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn entries(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    fn iterated(&self, range: &Expr, part: &str, size: Option<Range>) -> Local {
        let mut path = self.path(range);
        path.push(part.into());
        Local { path, size, entries: None }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut cost = self.cost(&fold.range).plus(self.cost(&fold.init));
        let accu =
            Local { path: self.path(&fold.init), size: self.size(&fold.init), entries: self.entries(&fold.init) };
        self.push(&fold.accu, accu);
        let entries = self.entries(&fold.range);
        let is_list =
            entries.map_or_else(|| matches!(self.facts.of_type(&fold.range), Type::List(_)), |entries| entries.is_list);
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        let (keys, values) = if is_list { ("@indices", "@items") } else { ("@keys", "@values") };
        if let Some(second) = &fold.second {
            let (key, value) = (self.iterated(&fold.range, keys, key), self.iterated(&fold.range, values, value));
            self.push(&fold.var, key);
            self.push(second, value);
        } else {
            let (part, size) = if is_list { (values, value) } else { (keys, key) };
            let local = self.iterated(&fold.range, part, size);
            self.push(&fold.var, local);
        }
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.pop(&fold.var);
        if let Some(second) = &fold.second {
            self.pop(second);
        }
        cost = cost.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.known.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.known.insert(expr.id, count);
                if let Some(entries) = self.entries(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        cost.plus(count.times(each))
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let cost = self.cost(&fold.range).plus(self.cost(&fold.init));
        let local =
            Local { path: self.path(&fold.init), size: self.size(&fold.init), entries: self.entries(&fold.init) };
        self.push(&fold.accu, local);
        let cost = cost.plus(self.cost(&fold.result));
        if let Some(size) = self.size(&fold.result) {
            self.known.insert(expr.id, size);
        }
        if let Some(entries) = self.entries(&fold.result) {
            self.entries.insert(expr.id, entries);
        }
        self.pop(&fold.accu);
        cost
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Range {
        if &*call.function == "dyn" {
            let [arg] = call.args.as_slice() else { return ONE };
            let cost = self.cost(arg);
            if let Some(size) = self.size(arg) {
                self.known.insert(expr.id, size);
            }
            if let Some(entries) = self.entries(arg) {
                self.entries.insert(expr.id, entries);
            }
            return cost.plus(ONE);
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        let overloads = self.facts.overloads(expr).to_vec();
        let Some(function) = call.run.filter(|_| !overloads.is_empty()) else { return NOTHING };
        let target = call.target.as_ref().map_or(NOTHING, |target| self.cost(target));
        let mut whole = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for index in overloads {
            let overload = &function.overloads[index];
            let estimate = self.overload(expr, function, overload, call, &costs);
            whole = whole.or(estimate.cost);
            if let Some(given) = estimate.size {
                size = Some(size.map_or(given, |size| size.or(given)));
            }
            if function.name == operators::INDEX {
                let of = match &overload.params[0] {
                    Type::List(_) => Some("@items"),
                    Type::Map(..) => Some("@values"),
                    _ => None,
                };
                if let Some(part) = of {
                    size = self.entries(&call.args[0]).map(|entries| entries.value);
                    let mut path = self.path(&call.args[0]);
                    path.push(part.into());
                    self.paths.insert(expr.id, path);
                }
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.known.insert(expr.id, size);
        }
        target.plus(whole)
    }

    /// What each element of a list costs to look at.
    fn element(&mut self, list: &Expr) -> Option<Range> {
        let Type::List(of) = self.facts.of_type(list) else { return None };
        if !matches!(**of, Type::String | Type::Bytes) {
            return Some(ONE);
        }
        Some(self.element_size(list).by(TRAVERSAL).plus(ONE))
    }

    fn element_size(&mut self, list: &Expr) -> Range {
        let mut path = self.path(list);
        if path.is_empty() {
            return UNKNOWN;
        }
        path.push("@items".into());
        self.declared(&path).unwrap_or(UNKNOWN)
    }

    fn overload(
        &mut self,
        expr: &Expr,
        function: &Function,
        overload: &Overload,
        call: &Call,
        costs: &[Range],
    ) -> Estimate {
        let args: Range = costs.iter().fold(NOTHING, |sum, cost| sum.plus(*cost));
        if let Some(estimate) = self.of_library(function.name, overload, call) {
            return Estimate { cost: estimate.cost.plus(args), ..estimate };
        }
        let sizes: Vec<Range> = call.args.iter().map(|arg| self.size_or_unknown(arg)).collect();
        let target = call.target.as_ref().map(|target| self.size_or_unknown(target));
        let of_text = matches!(overload.params.first(), Some(Type::String | Type::Bytes));
        match (function.name, target, sizes.as_slice()) {
            (operators::AND | operators::OR, _, _) => {
                Estimate::cost(Range { min: costs[0].min, max: costs[0].plus(costs[1]).max })
            }
            (operators::CONDITIONAL, _, [_, yes, no]) => {
                if let (Some(one), Some(other)) = (self.entries(&call.args[1]), self.entries(&call.args[2])) {
                    self.entries.insert(expr.id, one.or(other));
                }
                Estimate::sized(costs[0].plus(costs[1].or(costs[2])), yes.or(*no))
            }
            (operators::ADD, _, [one, other]) if of_text || matches!(overload.params[0], Type::List(_)) => {
                let size = one.plus(*other);
                if let (Some(one), Some(other)) = (self.entries(&call.args[0]), self.entries(&call.args[1])) {
                    self.entries.insert(expr.id, one.or(other));
                }
                let own = if of_text { size.by(TRAVERSAL) } else { ONE };
                Estimate::sized(own.plus(args), size)
            }
            (operators::EQUALS | "_!=_", _, [one, other]) => Estimate::cost(least(*one, *other).plus(args)),
            ("_<_" | "_<=_" | "_>_" | "_>=_", _, [one, other]) if of_text => {
                Estimate::cost(least(*one, *other).plus(args))
            }
            ("@in", _, [_, list]) if matches!(overload.params[1], Type::List(_)) => Estimate::cost(list.plus(args)),
            ("format", Some(target), _) => Estimate::cost(target.by(TRAVERSAL).plus(args)),
            ("bytes", _, [size]) if matches!(overload.params[0], Type::String) => {
                Estimate::sized(size.by(TRAVERSAL).plus(args), Range { min: size.min, max: size.max.saturating_mul(4) })
            }
            ("string", _, [size]) if matches!(overload.params[0], Type::Bytes) => {
                Estimate::sized(size.by(TRAVERSAL).plus(args), Range { min: size.min / 4, max: size.max })
            }
            ("strings.quote", _, [size]) => Estimate::sized(
                size.by(TRAVERSAL).plus(args),
                size.times(Range { min: 1, max: 2 }).plus(Range::fixed(2)),
            ),
            ("startsWith" | "endsWith", _, [size]) => Estimate::cost(size.by(TRAVERSAL).plus(args)),
            ("matches", Some(target), [pattern]) => {
                let text = target.plus(ONE).by(TRAVERSAL);
                Estimate::cost(text.times(pattern.by(PATTERN)).plus(args))
            }
            ("contains", Some(target), [part]) => {
                Estimate::cost(target.by(TRAVERSAL).times(part.by(TRAVERSAL)).plus(args))
            }
            _ => Estimate::cost(ONE.plus(args)),
        }
    }

    /// What Kubernetes counts for its libraries and for extensions, besides the operands.
    fn of_library(&mut self, name: &str, overload: &Overload, call: &Call) -> Option<Estimate> {
        let target = call.target.as_deref();
        let sizes: Vec<Range> = call.args.iter().map(|arg| self.size_or_unknown(arg)).collect();
        let own = target.map(|target| self.size_or_unknown(target));
        let list = |size: Range, factor: f64| Estimate::sized(size.by(factor).plus(ONE).plus(Range::fixed(LIST)), size);
        let whole = |arg: Option<&Expr>, otherwise: u64| match arg.map(|arg| &arg.kind) {
            Some(Kind::Literal(Value::Int(number))) => u64::try_from(*number).unwrap_or(0),
            _ => otherwise,
        };
        #[allow(clippy::cast_precision_loss, reason = "a factor")]
        Some(match (name, own, sizes.as_slice()) {
            ("check", ..) => Estimate::cost(Range::fixed(CHECK)),
            ("slice", Some(own), [_, _]) => {
                let (start, end) = (whole(call.args.first(), 0), whole(call.args.get(1), own.max));
                list(Range::fixed(end.saturating_sub(start)), 1.0)
            }
            ("lists.range", ..) => list(Range::fixed(whole(call.args.first(), u64::MAX)), 1.0),
            ("reverse", Some(own), []) => list(own, 1.0),
            ("flatten", Some(own), _) => {
                let depth = if call.args.is_empty() { 1 } else { whole(call.args.first(), u64::MAX) };
                list(own, depth as f64)
            }
            ("distinct", Some(own), []) => list(own.times(own), 2.0),
            ("sort", Some(own), []) => list(own.times(own), sort_factor(&overload.params[0])),
            ("@sortByAssociatedKeys", _, [keys]) => list(keys.times(*keys), sort_factor(&overload.params[1])),
            ("sets.contains" | "sets.intersects", _, [one, other]) => Estimate::cost(one.times(*other).plus(ONE)),
            ("sets.equivalent", _, [one, other]) => Estimate::cost(one.times(*other).by(2.0).plus(ONE)),
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(own), _) => {
                match target.and_then(|target| self.element(target)) {
                    Some(each) => Estimate::cost(own.times(each)),
                    None => Estimate::cost(own.by(TRAVERSAL)),
                }
            }
            ("url" | "semver" | "isSemver", _, [size, ..]) => Estimate::cost(size.by(TRAVERSAL)),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(own), _) => {
                Estimate::sized(own.by(TRAVERSAL), own)
            }
            ("replace", Some(own), [from, to, ..]) => {
                Estimate::sized(own.by(2.0 * TRAVERSAL), replaced(own, *from, *to))
            }
            ("split", Some(own), _) => {
                let most = whole(call.args.get(1), own.max);
                Estimate::sized(own.by(2.0 * TRAVERSAL), Range::up_to(most))
            }
            ("join", Some(own), separators) => {
                let target = target?;
                let elements = own.times(self.element_size(target));
                let between = Range { min: own.min.saturating_sub(1), max: own.max.saturating_sub(1) };
                let size = separators.iter().fold(elements, |size, separator| size.plus(separator.times(between)));
                Estimate::sized(size.by(TRAVERSAL), size)
            }
            ("find" | "findAll", Some(own), [pattern, ..]) => {
                let text = own.plus(ONE).by(TRAVERSAL);
                Estimate::sized(text.times(pattern.by(PATTERN)), Range::up_to(own.max))
            }
            ("validate", _, [size]) => {
                // The longest pattern of a format: it is not known which one it will be.
                let text = size.plus(ONE).by(TRAVERSAL);
                Estimate::cost(text.times(Range::fixed(4156).by(PATTERN)))
            }
            ("containsIP" | "containsCIDR", Some(_), [size]) => {
                let address = Range { min: 4, max: 16 };
                let mut cost = address.plus(address).by(TRAVERSAL);
                if name == "containsCIDR" {
                    cost = cost.plus(address.by(TRAVERSAL)).plus(ONE);
                }
                if matches!(overload.params.get(1), Some(Type::String)) {
                    cost = cost.plus(size.by(TRAVERSAL));
                }
                Estimate::cost(cost)
            }
            _ => return None,
        })
    }
}

/// Two values are compared up to the end of the shorter one.
fn least(one: Range, other: Range) -> Range {
    let max = one.max.min(other.max);
    Range { min: u64::from(max > 0), max }.by(TRAVERSAL)
}

fn sort_factor(list: &Type) -> f64 {
    match list {
        Type::List(of) if matches!(**of, Type::String | Type::Bytes) => 2.0 + TRAVERSAL,
        _ => 2.0,
    }
}

/// How long a text gets in which something is replaced.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let (mut count, mut kept) = (NOTHING, NOTHING);
    if from.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = text.max.div_ceil(from.min);
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = text.min.div_ceil(from.max);
    }
    count.times(to).plus(kept)
}

fn is_scalar(kind: &Type) -> bool {
    match kind {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        other => other.optional_of().is_some_and(is_scalar),
    }
}

/// What a call has cost that ran.
pub(crate) fn actual(name: &str, args: &[Value], result: &Value) -> u64 {
    let size = |index: usize| args.get(index).map_or(0, Value::size);
    let is_text = matches!(args.first(), Some(Value::String(_) | Value::Bytes(_)));
    let list = |size: u64, factor: f64| scaled(size, factor).saturating_add(1 + LIST);
    let squared = |index: usize| {
        let of_texts = matches!(args.get(index), Some(Value::List(list)) if matches!(list.items.first(), Some(Value::String(_) | Value::Bytes(_))));
        list(size(index).saturating_mul(size(index)), if of_texts { 2.0 + TRAVERSAL } else { 2.0 })
    };
    match name {
        "check" => CHECK,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => traversal(&args[0]),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR" | "quantity"
        | "isQuantity" | "semver" | "isSemver" | "startsWith" | "endsWith" | "strings.quote" | "format" => {
            scaled(size(0), TRAVERSAL)
        }
        "ip" if is_text => scaled(size(0), TRAVERSAL),
        "bytes" | "string" if is_text => scaled(size(0), TRAVERSAL),
        "replace" | "split" | "ip.isCanonical" => scaled(size(0), 2.0 * TRAVERSAL),
        "join" => scaled(result.size(), 2.0 * TRAVERSAL),
        "find" | "findAll" | "matches" => {
            scaled(size(0).saturating_add(1), TRAVERSAL).saturating_mul(scaled(size(1), PATTERN))
        }
        "validate" => {
            let pattern = match args.first() {
                Some(Value::Opaque(opaque)) => match &**opaque {
                    crate::value::Opaque::Format(format) => format.pattern_size,
                    _ => 0,
                },
                _ => 0,
            };
            scaled(size(1).saturating_add(1), TRAVERSAL).saturating_mul(scaled(pattern, PATTERN))
        }
        "containsIP" | "containsCIDR" => {
            let mut cost = scaled(2 * size(0), TRAVERSAL);
            if name == "containsCIDR" {
                cost += scaled(size(0), TRAVERSAL) + 1;
            }
            if matches!(args.get(1), Some(Value::String(_))) {
                cost += scaled(size(1), TRAVERSAL);
            }
            cost
        }
        "contains" => scaled(size(0), TRAVERSAL).saturating_mul(scaled(size(1), TRAVERSAL)),
        "@in" => match args.get(1) {
            Some(Value::List(list)) => list.items.len() as u64,
            _ => 1,
        },
        "_==_" | "_!=_" => scaled(size(0).min(size(1)), TRAVERSAL),
        "_<_" | "_<=_" | "_>_" | "_>=_" if is_text => scaled(size(0).min(size(1)), TRAVERSAL),
        "_+_" if is_text => scaled(size(0).saturating_add(size(1)), TRAVERSAL),
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)).saturating_add(1),
        "sets.equivalent" => scaled(size(0).saturating_mul(size(1)), 2.0).saturating_add(1),
        "slice" | "lists.range" => list(result.size(), 1.0),
        "reverse" => list(result.size(), 1.0),
        "flatten" => list(size(0), 1.0),
        "distinct" | "sort" => squared(0),
        "@sortByAssociatedKeys" => squared(1),
        _ => 1,
    }
}

/// What looking at all of a value costs.
fn traversal(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64 / 10,
        Value::Bytes(bytes) => bytes.len() as u64 / 10,
        Value::List(list) => list.items.iter().map(traversal).sum(),
        Value::Map(map) => map.entries.iter().map(|(key, value)| traversal(&key.value()) + traversal(value)).sum(),
        _ => 1,
    }
}
