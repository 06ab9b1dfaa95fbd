//! Moments as the API reads and writes them, with the words of Go's `time.Parse` when they are none.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads RFC 3339; gives it back in UTC and whole seconds.
pub(super) fn seconds(text: &str) -> Result<String, String> {
    Ok(crate::meta::time(parse(text, SECONDS)?))
}

/// Reads RFC 3339 with exactly six digits after the point; gives it back in UTC.
pub(super) fn micros(text: &str) -> Result<String, String> {
    Ok(crate::meta::micro_time(parse(text, MICROS)?))
}

struct Reader<'a> {
    layout: &'static str,
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn refuse(&self, element: &str) -> String {
        let (text, rest) = (crate::gotext::quote(self.text), crate::gotext::quote(self.rest));
        format!("parsing time {text} as \"{}\": cannot parse {rest} as \"{element}\"", self.layout)
    }

    fn range(&self, what: &str) -> String {
        format!("parsing time {}: {what} out of range", crate::gotext::quote(self.text))
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i64, String> {
        let number = self.rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let value = number.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.refuse(element))?;
        self.rest = &self.rest[count..];
        Ok(value)
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.refuse(literal))?;
        Ok(())
    }
}

fn parse(text: &str, layout: &'static str) -> Result<Timestamp, String> {
    let mut reader = Reader { layout, text, rest: text };
    let year = reader.digits(4, "2006")?;
    reader.literal("-")?;
    let month = reader.digits(2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(reader.range("month"));
    }
    reader.literal("-")?;
    let day = reader.digits(2, "02")?;
    reader.literal("T")?;
    let hour = reader.digits(2, "15")?;
    if hour > 23 {
        return Err(reader.range("hour"));
    }
    reader.literal(":")?;
    let minute = reader.digits(2, "04")?;
    if minute > 59 {
        return Err(reader.range("minute"));
    }
    reader.literal(":")?;
    let second = reader.digits(2, "05")?;
    if second > 59 {
        return Err(reader.range("second"));
    }
    let nanos = fraction(&mut reader)?;
    let offset = offset(&mut reader)?;
    if !reader.rest.is_empty() {
        let (text, rest) = (crate::gotext::quote(text), crate::gotext::quote(reader.rest));
        return Err(format!("parsing time {text}: extra text: {rest}"));
    }
    let small = |value: i64| i8::try_from(value).expect("two digits fit");
    let year = i16::try_from(year).expect("four digits fit");
    let moment = DateTime::new(year, small(month), small(day), small(hour), small(minute), small(second), nanos)
        .map_err(|_| reader.range("day"))?;
    let offset = Offset::from_seconds(offset).map_err(|_| reader.range("time zone offset"))?;
    offset.to_timestamp(moment).map_err(|_| reader.range("year"))
}

fn fraction(reader: &mut Reader<'_>) -> Result<i32, String> {
    let fraction = reader.rest.strip_prefix(['.', ',']).map(|rest| {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        &rest[..digits]
    });
    if reader.layout == MICROS {
        let digits = fraction.filter(|digits| digits.len() == 6 && reader.rest.starts_with('.'));
        let digits = digits.ok_or_else(|| reader.refuse(".000000"))?;
        reader.rest = &reader.rest[7..];
        return Ok(digits.parse::<i32>().expect("six digits fit") * 1000);
    }
    let Some(digits) = fraction.filter(|digits| !digits.is_empty()) else { return Ok(0) };
    reader.rest = &reader.rest[digits.len() + 1..];
    Ok(format!("{digits:0<9}")[..9].parse().expect("nine digits fit"))
}

fn offset(reader: &mut Reader<'_>) -> Result<i32, String> {
    if let Some(rest) = reader.rest.strip_prefix('Z') {
        reader.rest = rest;
        return Ok(0);
    }
    let bytes = reader.rest.as_bytes();
    let (true, Some(sign @ (b'+' | b'-')), Some(b':')) = (bytes.len() >= 6, bytes.first(), bytes.get(3)) else {
        return Err(reader.refuse("Z07:00"));
    };
    let number = |from: usize| reader.rest.get(from..from + 2).and_then(|digits| digits.parse::<i32>().ok());
    let (Some(hours), Some(minutes)) = (number(1), number(4)) else { return Err(reader.refuse("Z07:00")) };
    if hours > 24 {
        return Err(reader.range("time zone offset hour"));
    }
    if minutes > 60 {
        return Err(reader.range("time zone offset minute"));
    }
    let seconds = (hours * 60 + minutes) * 60;
    let offset = if *sign == b'-' { -seconds } else { seconds };
    reader.rest = &reader.rest[6..];
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_any_zone_and_written_in_utc() {
        assert_eq!(seconds("2026-01-02T03:04:05+02:00").unwrap(), "2026-01-02T01:04:05Z");
        assert_eq!(seconds("2026-01-02T03:04:05.987Z").unwrap(), "2026-01-02T03:04:05Z");
        assert_eq!(micros("2026-01-02T03:04:05.123456Z").unwrap(), "2026-01-02T03:04:05.123456Z");
    }

    #[test]
    fn what_is_no_moment_is_refused_in_the_words_of_go() {
        for (text, why) in [
            ("nope", r#"parsing time "nope" as "2006-01-02T15:04:05Z07:00": cannot parse "nope" as "2006""#),
            ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2026-01-02", r#"parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#),
            ("2026-13-02T00:00:00Z", r#"parsing time "2026-13-02T00:00:00Z": month out of range"#),
            ("2026-02-30T00:00:00Z", r#"parsing time "2026-02-30T00:00:00Z": day out of range"#),
            ("2026-02-03T00:00:00Zx", r#"parsing time "2026-02-03T00:00:00Zx": extra text: "x""#),
        ] {
            assert_eq!(seconds(text).unwrap_err(), why);
        }
        let why = r#"parsing time "2026-01-02T03:04:05Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#;
        assert_eq!(micros("2026-01-02T03:04:05Z").unwrap_err(), why);
    }
}
