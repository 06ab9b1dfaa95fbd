//! Spans of time as people read them: `kubectl`'s ages, and Go's duration texts.

use jiff::Timestamp;
use serde_json::Value;

/// An age in two or three significant figures: `5m3s`, `47h`, `3d4h`; `<invalid>` for the future.
pub fn human(seconds: i64) -> String {
    match seconds {
        ..-1 => return "<invalid>".into(),
        -1 => return "0s".into(),
        0..120 => return format!("{seconds}s"),
        _ => {}
    }
    let two = |large: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 24 * 8 {
        two(hours / 24, 'd', hours % 24, 'h')
    } else if hours < 24 * 365 * 2 {
        format!("{}d", hours / 24)
    } else if hours < 24 * 365 * 8 {
        two(hours / 24 / 365, 'y', hours / 24 % 365, 'd')
    } else {
        format!("{}y", hours / 24 / 365)
    }
}

/// The age of a time stamp at `now`; `<unknown>` for none.
pub fn since(time: Option<&Value>, now: Timestamp) -> String {
    let time = time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    match time {
        None => "<unknown>".into(),
        Some(time) => human(whole_seconds(time, now)),
    }
}

/// Whole seconds between two moments, cut towards zero.
pub fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

/// A span as Go's `time.Duration` writes it: `1h0m0s`, `1.5s`, `300ms`.
pub fn go(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let decimal = |size: u64, unit: u64, suffix: &str| {
        let (whole, rest) = (size / unit, size % unit);
        if rest == 0 {
            return format!("{whole}{suffix}");
        }
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        format!("{whole}.{}{suffix}", fraction.trim_end_matches('0'))
    };
    let text = match size {
        0 => "0s".into(),
        1..1_000 => format!("{size}ns"),
        1_000..1_000_000 => decimal(size, 1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(size, 1_000_000, "ms"),
        _ => {
            let minutes = size / 60_000_000_000;
            let seconds = decimal(size % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Reads a span that Go's `time.ParseDuration` takes, in nanoseconds.
pub fn parse_go(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..length] {
            "ns" => 1f64,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        rest = &rest[length..];
        total += number * unit;
    }
    if total > 9.2e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked above")]
    let nanos = total as i64;
    Some(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (303, "5m3s"),
            (10 * 60 + 5, "10m"),
            (179 * 60, "179m"),
            (180 * 60, "3h"),
            (190 * 60, "3h10m"),
            (8 * 3600 + 60, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (76 * 3600, "3d4h"),
            (24 * 8 * 3600, "8d"),
            (24 * 365 * 2 * 3600, "2y"),
            (24 * (365 * 3 + 7) * 3600, "3y7d"),
            (24 * 365 * 9 * 3600, "9y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text, "of {seconds}");
        }
    }

    #[test]
    fn an_object_without_a_time_is_of_unknown_age() {
        assert_eq!(since(None, Timestamp::UNIX_EPOCH), "<unknown>");
        let time = Value::from("1970-01-01T00:00:00Z");
        assert_eq!(since(Some(&time), Timestamp::from_second(65).expect("in range")), "65s");
    }

    #[test]
    fn spans_read_and_write_as_in_go() {
        for text in ["1h0m0s", "1.5s", "300ms", "2m30s", "0s", "-5s", "1ns"] {
            assert_eq!(go(parse_go(text).expect(text)), text);
        }
        assert_eq!(parse_go("5"), None);
        assert_eq!(parse_go(""), None);
        assert_eq!(parse_go("1x"), None);
    }
}
