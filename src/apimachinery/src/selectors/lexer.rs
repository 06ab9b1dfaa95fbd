//! The words of a label selector's text.

/// One word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    CloseParenthesis,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    GreaterThan,
    Identifier,
    In,
    LessThan,
    NotEquals,
    NotIn,
    OpenParenthesis,
}

/// Cuts a text into words.
pub(super) fn scan(text: &str) -> Vec<(Token, String)> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        // A zero byte ends the text, as in Go.
        let Some(first) = rest.chars().next().filter(|c| *c != '\0') else {
            words.push((Token::End, String::new()));
            return words;
        };
        let (word, length) = if is_special(first) { symbol(rest) } else { identifier(rest) };
        words.push(word);
        rest = &rest[length..];
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn identifier(text: &str) -> ((Token, String), usize) {
    let ends = |c: char| is_special(c) || matches!(c, ' ' | '\t' | '\r' | '\n' | '\0');
    let length = text.find(ends).unwrap_or(text.len());
    let word = &text[..length];
    let token = match word {
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Identifier,
    };
    ((token, word.to_owned()), length)
}

fn known(symbol: &str) -> Option<Token> {
    Some(match symbol {
        ")" => Token::CloseParenthesis,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::GreaterThan,
        "<" => Token::LessThan,
        "!=" => Token::NotEquals,
        "(" => Token::OpenParenthesis,
        _ => return None,
    })
}

/// The longest symbol that the text begins with.
fn symbol(text: &str) -> ((Token, String), usize) {
    let mut found: Option<(Token, usize)> = None;
    let mut length = 0;
    for c in text.chars().take_while(|c| is_special(*c)) {
        length += c.len_utf8();
        match known(&text[..length]) {
            Some(token) => found = Some((token, length)),
            None if found.is_some() => break,
            None => {}
        }
    }
    match found {
        Some((token, length)) => ((token, text[..length].to_owned()), length),
        None => ((Token::Error, format!("error expected: keyword found '{}'", &text[..length])), length),
    }
}
