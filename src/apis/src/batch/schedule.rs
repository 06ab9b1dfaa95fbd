//! When a CronJob runs: five fields, or a name for them.

/// Names that stand for five fields.
const NAMES: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
struct Bounds {
    low: u64,
    high: u64,
    /// Names of values, from the lowest on.
    names: &'static [&'static str],
}

const FIELDS: [Bounds; 5] = [
    Bounds { low: 0, high: 59, names: &[] },
    Bounds { low: 0, high: 23, names: &[] },
    Bounds { low: 1, high: 31, names: &[] },
    Bounds { low: 1, high: 12, names: MONTHS },
    Bounds { low: 0, high: 6, names: DAYS },
];

/// Checks a schedule without a time zone of its own.
///
/// # Errors
/// Why it is none.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".into());
    }
    if schedule.starts_with('@') {
        return check_name(schedule);
    }
    let fields: Vec<_> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown = fields.join(" ");
        return Err(format!("expected exactly {} fields, found {}: [{shown}]", FIELDS.len(), fields.len()));
    }
    for (field, bounds) in fields.into_iter().zip(&FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    if let Some(duration) = name.strip_prefix("@every ") {
        return match apimachinery::duration::parse_go(duration) {
            Some(_) => Ok(()),
            None => {
                let why = format!("time: invalid duration {}", apimachinery::gotext::quote(duration));
                Err(format!("failed to parse duration {name}: {why}"))
            }
        };
    }
    Err(format!("unrecognized descriptor: {name}"))
}

/// One part of a field: `*`, a value or a range, each with or without a step.
fn check_range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let parts: Vec<_> = text.split('/').collect();
    let ends: Vec<_> = parts[0].split('-').collect();
    let single = ends.len() == 1;
    let (low, mut high) = match ends[..] {
        ["*" | "?", ..] => (bounds.low, bounds.high),
        [one] => read_value(one, bounds).map(|one| (one, one))?,
        [low, high] => (read_value(low, bounds)?, read_value(high, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = read_number(step)?;
            if single && !matches!(ends[0], "*" | "?") {
                // `N/step` means from N on.
                high = bounds.high;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if low < bounds.low {
        return Err(format!("beginning of range ({low}) below minimum ({}): {text}", bounds.low));
    }
    if high > bounds.high {
        return Err(format!("end of range ({high}) above maximum ({}): {text}", bounds.high));
    }
    if low > high {
        return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn read_value(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().zip(bounds.low..).find(|(name, _)| **name == lower) {
        Some((_, value)) => Ok(value),
        None => read_number(text),
    }
}

fn read_number(text: &str) -> Result<u64, String> {
    let wrong = |what| {
        let quoted = apimachinery::gotext::quote(text);
        format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: {what}")
    };
    let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => wrong("value out of range"),
        _ => wrong("invalid syntax"),
    })?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_cron_does() {
        for good in ["* * * * *", "*/5 0-6,12 1 jan-MAR ?", "@daily", "@every 1h30m", "5/15 * * * sun"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "empty spec string"),
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
        ] {
            assert_eq!(check(bad), Err(why.to_owned()));
        }
    }
}
