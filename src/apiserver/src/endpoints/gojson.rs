//! The words with which Go's `encoding/json` refuses a text, since clients and people read them.

/// Why `text` is no JSON, or `None` when it is.
pub fn syntax_error(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    scanner.space();
    if let Err(error) = scanner.value() {
        return Some(error);
    }
    scanner.space();
    scanner.peek().map(|byte| invalid(byte, "after top-level value"))
}

/// Nesting beyond which a text is refused, as Go refuses it.
const DEPTH_MAX: usize = 10_000;

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

type Scanned = Result<(), String>;

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or_else(|| "unexpected end of JSON input".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Scans with a stack of its own, so that nesting costs no stack of the machine.
    fn value(&mut self) -> Scanned {
        let mut open: Vec<u8> = Vec::new();
        'value: loop {
            self.space();
            match self.next()? {
                b'{' => {
                    open.push(b'{');
                    self.deeper()?;
                    self.space();
                    match self.next()? {
                        b'}' => {
                            open.pop();
                            self.depth -= 1;
                        }
                        b'"' => {
                            self.string()?;
                            self.colon()?;
                            continue 'value;
                        }
                        byte => return Err(invalid(byte, "looking for beginning of object key string")),
                    }
                }
                b'[' => {
                    open.push(b'[');
                    self.deeper()?;
                    self.space();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        open.pop();
                        self.depth -= 1;
                    } else {
                        continue 'value;
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b'-' => {
                    let byte = self.next()?;
                    if !byte.is_ascii_digit() {
                        return Err(invalid(byte, "in numeric literal"));
                    }
                    self.number(byte)?;
                }
                byte if byte.is_ascii_digit() => self.number(byte)?,
                byte => return Err(invalid(byte, "looking for beginning of value")),
            }
            // A value has ended: close what closes, go on with what follows.
            loop {
                let Some(inside) = open.last() else { return Ok(()) };
                self.space();
                let byte = self.next()?;
                match (inside, byte) {
                    (b'{', b',') => {
                        self.space();
                        let byte = self.next()?;
                        if byte != b'"' {
                            return Err(invalid(byte, "looking for beginning of object key string"));
                        }
                        self.string()?;
                        self.colon()?;
                        continue 'value;
                    }
                    (b'[', b',') => continue 'value,
                    (b'{', b'}') | (b'[', b']') => {
                        open.pop();
                        self.depth -= 1;
                    }
                    (b'{', byte) => return Err(invalid(byte, "after object key:value pair")),
                    (_, byte) => return Err(invalid(byte, "after array element")),
                }
            }
        }
    }

    fn deeper(&mut self) -> Scanned {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err("exceeded max depth".into()) } else { Ok(()) }
    }

    fn colon(&mut self) -> Scanned {
        self.space();
        match self.next()? {
            b':' => Ok(()),
            byte => Err(invalid(byte, "after object key")),
        }
    }

    fn string(&mut self) -> Scanned {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(invalid(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    byte => return Err(invalid(byte, "in string escape code")),
                },
                byte if byte < 0x20 => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Scanned {
        for want in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != want {
                let place = format!("in literal {word} (expecting {})", quote(want));
                return Err(invalid(byte, &place));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Scanned {
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let byte = self.next()?;
            if !byte.is_ascii_digit() {
                return Err(invalid(byte, "after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let mut byte = self.next()?;
            if matches!(byte, b'+' | b'-') {
                byte = self.next()?;
            }
            if !byte.is_ascii_digit() {
                return Err(invalid(byte, "in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

fn invalid(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quote(byte))
}

/// A byte as Go quotes a character.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0x07 => r"'\a'".into(),
        0x08 => r"'\b'".into(),
        0x0b => r"'\v'".into(),
        0x0c => r"'\f'".into(),
        byte if byte < 0x20 || byte == 0x7f => format!("'\\x{byte:02x}'"),
        byte if (0x80..0xa0).contains(&byte) || byte == 0xad => format!("'\\u{byte:04x}'"),
        byte => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_go_words_them() {
        for (text, want) in [
            ("{\"broken", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("-x", "invalid character 'x' in numeric literal"),
        ] {
            assert_eq!(syntax_error(text.as_bytes()).as_deref(), Some(want), "{text}");
        }
        let garbage = [0x81, 0xaa];
        assert_eq!(
            syntax_error(&garbage).as_deref(),
            Some("invalid character '\\u0081' looking for beginning of value")
        );
    }

    #[test]
    fn what_is_json_is_let_through_and_endless_nesting_is_not() {
        for text in ["{}", "[]", "[[],{}]", " {\"a\":[1,-2.5e+3,true,false,null,\"x\\u00e9\"],\"b\":{}} ", "0"] {
            assert_eq!(syntax_error(text.as_bytes()), None, "{text}");
        }
        assert_eq!(syntax_error("[".repeat(20_000).as_bytes()).as_deref(), Some("exceeded max depth"));
    }
}
