//! From text to tree: operators by how tightly they bind, macros written out as they are met.

use std::sync::Arc;

use crate::{
    ast::{Call, Entry, Expr, Field, Kind, operators},
    env::Macros,
    error::Problem,
    lexer::{self, Token, Word},
    macros,
    value::Value,
};

/// How deep a tree may be.
const DEPTH_MAX: usize = 250;
/// Characters of an expression.
const SIZE_MAX: usize = 100_000;
const PRIMARIES: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether a text is a name in CEL.
pub fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

/// Reads an expression; with how many nodes it has.
///
/// # Errors
/// What is wrong, where.
pub(crate) fn parse(text: &str, macros: Macros) -> Result<(Expr, u32), Vec<Problem>> {
    let size = text.chars().count();
    if size > SIZE_MAX {
        let why = format!("expression code point size exceeds limit: size: {size}, limit {SIZE_MAX}");
        return Err(vec![Problem::nowhere(why)]);
    }
    let (words, wrong) = lexer::read(text);
    let mut parser =
        Parser { text, words, at: 0, depth: 0, tree: Tree { next: 1 }, macros, problems: Vec::new(), stopped: false };
    parser.problems.extend(wrong.into_iter().map(|(at, why)| Problem::new(at, format!("Syntax error: {why}"))));
    let expr = parser.whole();
    if parser.problems.is_empty() {
        return Ok((expr, parser.tree.next));
    }
    parser.problems.sort_by_key(|problem| problem.at);
    Err(parser.problems)
}

/// Makes nodes.
pub(crate) struct Tree {
    next: u32,
}

impl Tree {
    pub(crate) fn node(&mut self, at: u32, kind: Kind) -> Expr {
        let id = self.next;
        self.next += 1;
        Expr { id, at, kind }
    }

    pub(crate) fn call(&mut self, at: u32, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        self.node(at, Kind::Call(Call { function: function.into(), target: target.map(Box::new), args, run: None }))
    }

    /// The same tree again, as nodes of its own.
    pub(crate) fn copy(&mut self, expr: &Expr) -> Expr {
        let kind = match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => expr.kind.clone(),
            Kind::Select { operand, field, test } => {
                Kind::Select { operand: Box::new(self.copy(operand)), field: field.clone(), test: *test }
            }
            Kind::Call(call) => Kind::Call(Call {
                function: call.function.clone(),
                target: call.target.as_ref().map(|target| Box::new(self.copy(target))),
                args: call.args.iter().map(|arg| self.copy(arg)).collect(),
                run: None,
            }),
            Kind::List(elements) => {
                Kind::List(elements.iter().map(|(e, optional)| (self.copy(e), *optional)).collect())
            }
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|entry| Entry {
                        key: self.copy(&entry.key),
                        value: self.copy(&entry.value),
                        optional: entry.optional,
                    })
                    .collect(),
            ),
            Kind::Struct { name, fields } => Kind::Struct {
                name: name.clone(),
                fields: fields.iter().map(|field| Field { value: self.copy(&field.value), ..field.clone() }).collect(),
            },
            Kind::Fold(fold) => {
                let mut copy = fold.clone();
                for part in [&mut copy.range, &mut copy.init, &mut copy.condition, &mut copy.step, &mut copy.result] {
                    *part = self.copy(part);
                }
                Kind::Fold(copy)
            }
        };
        self.node(expr.at, kind)
    }
}

struct Parser<'a> {
    text: &'a str,
    words: Vec<Word<'a>>,
    at: usize,
    depth: usize,
    tree: Tree,
    macros: Macros,
    problems: Vec<Problem>,
    /// Whether the text made no sense: what follows would be noise.
    stopped: bool,
}

impl<'a> Parser<'a> {
    fn word(&self) -> Option<&Word<'a>> {
        self.words.get(self.at)
    }

    fn is(&self, ahead: usize, symbol: &str) -> bool {
        self.words.get(self.at + ahead).is_some_and(|word| word.token == Token::Symbol && word.text == symbol)
    }

    fn is_name(&self, ahead: usize) -> bool {
        self.words.get(self.at + ahead).is_some_and(|word| word.token == Token::Name)
    }

    fn place(&self) -> u32 {
        let at = self.word().map_or(self.text.len(), |word| word.at);
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = !self.stopped && self.is(0, symbol);
        self.at += usize::from(found);
        found
    }

    fn nothing(&mut self) -> Expr {
        let at = self.place();
        self.tree.node(at, Kind::Literal(Value::Null))
    }

    fn complain(&mut self, at: u32, why: impl Into<String>) -> Expr {
        self.problems.push(Problem::new(at as usize, why.into()));
        self.tree.node(at, Kind::Literal(Value::Null))
    }

    /// A syntax error; the rest is not read.
    fn stop(&mut self, why: &str) -> Expr {
        let at = self.place();
        if !self.stopped {
            self.stopped = true;
            self.complain(at, format!("Syntax error: {why}"));
        }
        self.at = self.words.len();
        self.nothing()
    }

    fn found(&self) -> String {
        self.word().map_or("<EOF>", |word| word.text).to_owned()
    }

    fn need(&mut self, symbol: &str) {
        if self.stopped || self.take(symbol) {
            return;
        }
        let found = self.found();
        let can_follow = self.word().is_none()
            || [")", "]", "}", ",", ":", "?", "."].iter().any(|symbol| self.is(0, symbol))
            || self.word().is_some_and(|word| word.token == Token::Symbol && operators::binary(word.text).is_some());
        if self.is(1, symbol) {
            self.stop(&format!("extraneous input '{found}' expecting '{symbol}'"));
        } else if can_follow {
            self.stop(&format!("missing '{symbol}' at '{found}'"));
        } else {
            self.stop(&format!("mismatched input '{found}' expecting '{symbol}'"));
        }
    }

    fn whole(&mut self) -> Expr {
        let expr = self.expression();
        if !self.stopped && self.at < self.words.len() {
            let how = if self.at + 1 == self.words.len() { "extraneous" } else { "mismatched" };
            let found = self.found();
            self.stop(&format!("{how} input '{found}' expecting <EOF>"));
        }
        expr
    }

    /// Does something one level deeper, if there may be one.
    fn deeper(&mut self, levels: usize, read: impl FnOnce(&mut Self) -> Expr) -> Expr {
        if self.depth + levels > DEPTH_MAX {
            if !self.stopped {
                self.stopped = true;
                self.problems.push(Problem::nowhere(format!("expression recursion limit exceeded: {DEPTH_MAX}")));
            }
            self.at = self.words.len();
            return self.nothing();
        }
        self.depth += levels;
        let expr = read(self);
        self.depth -= levels;
        expr
    }

    fn expression(&mut self) -> Expr {
        self.deeper(1, |parser| {
            let condition = parser.binary(1);
            let at = parser.place();
            if !parser.take("?") {
                return condition;
            }
            let yes = parser.binary(1);
            parser.need(":");
            let no = parser.expression();
            parser.tree.call(at, operators::CONDITIONAL, None, vec![condition, yes, no])
        })
    }

    /// Operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Expr {
        let mut left = self.unary();
        let mut long = 0;
        loop {
            let symbol = self.word().filter(|word| !self.stopped && word.token == Token::Symbol).map(|word| word.text);
            let Some((function, level)) = symbol.and_then(operators::binary).filter(|(_, level)| *level >= least)
            else {
                return left;
            };
            let at = self.place();
            if level <= 2 {
                left = self.logic(left, function, level);
                continue;
            }
            self.at += 1;
            let right = self.binary(level + 1);
            long += 1;
            if self.depth + long > DEPTH_MAX {
                return self.deeper(long, |_| left);
            }
            left = self.tree.call(at, function, None, vec![left, right]);
        }
    }

    /// A row of the same logical operator, as a tree that is no deeper than it must be.
    fn logic(&mut self, first: Expr, function: &str, level: u8) -> Expr {
        let symbol = if level == 1 { "||" } else { "&&" };
        let (mut terms, mut places) = (vec![first], Vec::new());
        loop {
            let at = self.place();
            if !self.take(symbol) {
                break;
            }
            places.push(at);
            let term = self.binary(level + 1);
            terms.push(term);
        }
        let mut terms: Vec<Option<Expr>> = terms.into_iter().map(Some).collect();
        self.balance(&mut terms, &places, function)
    }

    fn balance(&mut self, terms: &mut [Option<Expr>], places: &[u32], function: &str) -> Expr {
        if let [term] = terms {
            return term.take().unwrap_or_else(|| self.nothing());
        }
        let middle = places.len() / 2;
        let (left, right) = terms.split_at_mut(middle + 1);
        let left = self.balance(left, &places[..middle], function);
        let right = self.balance(right, &places[middle + 1..], function);
        self.tree.call(places[middle], function, None, vec![left, right])
    }

    fn unary(&mut self) -> Expr {
        let at = self.place();
        for (symbol, function) in [("!", operators::NOT), ("-", operators::NEGATE)] {
            // A minus before a number is the number's.
            let is_sign = symbol == "-"
                && self.words.get(self.at + 1).is_some_and(|word| matches!(word.token, Token::Int | Token::Double));
            if is_sign || !self.take(symbol) {
                continue;
            }
            let mut times = 1;
            while self.take(symbol) {
                times += 1;
            }
            let operand = self.member();
            return if times % 2 == 0 { operand } else { self.tree.call(at, function, None, vec![operand]) };
        }
        self.member()
    }

    fn member(&mut self) -> Expr {
        let mut expr = self.primary();
        let mut long = 0;
        loop {
            let at = self.place();
            if self.take(".") {
                let optional = self.take("?");
                let Some(word) = self.word().filter(|word| matches!(word.token, Token::Name | Token::Quoted)).cloned()
                else {
                    let shown = self.word().map_or("", |word| word.text).to_owned();
                    return self.stop(&format!("no viable alternative at input '.{shown}'"));
                };
                let place = self.place();
                self.at += 1;
                if word.token == Token::Quoted {
                    expr = self.complain(place, "unsupported syntax: '`'");
                } else if optional {
                    let field = self.tree.node(place, Kind::Literal(Value::string(word.text)));
                    expr = self.tree.call(at, operators::OPTIONAL_SELECT, None, vec![expr, field]);
                } else if self.is(0, "(") {
                    let open = self.place();
                    self.at += 1;
                    let args = self.arguments();
                    expr = self.call(open, word.text, Some(expr), args);
                } else {
                    let field = word.text.into();
                    expr = self.tree.node(at, Kind::Select { operand: Box::new(expr), field, test: false });
                }
            } else if self.take("[") {
                let optional = self.take("?");
                let index = self.expression();
                self.need("]");
                let function = if optional { operators::OPTIONAL_INDEX } else { operators::INDEX };
                expr = self.tree.call(at, function, None, vec![expr, index]);
            } else {
                return expr;
            }
            long += 1;
            if self.depth + long > DEPTH_MAX {
                return self.deeper(long, |_| expr);
            }
        }
    }

    fn call(&mut self, at: u32, name: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        match macros::expand(&mut self.tree, self.macros, at, name, target, args) {
            macros::Expansion::Done(expr) => expr,
            macros::Expansion::None(target, args) => self.tree.call(at, name, target, args),
            macros::Expansion::Wrong(at, why) => self.complain(at, why),
        }
    }

    /// Up to the closing bracket.
    fn arguments(&mut self) -> Vec<Expr> {
        let mut args = Vec::new();
        if self.take(")") {
            return args;
        }
        loop {
            args.push(self.expression());
            if !self.take(",") {
                self.need(")");
                return args;
            }
        }
    }

    fn primary(&mut self) -> Expr {
        let at = self.place();
        if self.take("(") {
            let expr = self.expression();
            self.need(")");
            return expr;
        }
        if self.take("[") {
            return self.list(at);
        }
        if self.take("{") {
            return self.map(at);
        }
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
            if self.take(word) {
                return self.tree.node(at, Kind::Literal(value));
            }
        }
        if self.is(0, "-")
            || self.word().is_some_and(|word| !matches!(word.token, Token::Symbol | Token::Name | Token::Quoted))
        {
            return self.literal(at);
        }
        let dot = self.is(0, ".") && self.is_name(1);
        self.at += usize::from(dot);
        if self.is_name(0) && !self.stopped {
            return self.name(if dot { "." } else { "" });
        }
        if self.stopped {
            return self.nothing();
        }
        let found = self.found();
        let starts = |word: &Word<'_>| match word.token {
            Token::Symbol => ["[", "{", "(", ".", "-", "!", "true", "false", "null"].contains(&word.text),
            Token::Quoted => false,
            _ => true,
        };
        let how = if self.words.get(self.at + 1).is_some_and(starts) { "extraneous" } else { "mismatched" };
        self.stop(&format!("{how} input '{found}' expecting {PRIMARIES}"))
    }

    fn literal(&mut self, at: u32) -> Expr {
        let negative = self.take("-");
        let Some(word) = self.word().cloned() else { return self.nothing() };
        self.at += 1;
        let text = word.text;
        let sign = if negative { "-" } else { "" };
        let radix = |digits: &'a str| match digits.strip_prefix("0x") {
            Some(hex) => (hex, 16),
            None => (digits, 10),
        };
        let value = match word.token {
            Token::Int => {
                let (digits, radix) = radix(text);
                i64::from_str_radix(&format!("{sign}{digits}"), radix)
                    .map(Value::Int)
                    .map_err(|_| "invalid int literal".into())
            }
            Token::Uint => {
                let (digits, radix) = radix(&text[..text.len() - 1]);
                u64::from_str_radix(digits, radix).map(Value::Uint).map_err(|_| "invalid uint literal".into())
            }
            Token::Double => match format!("{sign}{text}").parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Double(number)),
                _ => Err("invalid double literal".into()),
            },
            Token::Bytes => lexer::unquote(text, true).map(|bytes| Value::Bytes(bytes.into())),
            _ => lexer::unquote(text, false).map(|bytes| Value::string(&String::from_utf8_lossy(&bytes))),
        };
        match value {
            Ok(value) => self.tree.node(at, Kind::Literal(value)),
            Err(why) => self.complain(at, why),
        }
    }

    fn list(&mut self, at: u32) -> Expr {
        let mut elements = Vec::new();
        while !self.stopped && !self.take("]") {
            let optional = self.take("?");
            elements.push((self.expression(), optional));
            if !self.take(",") {
                self.need("]");
                break;
            }
        }
        self.tree.node(at, Kind::List(elements))
    }

    fn map(&mut self, at: u32) -> Expr {
        let mut entries = Vec::new();
        while !self.stopped && !self.take("}") {
            let optional = self.take("?");
            let key = self.expression();
            self.need(":");
            let value = self.expression();
            entries.push(Entry { key, value, optional });
            if !self.take(",") {
                self.need("}");
                break;
            }
        }
        self.tree.node(at, Kind::Map(entries))
    }

    /// A name, a call, or a message: `a.b{` is one of type `a.b`.
    fn name(&mut self, dot: &str) -> Expr {
        let at = self.place();
        let name = self.found();
        let mut end = 1;
        while self.is(end, ".") && self.is_name(end + 1) {
            end += 2;
        }
        if self.is(end, "{") {
            let names: Vec<&str> = self.words[self.at..self.at + end].iter().map(|word| word.text).collect();
            let whole = format!("{dot}{}", names.concat());
            self.at += end;
            let open = self.place();
            self.at += 1;
            let fields = self.fields();
            return self.tree.node(open, Kind::Struct { name: whole.into(), fields });
        }
        self.at += 1;
        if RESERVED.contains(&name.as_str()) {
            if self.is(0, "(") {
                self.at += 1;
                self.arguments();
            }
            return self.complain(at, format!("reserved identifier: {name}"));
        }
        let full: Arc<str> = format!("{dot}{name}").into();
        if self.is(0, "(") {
            let open = self.place();
            self.at += 1;
            let args = self.arguments();
            return self.call(open, &full, None, args);
        }
        self.tree.node(at, Kind::Ident(full))
    }

    fn fields(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        while !self.stopped && !self.take("}") {
            let optional = self.take("?");
            let Some(word) = self.word().filter(|word| word.token == Token::Name).cloned() else {
                let found = self.found();
                self.stop(&format!("mismatched input '{found}' expecting IDENTIFIER"));
                break;
            };
            self.at += 1;
            let at = self.place();
            self.need(":");
            let value = self.expression();
            fields.push(Field { at, name: word.text.into(), value, optional });
            if !self.take(",") {
                self.need("}");
                break;
            }
        }
        fields
    }
}
