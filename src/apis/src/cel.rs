//! Expressions in CEL, as far as they can be refused before they are ever run: their syntax, the names they refer to, and what they come to
//! where that can be told. Running them is not done here.

use std::fmt::Write as _;

mod lexer;
use lexer::{Token, Word};

/// Levels of brackets and the like that an expression may have.
const DEPTH_MAX: usize = 250;
const PRIMARIES: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
/// Names of types and of families of functions.
const GLOBALS: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "google",
    "math",
    "strings",
    "lists",
    "sets",
    "base64",
    "cel",
    "optional",
    "net",
    "kubernetes",
    "Object",
    "JSONPatch",
    "jsonpatch",
    "optional_type",
];
/// Methods whose first argument is a name for the elements.
const MACROS: &[&str] = &[
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "filter",
    "map",
    "bind",
    "transformList",
    "transformMap",
    "transformMapEntry",
    "optMap",
    "optFlatMap",
    "sortBy",
];

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// One of CEL's own, by name.
    Known(&'static str),
    /// A message, by name.
    Message(String),
    /// Anything: it is only known when it runs.
    Dyn,
    /// It cannot be told here.
    Unknown,
}

impl Type {
    /// The type's name, where it can be told.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Known(name) => Some(name),
            Self::Message(name) => Some(name),
            Self::Dyn => Some("dyn"),
            Self::Unknown => None,
        }
    }
}

/// Reads an expression that may refer to `names`.
///
/// # Errors
/// In the words of kube-apiserver.
pub(crate) fn compile(text: &str, names: &[&str]) -> Result<Type, String> {
    let mut parser = Parser {
        text,
        words: lexer::read(text),
        at: 0,
        depth: 0,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        undeclared: Vec::new(),
    };
    let fail = |problems: &[(usize, String)]| {
        let mut said = String::from("compilation failed: ");
        for (index, (at, problem)) in problems.iter().enumerate() {
            if index > 0 {
                said.push('\n');
            }
            said.push_str(&place(text, *at, problem));
        }
        said
    };
    match parser.whole() {
        Err((at, problem)) => Err(fail(&[(at, format!("Syntax error: {problem}"))])),
        Ok(_) if !parser.undeclared.is_empty() => Err(fail(&parser.undeclared)),
        Ok(kind) => Ok(kind),
    }
}

/// An error with the line that it is in, and a mark below.
fn place(text: &str, at: usize, problem: &str) -> String {
    let before = text.get(..at).unwrap_or(text);
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |end| end + 1));
    let column = text.get(start..at).unwrap_or_default().chars().count();
    let mut said = String::new();
    if text.is_empty() {
        let _ = write!(said, "ERROR: <input>:1:0: {problem}");
        return said;
    }
    let shown = text[start..].lines().next().unwrap_or_default();
    let _ = write!(said, "ERROR: <input>:{line}:{}: {problem}\n | {shown}\n | {}^", column + 1, ".".repeat(column));
    said
}

struct Parser<'a> {
    text: &'a str,
    words: Vec<Word<'a>>,
    at: usize,
    depth: usize,
    names: Vec<String>,
    undeclared: Vec<(usize, String)>,
}

type Parsed<T> = Result<T, (usize, String)>;

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        self.words.get(self.at).map_or(&Token::End, |word| &word.token)
    }

    fn place(&self) -> usize {
        self.words.get(self.at).map_or(self.text.len(), |word| word.at)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    fn refuse<T>(&self, expected: &str) -> Parsed<T> {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Bad(text) => return Err((self.place(), format!("token recognition error at: '{text}'"))),
            _ => self.words.get(self.at).map(|word| word.text.to_owned()).unwrap_or_default(),
        };
        Err((self.place(), format!("mismatched input '{found}' expecting {expected}")))
    }

    fn need(&mut self, symbol: &str) -> Parsed<()> {
        if self.take(symbol) { Ok(()) } else { self.refuse(&format!("'{symbol}'")) }
    }

    fn whole(&mut self) -> Parsed<Type> {
        let kind = self.expression()?;
        if *self.peek() == Token::End { Ok(kind) } else { self.refuse("<EOF>") }
    }

    fn expression(&mut self) -> Parsed<Type> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err((self.place(), format!("expression recursion limit exceeded: {DEPTH_MAX}")));
        }
        let mut kind = self.binary(0)?;
        if self.take("?") {
            let yes = self.binary(0)?;
            self.need(":")?;
            let no = self.expression()?;
            kind = if yes == no { yes } else { Type::Unknown };
        }
        self.depth -= 1;
        Ok(kind)
    }

    fn binary(&mut self, level: usize) -> Parsed<Type> {
        const LEVELS: [&[&str]; 5] =
            [&["||"], &["&&"], &["<=", "<", ">=", ">", "==", "!=", "in"], &["+", "-"], &["*", "/", "%"]];
        let Some(symbols) = LEVELS.get(level) else { return self.unary() };
        let mut kind = self.binary(level + 1)?;
        while symbols.iter().any(|symbol| self.take(symbol)) {
            let other = self.binary(level + 1)?;
            kind = match level {
                0..=2 => Type::Known("bool"),
                _ if kind == other => kind,
                _ => Type::Unknown,
            };
        }
        Ok(kind)
    }

    fn unary(&mut self) -> Parsed<Type> {
        if self.take("!") {
            while self.take("!") {}
            self.member()?;
            return Ok(Type::Known("bool"));
        }
        while self.take("-") {}
        self.member()
    }

    fn member(&mut self) -> Parsed<Type> {
        let mut kind = self.primary()?;
        loop {
            if self.take(".") {
                let optional = self.take("?");
                let Token::Name(name) = *self.peek() else { return self.refuse("IDENTIFIER") };
                self.at += 1;
                if self.take("(") {
                    kind = self.call(name)?;
                } else if optional || !matches!(kind, Type::Dyn) {
                    kind = Type::Unknown;
                }
            } else if self.take("[") {
                let optional = self.take("?");
                self.expression()?;
                self.need("]")?;
                if optional || !matches!(kind, Type::Dyn) {
                    kind = Type::Unknown;
                }
            } else {
                return Ok(kind);
            }
        }
    }

    /// The arguments of a call, and what it gives.
    fn call(&mut self, name: &str) -> Parsed<Type> {
        let known = self.names.len();
        if MACROS.contains(&name) {
            while let (Token::Name(variable), Some(Token::Symbol(","))) =
                (self.peek().clone(), self.words.get(self.at + 1).map(|word| &word.token))
            {
                self.names.push(variable.to_owned());
                self.at += 2;
            }
        }
        self.list(")")?;
        self.names.truncate(known);
        Ok(match name {
            "startsWith" | "endsWith" | "contains" | "matches" | "all" | "exists" | "exists_one" | "existsOne"
            | "has" | "allowed" | "bool" | "isSorted" => Type::Known("bool"),
            "size" | "int" | "indexOf" | "lastIndexOf" => Type::Known("int"),
            "string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "substring" | "join" | "format" => {
                Type::Known("string")
            }
            "uint" => Type::Known("uint"),
            "double" => Type::Known("double"),
            "dyn" => Type::Dyn,
            _ => Type::Unknown,
        })
    }

    /// Expressions up to the closing bracket.
    fn list(&mut self, end: &str) -> Parsed<()> {
        while !self.take(end) {
            self.take("?");
            self.expression()?;
            if !self.take(",") {
                return self.need(end);
            }
        }
        Ok(())
    }

    fn primary(&mut self) -> Parsed<Type> {
        let start = self.place();
        if self.take("(") {
            let kind = self.expression()?;
            self.need(")")?;
            return Ok(kind);
        }
        if self.take("[") {
            self.list("]")?;
            return Ok(Type::Known("list"));
        }
        if self.take("{") {
            self.fields(false)?;
            return Ok(Type::Known("map"));
        }
        self.take(".");
        match self.peek().clone() {
            Token::Literal(kind) => {
                self.at += 1;
                Ok(Type::Known(kind))
            }
            Token::Name(name) => {
                self.at += 1;
                self.name(name, start)
            }
            _ => self.refuse(PRIMARIES),
        }
    }

    fn name(&mut self, name: &'a str, start: usize) -> Parsed<Type> {
        if self.take("(") {
            return self.call(name);
        }
        // `a.b{` is a message of type `a.b`.
        let mut end = self.at;
        let token = |at: usize| self.words.get(at).map(|word| &word.token);
        while let (Some(Token::Symbol(".")), Some(Token::Name(_))) = (token(end), token(end + 1)) {
            end += 2;
        }
        if token(end) == Some(&Token::Symbol("{")) {
            let whole = self.text.get(start..self.words[end].at).unwrap_or(name).trim().to_owned();
            self.at = end + 1;
            self.fields(true)?;
            return Ok(Type::Message(whole));
        }
        if self.names.iter().any(|known| known == name) {
            return Ok(match name {
                "object" | "oldObject" | "params" | "namespaceObject" => Type::Dyn,
                _ => Type::Unknown,
            });
        }
        if !GLOBALS.contains(&name) {
            self.undeclared.push((start, format!("undeclared reference to '{name}' (in container '')")));
        }
        Ok(Type::Unknown)
    }

    /// `key: value` up to the closing brace; keys of messages are names.
    fn fields(&mut self, named: bool) -> Parsed<()> {
        while !self.take("}") {
            self.take("?");
            if named {
                if !matches!(self.peek(), Token::Name(_)) {
                    return self.refuse("IDENTIFIER");
                }
                self.at += 1;
            } else {
                self.expression()?;
            }
            self.need(":")?;
            self.expression()?;
            if !self.take(",") {
                return self.need("}");
            }
        }
        Ok(())
    }
}

/// Whether a text is a name in CEL.
pub(crate) fn is_identifier(name: &str) -> bool {
    const RESERVED: &[&str] = &[
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(word)
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expressions_are_read_as_kubernetes_reads_them() {
        let names = ["object", "request", "variables"];
        let cases = [
            ("true", "bool"),
            ("object.x", "dyn"),
            ("\"s\"", "string"),
            ("object.spec.replicas <= 5 && !has(object.x)", "bool"),
            ("object.spec.containers.all(c, c.image.startsWith('a'))", "bool"),
            ("size(object.x) + 1", "int"),
            ("[1, 2u, 3.0, b'x']", "list"),
            ("{'a': object.b[0].?c}", "map"),
            ("Object{metadata: Object.metadata{labels: {\"a\": \"b\"}}}", "Object"),
            ("r\"\\d\" + '''a\nb'''", "string"),
        ];
        for (text, kind) in cases {
            assert_eq!(compile(text, &names).expect(text).name(), Some(kind), "of {text}");
        }
        assert_eq!(compile("variables.x ? 1 : 'a' // so", &names), Ok(Type::Unknown));
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        let cases = [
            ("x", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^".to_owned()),
            (
                "Bad Value!",
                "ERROR: <input>:1:5: Syntax error: mismatched input 'Value' expecting <EOF>\n | Bad Value!\n | ....^"
                    .into(),
            ),
            (
                "1 +",
                format!(
                    "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {PRIMARIES}\n | 1 +\n | ...^"
                ),
            ),
            ("", format!("ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {PRIMARIES}")),
        ];
        for (text, said) in cases {
            assert_eq!(compile(text, &[]), Err(format!("compilation failed: {said}")));
        }
        assert!(compile(&"(".repeat(10_000), &[]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_reader(text in "[a-z0-9 .,?:!(){}\\[\\]'\"<>=&|+é\n-]{0,60}") {
            let _ = compile(&text, &["a"]);
        }
    }
}
