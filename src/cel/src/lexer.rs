//! Words of CEL.

/// A word and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Word<'a> {
    pub(crate) token: Token,
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Name,
    /// A name in backticks.
    Quoted,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    /// `true`, `false`, `null`, an operator or a bracket.
    Symbol,
}

const SYMBOLS: &[&str] = &[
    "&&", "||", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// The words of a text; where there are none, what was met instead.
pub(crate) fn read(text: &str) -> (Vec<Word<'_>>, Vec<(usize, String)>) {
    let (mut words, mut wrong) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if matches!(first, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            match next(rest) {
                Ok((token, length)) => {
                    words.push(Word { token, text: &rest[..length], at });
                    at += length;
                }
                // What did not fit is lost together with what came before it.
                Err(good) => {
                    let length = good + rest[good..].chars().next().map_or(0, char::len_utf8);
                    wrong.push((at, format!("token recognition error at: '{}'", escape(&rest[..length]))));
                    at += length;
                }
            }
        }
    }
    (words, wrong)
}

/// As messages show what is no word.
fn escape(text: &str) -> String {
    text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")
}

/// The next word and its length; or how much would have fitted.
fn next(rest: &str) -> Result<(Token, usize), usize> {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let first = rest.chars().next().unwrap_or_default();
    if matches!(first, 'r' | 'R' | 'b' | 'B' | '\'' | '"')
        && let Some(found) = string(rest)
    {
        return found;
    }
    if first.is_ascii_digit() || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(number(rest));
    }
    if is_word(first) {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let token = match &rest[..length] {
            "true" | "false" | "null" | "in" => Token::Symbol,
            _ => Token::Name,
        };
        return Ok((token, length));
    }
    if first == '`' {
        let fits = |c: char| is_word(c) || matches!(c, '.' | '-' | '/' | ' ');
        let end = 1 + rest[1..].find(|c| !fits(c)).unwrap_or(rest.len() - 1);
        return if end > 1 && rest[end..].starts_with('`') { Ok((Token::Quoted, end + 1)) } else { Err(end) };
    }
    match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        Some(symbol) => Ok((Token::Symbol, symbol.len())),
        None => Err(usize::from(matches!(first, '&' | '|' | '='))),
    }
}

/// A text in quotes, raw or not, on one line or many, of characters or bytes; `None` when it is none, but a name.
fn string(rest: &str) -> Option<Result<(Token, usize), usize>> {
    let prefix = rest.find(|c: char| !matches!(c, 'r' | 'R' | 'b' | 'B'))?;
    let letters = rest[..prefix].to_ascii_lowercase();
    let (bytes, raw) = match letters.as_str() {
        "" => (false, false),
        "r" => (false, true),
        "b" => (true, false),
        "br" | "rb" => (true, true),
        _ => return None,
    };
    let quoted = &rest[prefix..];
    if !quoted.starts_with(['\'', '"']) {
        return None;
    }
    let token = if bytes { Token::Bytes } else { Token::String };
    let one = &quoted[..1];
    let three = [one; 3].concat();
    if quoted.starts_with(&three)
        && let Ok(length) = body(&quoted[3..], &three, raw, true)
    {
        return Some(Ok((token, prefix + 3 + length)));
    }
    match body(&quoted[1..], one, raw, false) {
        Ok(length) => Some(Ok((token, prefix + 1 + length))),
        // The letters before it are a name of their own.
        Err(_) if prefix > 0 => None,
        Err(good) => Some(Err(1 + good)),
    }
}

/// The length of a quoted text and its closing quote; or how much would have fitted.
fn body(text: &str, quote: &str, raw: bool, lines: bool) -> Result<usize, usize> {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(quote) {
            return Ok(at + quote.len());
        }
        if !lines && matches!(c, '\n' | '\r') {
            return Err(at);
        }
        at += match c {
            '\\' if !raw => 1 + escape_length(&text[at + 1..]).map_err(|good| at + 1 + good)?,
            c => c.len_utf8(),
        };
    }
    Err(at)
}

/// The length of what follows a backslash.
fn escape_length(text: &str) -> Result<usize, usize> {
    let digits = |skip: usize, count: usize, fits: fn(&u8) -> bool| {
        let found = text.as_bytes().iter().skip(skip).take(count).take_while(|byte| fits(byte)).count();
        if found == count { Ok(skip + count) } else { Err(skip + found) }
    };
    match text.bytes().next() {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => Ok(1),
        Some(b'x' | b'X') => digits(1, 2, u8::is_ascii_hexdigit),
        Some(b'u') => digits(1, 4, u8::is_ascii_hexdigit),
        Some(b'U') => digits(1, 8, u8::is_ascii_hexdigit),
        Some(b'0'..=b'3') => digits(1, 2, |byte| matches!(byte, b'0'..=b'7')),
        _ => Err(0),
    }
}

fn number(rest: &str) -> (Token, usize) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = |length: usize| match rest[length..].starts_with(['u', 'U']) {
        true => (Token::Uint, length + 1),
        false => (Token::Int, length),
    };
    if let Some(hex) = rest.strip_prefix("0x").filter(|hex| hex.starts_with(|c: char| c.is_ascii_hexdigit())) {
        return unsigned(2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count());
    }
    let mut length = digits(rest);
    let mut is_double = false;
    if rest[length..].starts_with('.') && digits(&rest[length + 1..]) > 0 {
        length += 1 + digits(&rest[length + 1..]);
        is_double = true;
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        let exponent = digits(&rest[length + 1 + sign..]);
        if exponent > 0 {
            length += 1 + sign + exponent;
            is_double = true;
        }
    }
    if is_double { (Token::Double, length) } else { unsigned(length) }
}

/// What a string literal means; `is_bytes` when its escapes are bytes.
///
/// # Errors
/// When an escape is no character.
pub(crate) fn unquote(text: &str, is_bytes: bool) -> Result<Vec<u8>, String> {
    let start = text.find(['\'', '"']).unwrap_or_default();
    let raw = text[..start].contains(['r', 'R']);
    let quoted = &text[start..];
    let three = quoted.len() >= 6 && quoted.starts_with(&[&quoted[..1]; 3].concat());
    let width = if three { 3 } else { 1 };
    let inner = &quoted[width..quoted.len() - width];
    // Lines end alike in multi-line texts.
    let inner = inner.replace("\r\n", "\n").replace('\r', "\n");
    if raw {
        return Ok(inner.into_bytes());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.as_str();
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escaped = &rest[at + 1..];
        let length = escape_length(escaped).map_err(|_| "unable to unescape string".to_owned())?;
        let code = |digits: &str, radix| u32::from_str_radix(digits, radix).unwrap_or_default();
        let (code, is_byte) = match escaped.as_bytes()[0] {
            b'a' => (7, false),
            b'b' => (8, false),
            b'f' => (12, false),
            b'n' => (10, false),
            b'r' => (13, false),
            b't' => (9, false),
            b'v' => (11, false),
            b'x' | b'X' => (code(&escaped[1..length], 16), is_bytes),
            b'u' | b'U' if is_bytes => return Err("unable to unescape string".into()),
            b'u' | b'U' => (code(&escaped[1..length], 16), false),
            b'0'..=b'3' => (code(&escaped[..length], 8), is_bytes),
            other => (u32::from(other), false),
        };
        if is_byte {
            out.push(u8::try_from(code).unwrap_or_default());
        } else {
            let c = char::from_u32(code).ok_or_else(|| "invalid unicode code point".to_owned())?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = &escaped[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}
