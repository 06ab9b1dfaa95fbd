//! One line of a log in CRI format.

use jiff::Timestamp;

/// `<timestamp> <stream> <tags> <content>`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// As it is written.
    pub timestamp: &'a [u8],
    /// `stdout` or `stderr`.
    pub stream: &'a [u8],
    /// It ends a line of the container; otherwise more of that line follows.
    pub is_full: bool,
    /// Without the newline.
    pub content: &'a [u8],
}

/// The parts of a raw line, `None` when it is not in CRI format.
pub(super) fn parse(raw: &[u8]) -> Option<Line<'_>> {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let (timestamp, rest) = cut(raw)?;
    let (stream, rest) = cut(rest)?;
    if stream != b"stdout" && stream != b"stderr" {
        return None;
    }
    // Tags are separated by colons; only the first one has a meaning so far.
    let (tags, content) = cut(rest).unwrap_or((rest, &[]));
    let is_full = tags.split(|byte| *byte == b':').next() == Some(b"F");
    Some(Line { timestamp, stream, is_full, content })
}

impl Line<'_> {
    /// When it was written.
    pub(super) fn time(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.timestamp).ok()?.parse().ok()
    }
}

fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..space], &text[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_parts() {
        let line = parse(b"2026-11-24T02:30:00.5Z stdout F hello  world\n").expect("a line");
        assert_eq!((line.stream, line.is_full, line.content), (&b"stdout"[..], true, &b"hello  world"[..]));
        assert!(line.time().is_some());
        let line = parse(b"2026-11-24T02:30:00Z stderr P half").expect("a line");
        assert!(!line.is_full);
        let line = parse(b"2026-11-24T02:30:00Z stderr F \n").expect("an empty line");
        assert_eq!(line.content, b"");
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(parse(b"a b c d"), None);
    }
}
