//! Words of CEL.

/// A word and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Word<'a> {
    pub(super) token: Token<'a>,
    pub(super) text: &'a str,
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name.
    Name(&'a str),
    /// A value of the type named.
    Literal(&'static str),
    /// An operator or bracket.
    Symbol(&'static str),
    /// What is none of these.
    Bad(&'a str),
    /// There is no more.
    End,
}

const SYMBOLS: &[&str] = &[
    "&&", "||", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// The words of a text; what follows the first that is none is left out.
pub(super) fn read(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(space) = rest.chars().next().filter(|c| c.is_whitespace()) {
            at += space.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, length) = next(rest);
        let bad = matches!(token, Token::Bad(_));
        words.push(Word { token, text: &rest[..length], at });
        if bad {
            break;
        }
        at += length;
    }
    words
}

fn next(rest: &str) -> (Token<'_>, usize) {
    if let Some(found) = string(rest) {
        return found;
    }
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let first = rest.chars().next().unwrap_or_default();
    if first.is_ascii_digit() {
        return number(rest);
    }
    if word(first) {
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let token = match &rest[..length] {
            "true" | "false" => Token::Literal("bool"),
            "null" => Token::Literal("null_type"),
            "in" => Token::Symbol("in"),
            name => Token::Name(name),
        };
        return (token, length);
    }
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return (Token::Symbol(symbol), symbol.len());
    }
    let length = first.len_utf8();
    (Token::Bad(&rest[..length]), length)
}

/// A text in quotes, raw or not, on one line or many, of characters or bytes.
fn string(rest: &str) -> Option<(Token<'_>, usize)> {
    let prefix = rest.find(|c: char| !matches!(c, 'r' | 'R' | 'b' | 'B'))?;
    let (letters, quoted) = rest.split_at(prefix);
    let raw = letters.contains(['r', 'R']);
    let kind = if letters.contains(['b', 'B']) { "bytes" } else { "string" };
    let quote = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quote| quoted.starts_with(quote))?;
    if prefix > 2 {
        return None;
    }
    let body = &quoted[quote.len()..];
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        if body[at..].starts_with(quote) {
            return Some((Token::Literal(kind), prefix + quote.len() + at + quote.len()));
        }
        if c == '\n' && quote.len() == 1 {
            break;
        }
        if c == '\\' && !raw {
            chars.next();
        }
    }
    Some((Token::Bad(rest), rest.len()))
}

fn number(rest: &str) -> (Token<'_>, usize) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    if let Some(hex) = rest.strip_prefix("0x").filter(|hex| hex.starts_with(|c: char| c.is_ascii_hexdigit())) {
        let length = 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        return unsigned(rest, length);
    }
    let mut length = digits(rest);
    let mut float = false;
    if rest[length..].starts_with('.') && digits(&rest[length + 1..]) > 0 {
        length += 1 + digits(&rest[length + 1..]);
        float = true;
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        let exponent = digits(&rest[length + 1 + sign..]);
        if exponent > 0 {
            length += 1 + sign + exponent;
            float = true;
        }
    }
    if float { (Token::Literal("double"), length) } else { unsigned(rest, length) }
}

fn unsigned(rest: &str, length: usize) -> (Token<'_>, usize) {
    if rest[length..].starts_with(['u', 'U']) {
        (Token::Literal("uint"), length + 1)
    } else {
        (Token::Literal("int"), length)
    }
}
